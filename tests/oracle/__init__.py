"""The test oracle: which automation events a whole history must give, from the contract alone."""

from .oracle import Appended, Control, History, Rules, expected_events

__all__ = ["Appended", "Control", "History", "Rules", "expected_events"]
