"""Writes down what became of deliveries, together with how far their partitions have come.

Law: results, retry records, dead letters and offsets are one Kafka transaction. Whoever reads committed sees
one final result of each delivery; a process that dies, or was shut out of its group, leaves either all of it
or nothing, and what it leaves out is delivered again.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import structlog
from confluent_kafka import TopicPartition

from actions.backlog import Backlog
from actions.offsets import Position
from actions.one_thread import OneThread
from actions.outbox import Entry, Record
from streams.app import Place
from streams.errors import MustAbort
from streams.metrics import COMMIT_SECONDS, TRANSACTION_ABORTS, Metrics
from streams.telemetry import librdkafka_logger
from streams.transaction import GroupMember, Transaction

log = structlog.get_logger()

AT_ONCE = 2_000
"""So many entries go into one transaction: it has to end within its timeout."""
MOST_ENTRIES = 5_000
LATE_S = 10.0
"""Past either of these nothing more is sent: what can't be written down would be sent again."""


class Ledger:
    """Entries of one event loop, written by a thread of their own.

    ``config`` is that of the transactional producer; ``on_append`` is told the append times (ms) of what it
    writes; ``topic`` gives a topic's full name.
    """

    def __init__(
        self,
        config: dict[str, Any],
        on_append: Callable[[int], None],
        member: GroupMember,
        backlog: Backlog,
        metrics: Metrics,
        topic: Callable[[str], str],
    ) -> None:
        self._transaction = Transaction(config, on_append, librdkafka_logger(), self._still_busy)
        self._member = member
        self._backlog = backlog
        self._metrics = metrics
        self._topic = topic
        self._thread = OneThread("ledger")
        self._one_at_a_time = asyncio.Lock()
        self._entries: list[Entry] = []
        self._writing = 0
        self._unwritten_since: float | None = None
        self._busy_since: float | None = None

    @property
    def busy_since_s(self) -> float | None:
        """When the commit under way has last moved; None while there is none."""
        return self._busy_since

    @property
    def behind(self) -> bool:
        """Whether so much is unwritten, or for so long, that nothing more should be sent."""
        since = self._unwritten_since
        late = since is not None and monotonic() - since > LATE_S
        return late or len(self._entries) + self._writing >= MOST_ENTRIES

    async def open(self) -> None:
        """End what a predecessor of the same id left open. Raises ``Lost``."""
        await self._thread.call(self._transaction.fence)

    def close(self) -> None:
        """Let the producer go. What is unwritten is left to others."""
        self._thread.close()

    def add(self, entry: Entry) -> None:
        """To be written with the next commit."""
        self._entries.append(entry)
        if self._unwritten_since is None:
            self._unwritten_since = monotonic()

    async def commit(self) -> bool:
        """Write entries, and the positions of the partitions that have moved; whether nothing is left to write.

        Raises ``Lost`` if these clients can't go on.
        """
        async with self._one_at_a_time:
            held = [entry for entry in self._entries if self._backlog.holds(entry.delivery.source)]
            entries, self._entries = held[:AT_ONCE], held[AT_ONCE:]
            for entry in entries:
                if entry.ends is not None:
                    (self._backlog.ended if entry.ends else self._backlog.tried)(entry.delivery)
            positions = self._backlog.positions(self._transaction.transactional_id)
            if not entries and not positions:
                return True
            began = self._busy_since = monotonic()
            self._writing = len(entries)
            try:
                records = [record for entry in entries for record in entry.records]
                await self._thread.call(self._write, records, positions)
            except MustAbort as error:
                log.warning("a commit was taken back, it is made again", problem=str(error))
                self._metrics[TRANSACTION_ABORTS].inc()
                self._backlog.uncommitted(positions)
                # They have been counted already, and are written before any later position is.
                self._entries = [entry._replace(ends=None) for entry in entries] + self._entries
                await self._thread.call(self._transaction.abort)
                return False
            finally:
                self._busy_since, self._writing = None, 0
            self._unwritten_since = began if self._entries else None
            self._metrics[COMMIT_SECONDS].observe(monotonic() - began)
            return not self._entries

    def _write(self, records: list[Record], positions: dict[Place, Position]) -> None:
        self._transaction.begin()
        for left, record in zip(range(len(records) - 1, -1, -1), records, strict=True):
            topic = self._topic(record.topic)
            # The last one's append time tells the brokers' time.
            self._transaction.produce(topic, record.key, record.value, headers=record.headers, anchor=not left)
        offsets = [
            TopicPartition(self._topic(topic), partition, position.offset, position.metadata)
            for (topic, partition), position in positions.items()
        ]
        self._transaction.commit(self._member, offsets)

    def _still_busy(self) -> None:
        """A call to the brokers has come back and is made again: they are away, nothing hangs."""
        if self._busy_since is not None:
            self._busy_since = monotonic()
