"""How this process itself fares: time in which it ran, and whether it keeps up.

A process that was stopped, starved of its processor or busy sees all receivers late. What is blamed on a receiver
is measured in time in which the process could have heard its answer.
"""

import asyncio

from actions.clock import monotonic_ms

BEAT_MS = 50
MOST_MS = 200
"""Between two beats no more time than this counts."""
STRAINED_MS = 20
"""Beats that are later than this on average mean that there is more to do than can be done."""


class Pulse:
    """Beats on the running event loop from ``start`` to ``stop``."""

    def __init__(self) -> None:
        self._last_ms = monotonic_ms()
        self._lost_ms = 0
        self._late_ms = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to beat."""
        self._last_ms = monotonic_ms()
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
        return self._late_ms > STRAINED_MS

    def _beat(self) -> None:
        now_ms = monotonic_ms()
        since_ms = now_ms - self._last_ms
        self._lost_ms += max(0, since_ms - MOST_MS)
        self._late_ms += (min(since_ms, 10 * MOST_MS) - BEAT_MS - self._late_ms) / 8
        self._last_ms = now_ms
        self._timer = asyncio.get_running_loop().call_later(BEAT_MS / 1000, self._beat)
