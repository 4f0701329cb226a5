"""When state is looked at again to be dropped: keys by the hour of log time, an index over state."""

from __future__ import annotations

from collections import defaultdict

HOUR_MS = 3_600_000


class Retention:
    """Keys by hour; whoever asks decides whether a key's time has really come, and puts back what stays."""

    def __init__(self) -> None:
        self._by_hour: defaultdict[int, list[bytes]] = defaultdict(list)
        self._next_hour = 0

    def put(self, key: bytes, expires_ms: int) -> None:
        """Looks at ``key`` again once progress has passed ``expires_ms``."""
        hour = expires_ms // HOUR_MS + 1
        self._by_hour[hour].append(key)
        self._next_hour = min(self._next_hour, hour) if self._next_hour else hour

    def pop_before(self, progress_ms: int) -> bytes | None:
        """Takes out a key whose hour has passed, or None."""
        while self._by_hour and self._next_hour <= progress_ms // HOUR_MS:
            keys = self._by_hour[self._next_hour]
            if keys:
                return keys.pop()
            del self._by_hour[self._next_hour]
            self._next_hour = min(self._by_hour, default=0)
        return None
