"""Decides which automations fire, in log time, exactly once. Pure but for its wiring in ``service``."""
