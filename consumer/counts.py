"""What a partition's logic has counted, for the service's metrics."""

from __future__ import annotations

from collections import Counter


class Counts:
    """Counts since they were last taken. Labels are bounded: topics, reasons, event names."""

    def __init__(self) -> None:
        self.consumed = 0
        self.late = 0
        self.duplicates = 0
        self.conflicts = 0
        self.unknown_states = 0
        self.dropped_runs = 0
        self.rejected: Counter[str] = Counter()
        self.emitted: Counter[str] = Counter()
        self.fire_delays_ms: list[int] = []
        """By how much each timer fired after the instant it was due (deadline + grace), in broker time."""
