"""The row of deliveries that a destination had no room for: who is told to come again, and when.

Law: each is told a later time than those before it, up to a bound. Pure: time is an argument, milliseconds.
"""

COME_AGAIN_MS = 1_000
"""The shortest time after which a delivery comes again."""
SETTLE_MS = 2_000
"""How long one that is due may be on its way."""
LONGEST_MS = 300_000
"""The longest time: a destination that hardly moves now may be well in minutes."""


class Row:
    """One destination's row."""

    __slots__ = ("_until_ms",)

    def __init__(self) -> None:
        self._until_ms = 0.0

    def tell(self, now_ms: int, drained_ms: float, pace_ms: float) -> int:
        """When a delivery that finds no room is to come again.

        What waits is expected to be gone in ``drained_ms``, and to take one more each ``pace_ms``.
        """
        earliest = max(self._until_ms, now_ms + max(COME_AGAIN_MS, drained_ms))
        self._until_ms = min(earliest + max(pace_ms, 0.001), now_ms + LONGEST_MS)
        return int(self._until_ms)

    def over(self, now_ms: int) -> bool:
        """Whether nobody is still to come."""
        return now_ms >= self._until_ms + SETTLE_MS
