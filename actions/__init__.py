"""Executes events: each action of an event becomes a delivery, tried until it ends, and recorded."""
