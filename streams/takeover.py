"""Taking partitions over: from an assignment to restored state that provably belongs to the committed offset.

The order is the proof, for each partition:

1. The changelog is read (read_committed) to an end that is its high watermark as a read_uncommitted client
   sees it. Stopping at the last stable offset would lose what is about to be committed; so if an open
   transaction holds the end back, its producer, which is named in the changelog, is shut out.
2. Then the committed offset is read: nobody else can commit for the partition any more.
3. Then the changelog's end again: what came in between is read too.
4. The position in the changelog has to be the committed offset, and both topics those that it was written for.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import Any, NamedTuple

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.app import Place
from streams.ends import high_watermarks, low_watermarks
from streams.errors import Lost
from streams.partition import Partition
from streams.position import POSITION_KEY, Resume, decode, resume_at
from streams.topic_ids import TopicIds, changed, header

log = structlog.get_logger()

BATCH = 5_000
PATIENCE_S = 2.0
"""How long an end may be held back before its producer is shut out: markers take a moment to be written."""
GIVE_UP_S = 45.0
"""How long it may be held back at all."""
OFFSETS_S = 2.0
SEEK_S = 5.0


class Taken(NamedTuple):
    """A partition whose state is restored."""

    place: Place
    partition: Partition
    resume: Resume
    seconds: float


class _Taking:
    """A partition on the way."""

    def __init__(self, place: Place, partition: Partition, changelog: Place) -> None:
        self.place = place
        self.partition = partition
        self.changelog = changelog
        self.began_s = monotonic()
        self.ended_s = 0.0
        self.end = -1
        self.committed: int | None = None
        self.offset_known = False
        self.shut_out: set[str] = set()
        self.beside: Any = None
        """The headers of the position."""


class Takeovers:
    """All partitions on the way, restored side by side without holding up those at work."""

    def __init__(
        self,
        reader: Consumer,
        admin: AdminClient,
        committed: Callable[[list[Place]], dict[Place, int | None]],
        peek: Callable[[Place, int, int], list[bytes]],
        shut_out: Callable[[str], None],
        own_id: str,
        topic_ids: TopicIds,
        accept_gap: bool,
    ) -> None:
        self._reader = reader
        self._topic_ids = topic_ids
        self._admin = admin
        self._committed = committed
        self._peek = peek
        self._shut_out = shut_out
        self._own_id = own_id
        self._accept_gap = accept_gap
        self._taking: dict[Place, _Taking] = {}

    def __len__(self) -> int:
        return len(self._taking)

    def begin(self, place: Place, partition: Partition, changelog: Place) -> None:
        """Begins to restore ``partition`` of input ``place`` from its ``changelog``."""
        self._taking[changelog] = _Taking(place, partition, changelog)
        self._reader.incremental_assign([TopicPartition(*changelog, OFFSET_BEGINNING)])

    def drop(self, place: Place) -> None:
        """Gives up a partition that was taken away again."""
        for changelog, taking in list(self._taking.items()):
            if taking.place == place:
                self._forget(changelog)

    def poll(self) -> list[Taken]:
        """Reads on for a moment; returns the partitions that are restored now. Raises `StateError`, `Lost`."""
        if not self._taking:
            return []
        self._read()
        ended = [taking for taking in self._taking.values() if taking.end >= 0]
        if not ended:
            return []
        highs = high_watermarks(self._admin, [taking.changelog for taking in ended])
        caught_up = [taking for taking in ended if taking.end >= highs[taking.changelog]]
        for taking in ended:
            if taking.end < highs[taking.changelog]:
                self._held_back(taking, highs[taking.changelog])
        unknown = [taking for taking in caught_up if not taking.offset_known]
        if unknown:
            offsets = self._committed([taking.place for taking in unknown])
            for taking in unknown:
                taking.committed, taking.offset_known = offsets[taking.place], True
            return []
        return self._finish(caught_up)

    def _finish(self, taken: list[_Taking]) -> list[Taken]:
        places, changelogs = [taking.place for taking in taken], [taking.changelog for taking in taken]
        lows, highs = low_watermarks(self._admin, [*places, *changelogs]), high_watermarks(self._admin, places)
        finished = []
        for taking in taken:
            place, partition, topics = taking.place, taking.partition, [taking.place[0], taking.changelog[0]]
            ids = self._topic_ids.of(*topics)
            another = changed(topics, taking.beside, ids)
            partition.beside = header(ids)
            resume = resume_at(
                partition.where,
                taking.committed,
                partition.position,
                lows[place],
                highs[place],
                self._accept_gap,
                input_anew=another == place[0],
                changelog_gap=_changelog_gap(taking.changelog[0], another, lows[taking.changelog]),
            )
            self._forget(taking.changelog)
            finished.append(Taken(place, partition, resume, monotonic() - taking.began_s))
        return finished

    def _forget(self, changelog: Place) -> None:
        del self._taking[changelog]
        self._reader.incremental_unassign([TopicPartition(*changelog)])

    def _read(self) -> None:
        for message in self._reader.consume(BATCH, 0.02):
            taking = self._taking.get((message.topic() or "", message.partition() or 0))
            if taking is None:
                continue
            error = message.error()
            if error is None:
                taking.end = -1
                key = message.key()
                if key is not None:
                    taking.partition.restore(key, message.value())
                    if key == POSITION_KEY:
                        taking.beside = message.headers()
            elif error.code() == KafkaError._PARTITION_EOF:
                taking.end = message.offset() or 0
                taking.ended_s = monotonic()
            elif not error.retriable():
                raise Lost(f"the changelog of {taking.partition.where} can't be read: {error.str()}")

    def _held_back(self, taking: _Taking, high: int) -> None:
        """A transaction is open in the changelog, or its end has just moved."""
        waited_s = monotonic() - taking.ended_s
        if waited_s > GIVE_UP_S:
            raise Lost(f"{taking.partition.where}: a transaction in its changelog stays open")
        if waited_s < PATIENCE_S:
            return
        owners = {decode(value).owner for value in self._peek(taking.changelog, taking.end, high)}
        if not owners and taking.partition.position is not None:
            owners.add(taking.partition.position.owner)
        for owner in owners - taking.shut_out - {self._own_id}:
            log.info("ending what an earlier owner left open", partition=taking.partition.where, producer=owner)
            self._shut_out(owner)
            # That ended what it had open in every partition: the others that wait for it need not ask again.
            for one in self._taking.values():
                one.shut_out.add(owner)


def _changelog_gap(changelog: str, another: str | None, low: int) -> str | None:
    """What a changelog has lost, if anything: a compacted one keeps its beginning."""
    if another == changelog:
        return f"its changelog {changelog} was deleted and made anew: state is gone"
    return f"the first {low} offsets of its changelog {changelog} were deleted: state is gone" if low else None


def seek(consumer: Consumer, place: Place, offset: int) -> None:
    """Reads on at ``offset``. Raises `Lost`."""
    give_up_s = monotonic() + SEEK_S
    while True:
        try:
            consumer.seek(TopicPartition(*place, offset))
            return
        except KafkaException as error:
            # Just after an assignment the client may still be looking for where it would begin itself.
            if error.args[0].code() != KafkaError._STATE or monotonic() > give_up_s:
                raise Lost(f"seeking in {place[0]} [{place[1]}]: {error}") from error
            sleep(0.01)


def peek_positions(config: dict[str, Any], changelog: Place, start: int, end: int) -> list[bytes]:
    """Positions between two offsets of a changelog, whether their transactions were committed or not."""
    reader = Consumer({**config, "isolation.level": "read_uncommitted"})
    found = []
    try:
        reader.assign([TopicPartition(*changelog, start)])
        at, give_up_s = start, monotonic() + OFFSETS_S
        while at < end and monotonic() < give_up_s:
            for message in reader.consume(BATCH, 0.1):
                at = max(at, (message.offset() or 0) + (message.error() is None))
                if message.error() is None and message.key() == POSITION_KEY:
                    value = message.value()
                    if value is not None:
                        found.append(value)
    finally:
        reader.close()
    return found


def committed_offsets(consumer: Consumer, places: list[Place]) -> dict[Place, int | None]:
    """The group's committed offsets, None where there is none. Raises ``KafkaException`` on no answer."""
    answer = consumer.committed([TopicPartition(*place) for place in places], OFFSETS_S)
    offsets: dict[Place, int | None] = {}
    for partition in answer:
        if partition.error is not None:
            raise KafkaException(partition.error)
        known = partition.offset >= 0
        offsets[partition.topic, partition.partition] = partition.offset if known else None
    return offsets
