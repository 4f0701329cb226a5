"""How this process itself fares: time in which it ran, and whether it keeps up.

A process that was stopped, starved of its processor or busy sees all receivers late. What is blamed on a receiver
is measured in time in which the process could have heard its answer.
"""

import asyncio
import time

from actions.clock import monotonic_ms

BEAT_MS = 50
MOST_MS = 200
"""Between two beats no more time than this counts."""
STRAINED_MS = 20
"""Beats that are later than this on average mean that there is more to do than can be done."""
BUSY = 0.85
"""And so does a process that uses its processor for this share of the time: Python runs on one at once."""


class Strain:
    """Whether there is more to do than can be done, by the beats so far. Pure."""

    def __init__(self) -> None:
        self._late_ms = 0.0
        self._busy = 0.0

    def beat(self, since_ms: int, used_ms: float) -> None:
        """A beat came ``since_ms`` after the last one, and the process used the processor for ``used_ms`` of it."""
        # Time in which it was stopped says nothing of how it fares when it runs.
        ran_ms = max(1, min(since_ms, 10 * MOST_MS))
        self._late_ms += (ran_ms - BEAT_MS - self._late_ms) / 8
        # A backlog is taken in within a few beats.
        self._busy += (used_ms / ran_ms - self._busy) / 2

    @property
    def strained(self) -> bool:
        """Whether it can't keep up with what it is given."""
        return self._late_ms > STRAINED_MS or self._busy > BUSY


class Pulse:
    """Beats on the running event loop from ``start`` to ``stop``."""

    def __init__(self) -> None:
        self._last_ms = monotonic_ms()
        self._lost_ms = 0
        self._strain = Strain()
        self._used_ns = time.process_time_ns()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to beat."""
        self._last_ms, self._used_ns = monotonic_ms(), time.process_time_ns()
        self._timer = asyncio.get_running_loop().call_later(BEAT_MS / 1000, self._beat)

    def stop(self) -> None:
        """End it."""
        if self._timer is not None:
            self._timer.cancel()

    def now_ms(self) -> int:
        """Milliseconds in which the process ran. For durations within it."""
        since_ms = monotonic_ms() - self._last_ms
        return self._last_ms - self._lost_ms + (since_ms if since_ms < MOST_MS else MOST_MS)

    @property
    def strained(self) -> bool:
        """Whether it can't keep up with what it is given."""
        return self._strain.strained

    def _beat(self) -> None:
        now_ms = monotonic_ms()
        since_ms = now_ms - self._last_ms
        self._lost_ms += max(0, since_ms - MOST_MS)
        used_ns = time.process_time_ns()
        self._strain.beat(since_ms, (used_ns - self._used_ns) / 1e6)
        self._last_ms, self._used_ns = now_ms, used_ns
        self._timer = asyncio.get_running_loop().call_later(BEAT_MS / 1000, self._beat)
