"""The settings that decide about time, and when a record occurred."""

from typing import NamedTuple

DAY_MS = 86_400_000


class Timing(NamedTuple):
    """All in ms; defaults as in the reference."""

    grace_ms: int = 10_000
    clock_tolerance_ms: int = 10_000
    late_ms: int = 2 * DAY_MS
    keep_unfinished_ms: int = 30 * DAY_MS
    """After its last record and schedule time an unfinished run is kept so long."""

    @property
    def keep_finished_ms(self) -> int:
        """A finished run is kept as long as a duplicate of it can come."""
        return self.late_ms + DAY_MS

    def occurred(self, timestamp_ms: int, log_ms: int) -> int:
        """When a record occurred: at its timestamp if that is near its log time, else at its log time."""
        return timestamp_ms if abs(timestamp_ms - log_ms) <= self.clock_tolerance_ms else log_ms
