"""The row of deliveries that a destination had no room for: who is told to come again, and when.

Law: each is told a later time than those before it, up to a bound. Those of one lane get in in the order in which
they were first told, and before any new one of that lane. Pure: time is an argument, milliseconds.
"""

from collections import OrderedDict

COME_AGAIN_MS = 1_000
"""The shortest time after which a delivery comes again."""
SETTLE_MS = 2_000
"""How long one that is due may be on its way; who hasn't come by then is with another process."""
SWEEP = 10_000
LONGEST_MS = 300_000
"""The longest time: a destination that hardly moves now may be well in minutes."""


class Row:
    """One destination's row."""

    __slots__ = ("_away", "_told", "_until_ms")

    def __init__(self) -> None:
        self._away: dict[str, OrderedDict[str, int]] = {}
        self._until_ms = 0.0
        self._told = 0

    def tell(self, subject: str, delivery_id: str, now_ms: int, drained_ms: float, pace_ms: float) -> int:
        """When a delivery that finds no room is to come again.

        What waits is expected to be gone in ``drained_ms``, and to take one more each ``pace_ms``.
        """
        earliest = max(self._until_ms, now_ms + max(COME_AGAIN_MS, drained_ms))
        self._until_ms = min(earliest + max(pace_ms, 0.001), now_ms + LONGEST_MS)
        again_ms = int(self._until_ms)
        # Who was told before keeps its place in the lane.
        self._away.setdefault(subject, OrderedDict())[delivery_id] = again_ms
        self._told += 1
        if self._told % SWEEP == 0:
            self._sweep(now_ms)
        return again_ms

    def first(self, subject: str, delivery_id: str, now_ms: int) -> bool:
        """Whether no other of its lane is still to come before this one."""
        if self.over(now_ms):
            self._away.clear()
        away = self._away.get(subject)
        while away:
            head, told_ms = next(iter(away.items()))
            if head == delivery_id:
                return True
            if now_ms < told_ms + SETTLE_MS:
                return False
            del away[head]
        return True

    def came(self, subject: str, delivery_id: str) -> None:
        """A delivery got in."""
        away = self._away.get(subject)
        if away is not None:
            away.pop(delivery_id, None)
            if not away:
                del self._away[subject]

    def _sweep(self, now_ms: int) -> None:
        """Forget those who have long been due: they came to another process."""
        for subject, away in list(self._away.items()):
            for delivery_id in [one for one, told_ms in away.items() if told_ms + SETTLE_MS < now_ms]:
                del away[delivery_id]
            if not away:
                del self._away[subject]

    def over(self, now_ms: int) -> bool:
        """Whether nobody is still to come."""
        return now_ms >= self._until_ms + SETTLE_MS
