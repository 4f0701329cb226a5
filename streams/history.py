"""A topic's history: every committed record that it has, up to its end as it was when the reading began.

Law:

1. Reading leaves nothing behind: no group is joined, no offset committed, nothing produced.
2. What was committed below the end is read, once and in order; what is appended meanwhile is not.
3. What retention deletes while its partition is read raises `HistoryLost`: no hole is passed over in silence.

Records come in batches, partition after partition, so that a history of any length takes little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from types import TracebackType
from typing import NamedTuple

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams import clients
from streams.partition import Unread
from streams.topic_reader import READER_GROUP, TIMEOUT_S, ReadTimeout, watermarks
from topology.settings import Settings

BATCH = 5_000
SILENT_S = 20.0
"""How long a broker may bring nothing new before reading gives up."""
_POLL_S = 0.5


class HistoryLost(Exception):
    """The history can't be read whole; the message says where and what to do."""


class Span(NamedTuple):
    """Offsets of a partition, ``begin <= offset < end``; the log had no lower one, and ended there."""

    begin: int
    end: int


class History:
    """One topic (its full name) as it lay in the log when this was made. To be closed, or used with ``with``.

    ``told`` hears how many offsets reading has got on by. ``log_times``: each record has to have an append
    time, as inputs and control records do; without it ``log_ms`` is whatever time the record has.
    """

    def __init__(
        self, settings: Settings, topic: str, told: Callable[[int], None] | None = None, *, log_times: bool = True
    ) -> None:
        self.topic = topic
        self.spans = {partition: Span(*span) for partition, span in sorted(watermarks(settings, topic).items())}
        self._told = told or _silent
        self._log_times = log_times
        # With "error" a log that retention has shortened meanwhile is noticed.
        config = {**clients.table_reader(settings), "group.id": READER_GROUP, "auto.offset.reset": "error"}
        # Who waits for an answer is told why there is none.
        self._reader = Consumer({**config, "log_level": 0})

    @property
    def offsets(self) -> int:
        """How many offsets there are to read, transaction markers and compacted records counted too."""
        return sum(span.end - span.begin for span in self.spans.values())

    def read(self, partition: int, begin: int | None = None, end: int | None = None) -> Iterator[list[Unread]]:
        """The records of a partition in batches, of all of it or from ``begin`` up to ``end``.

        ``spans`` then says where the log begins now, for retention goes on while other partitions are read.
        Raises `HistoryLost`, ``ReadTimeout`` or ``KafkaException``.
        """
        span = self.spans[partition]
        if begin is None:
            low, _ = self._reader.get_watermark_offsets(TopicPartition(self.topic, partition), TIMEOUT_S)
            self._told(min(low, span.end) - span.begin)
            span = self.spans[partition] = Span(min(low, span.end), span.end)
        at = span.begin if begin is None else max(begin, span.begin)
        stop = span.end if end is None else min(end, span.end)
        silent_since_s = monotonic()
        self._reader.assign([TopicPartition(self.topic, partition, at)] if at < stop else [])
        while at < stop:
            messages = self._reader.consume(BATCH, _POLL_S)
            records, reached = self._sorted(partition, messages, stop)
            if reached > at:
                silent_since_s = monotonic()
                self._told(min(reached, stop) - at)
                at = reached
            elif monotonic() - silent_since_s > SILENT_S:
                raise ReadTimeout(
                    f"{self.topic} [{partition}]: nothing came beyond offset {at} in {SILENT_S:.0f} s, its end is "
                    f"{stop}: no broker answers, or a producer's transaction is open there; run it again"
                )
            if records:
                yield records

    def records(self) -> Iterator[tuple[int, Unread]]:
        """Every record of every partition, each with the partition's number, partition after partition."""
        for partition in self.spans:
            for batch in self.read(partition):
                for record in batch:
                    yield partition, record

    def close(self) -> None:
        """Ends reading."""
        self._reader.close()

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sorted(self, partition: int, messages: list[Message], stop: int) -> tuple[list[Unread], int]:
        """The records among what was polled, and the offset up to which everything has come."""
        records, reached = [], -1
        for message in messages:
            error, offset = message.error(), message.offset() or 0
            if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                continue  # the group is asked for only, never joined
            if message.partition() != partition:  # of the partition that was read before
                continue
            if error is not None:
                reached = max(reached, self._end_or_raise(partition, error, offset))
                continue
            kind, log_ms = message.timestamp()
            if self._log_times and kind != TIMESTAMP_LOG_APPEND_TIME:
                raise HistoryLost(
                    f"{self.topic} [{partition}]: the record at offset {offset} has no append time, so nobody "
                    "knows when it came: set LogAppendTime (automations topology apply)"
                )
            if offset < stop:
                records.append(Unread(offset, log_ms, message.key(), message.value()))
            reached = max(reached, offset + 1)
        return records, reached

    def _end_or_raise(self, partition: int, error: KafkaError, offset: int) -> int:
        """The offset of the partition's end, if the error says that; -1 for what may pass."""
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            # Its offset counts transaction markers, with which a log may end.
            return offset
        if code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise HistoryLost(
                f"{self.topic} [{partition}]: retention deleted records before they were read; run it again"
            )
        if error.retriable() or code in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            return -1
        raise KafkaException(error)


def _silent(_offsets: int) -> None:
    """Nobody wants to know."""
