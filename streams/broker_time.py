"""Broker time: what the brokers' clocks say now, without asking the host's.

It is the greatest append time that the process has seen, its own appends included, plus the monotonic time
since then. It never runs ahead of the broker that gave the append time (but for the drift of two clocks
since then, which is why an idle process appends something every few seconds), and the host's wall clock,
which may be wrong by any amount, plays no part.
"""


class BrokerTime:
    """Law: ``at(m)`` is at most the broker's clock at monotonic time ``m``. All times in ms."""

    __slots__ = ("_append_ms", "_seen_at_ms")

    def __init__(self) -> None:
        self._append_ms = -1
        self._seen_at_ms = 0

    def observe(self, append_ms: int, monotonic_ms: int) -> None:
        """An append time was seen at a monotonic time; only a greater one than any before counts."""
        if append_ms > self._append_ms:
            self._append_ms = append_ms
            self._seen_at_ms = monotonic_ms

    def at(self, monotonic_ms: int) -> int | None:
        """Broker time at a monotonic time, or None while no append has been seen."""
        if self._append_ms < 0:
            return None
        return self._append_ms + monotonic_ms - self._seen_at_ms
