"""Telling a call that hangs from a process that was not running itself.

A call of the Kafka client can hang for good. How long nothing has moved is told by counting looks, a second apart,
rather than by a clock: a process that was stopped, or its whole machine, does not look either, and goes on from
where it was.
"""

from __future__ import annotations

HANGS_AFTER = 25
"""Looks, a second apart, at a call that has not come back. Whatever may take long says meanwhile that it moves; a
call of the client that comes back at all does so within 5 to 15 s."""


class Watchdog:
    """Looks at a mark that is moved whenever work goes on; None while there is no work to do."""

    def __init__(self) -> None:
        self._mark: float | None = None
        self._looks = 0

    def hangs(self, mark: float | None) -> bool:
        """One look: whether the mark has stood still for too many."""
        self._looks = 0 if mark is None or mark != self._mark else self._looks + 1
        self._mark = mark
        return self._looks >= HANGS_AFTER
