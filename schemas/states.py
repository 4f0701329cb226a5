"""What a state's name means for a run: does it wait, start, finish, or only happen.

States are compared without case, exactly; there is no hierarchy. Names not listed here only fire state
changes.
"""

from collections.abc import Iterable

WAITS, STARTS, RUNS, FINISHES, OTHER = 0, 1, 2, 3, 4
"""Classes of states. ``RUNS`` is Running itself, which also starts a run; ``STARTS`` starts it otherwise."""

_WAITING = ("Scheduled", "Paused", "Resume", "Retrying", "Pending", "Submitted", "Queued")
_FINISHED = (
    "Finished", "Success", "Cached", "Mapped", "Skipped", "Failed", "TimedOut", "TriggerFailed",
    "ValidationFailed", "Cancelled", "Looped", "Completed", "Crashed", "Deleted",
)  # fmt: skip

KNOWN_STATES = (*_WAITING, "Running", "Cancelling", *_FINISHED)
"""The state names that mean something for deadlines, spelled as the product spells them."""


def state_classes(finished_states: Iterable[str] = ()) -> dict[str, int]:
    """Class of each known state by its case-folded name; ``finished_states`` are further finished ones."""
    classes = {name.casefold(): WAITS for name in _WAITING}
    classes["cancelling"] = STARTS
    classes["running"] = RUNS
    classes.update((name.casefold(), FINISHES) for name in (*_FINISHED, *finished_states))
    return classes
