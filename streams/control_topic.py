"""The control topic as one process reads it: how far its records are known.

Law: progress is the log time of the last record read while some remain unread; at the end it is the broker
time just before the request whose answer confirmed that end. It never goes back. A record of an input may be
judged once this has passed its log time: then no control record up to there can be missing.
"""

from __future__ import annotations

from collections.abc import Callable

from streams.partition import Unread


class ControlTopic:
    """Reads control records, in order, into ``apply``."""

    def __init__(self, apply: Callable[[Unread], None]) -> None:
        self.progress_ms = -1
        self.offset = 0
        self._apply = apply

    def offer(self, record: Unread) -> None:
        """The next record."""
        self._apply(record)
        self.offset = record.offset + 1
        self.progress_ms = max(self.progress_ms, record.log_ms)

    def read_to(self, offset: int) -> None:
        """Everything visible below ``offset`` has been offered."""
        self.offset = max(self.offset, offset)

    def confirm_end(self, high: int, asked_ms: int) -> None:
        """The leader answered: its high watermark was ``high``, asked at broker time ``asked_ms``."""
        if self.offset >= high:
            self.progress_ms = max(self.progress_ms, asked_ms)
