"""Taking partitions over: from an assignment to restored state that provably belongs to the committed offset.

The order is the proof, for each partition:

1. The changelog is read (read_committed) to an end that is its high watermark as a read_uncommitted client
   sees it. Stopping at the last stable offset would lose what is about to be committed; so if an open
   transaction holds the end back, its producer, which is named in the changelog, is shut out.
2. Then the committed offset is read: nobody else can commit for the partition any more.
3. Then the changelog's end again: what came in between is read too.
4. The position in the changelog has to be the committed offset, and both topics those that it was written for.

Nothing here waits: what the brokers are asked is answered in a later turn, so partitions at work go on.
"""

from __future__ import annotations

from time import monotonic, sleep
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.app import Place
from streams.asking import Asked
from streams.ends import beginnings_asked, ends_asked
from streams.errors import Lost, hold_permitted
from streams.group import offsets_asked, offsets_in
from streams.partition import Partition
from streams.position import POSITION_KEY, Resume, changelog_gap, low_header, resume_at
from streams.predecessors import Predecessors
from streams.topic_ids import TopicIds, changed, header

BATCH = 5_000
GIVE_UP_S = 45.0
"""How long an end may be held back at all."""
ASK_AGAIN_S = 0.1
"""After a question that failed."""
SEEK_S = 5.0


class Brokers(NamedTuple):
    """Who is asked, about which group."""

    admin: AdminClient
    group: str
    topic_ids: TopicIds


class _Found(NamedTuple):
    """What the brokers know of a partition: the group's committed offset, where the input begins and ends, where
    the changelog begins, and the ids of both topics.
    """

    committed: int | None
    low: int
    high: int
    changelog_low: int
    ids: str


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
        """Up to where the changelog was read when its end was met; -1 while there is more."""
        self.caught_up = False
        """Whether that was the high watermark."""
        self.found: _Found | None = None
        self.beside: Any = None
        """The headers of the position."""

    @property
    def topics(self) -> list[str]:
        """The input and its changelog."""
        return [self.place[0], self.changelog[0]]


class _Question(NamedTuple):
    """What the brokers are asked about some partitions."""

    takings: list[_Taking]
    final: frozenset[Place]
    """The changelogs whose committed offset was known when it was asked."""
    parts: list[Asked[Place] | Asked[str]]

    @property
    def answered(self) -> bool:
        return all(part.answered for part in self.parts)


class Takeovers:
    """All partitions on the way, restored side by side without holding up those at work."""

    def __init__(self, reader: Consumer, brokers: Brokers, predecessors: Predecessors, accept_gap: bool) -> None:
        self._reader = reader
        self._brokers = brokers
        self._predecessors = predecessors
        self._accept_gap = accept_gap
        self._taking: dict[Place, _Taking] = {}
        self._ends: _Question | None = None
        self._offsets: _Question | None = None
        self._ask_at_s = 0.0

    def __len__(self) -> int:
        return len(self._taking)

    def begin(self, place: Place, partition: Partition, changelog: Place) -> None:
        """Begins to restore ``partition`` of input ``place`` from its ``changelog``."""
        self._taking[changelog] = _Taking(place, partition, changelog)
        self._reader.incremental_assign([TopicPartition(*changelog, OFFSET_BEGINNING)])
        self._predecessors.look()

    def drop(self, place: Place) -> None:
        """Gives up a partition that was taken away again."""
        for changelog, taking in list(self._taking.items()):
            if taking.place == place:
                self._forget(changelog)

    def poll(self, wait_s: float) -> list[Taken]:
        """Reads on for a moment, ``wait_s`` at most if there is nothing to read.

        Returns the partitions that are restored now. Raises `StateError`, `Lost`; ``KafkaException`` after a
        question that failed, which is asked again.
        """
        self._predecessors.poll()
        if not self._taking:
            return []
        self._read(wait_s)
        self._hear_offsets()
        return self._hear_ends()

    def _read(self, wait_s: float) -> None:
        for message in self._reader.consume(BATCH, wait_s):
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
                taking.end, taking.ended_s = message.offset() or 0, monotonic()
                taking.caught_up = False
            elif not error.retriable():
                hold_permitted(error)
                raise Lost(f"the changelog of {taking.partition.where} can't be read: {error.str()}")

    def _hear_offsets(self) -> None:
        """For those that have caught up: where the group stands, and what the input has."""
        question, admin = self._offsets, self._brokers.admin
        if question is not None and question.answered:
            self._offsets = None
            group, lows, highs, ids = self._answers(question)
            committed = offsets_in(group)
            for taking in question.takings:
                place, changelog = taking.place, taking.changelog
                told = self._brokers.topic_ids.learn(ids, *taking.topics)
                low, high, changelog_low = lows[place].offset, highs[place].offset, lows[changelog].offset
                taking.found = _Found(committed[place], low, high, changelog_low, told)
        unknown = [taking for taking in self._taking.values() if taking.caught_up and taking.found is None]
        if unknown and self._offsets is None and monotonic() >= self._ask_at_s:
            places = [taking.place for taking in unknown]
            topics = {topic for taking in unknown for topic in taking.topics}
            self._offsets = _Question(
                unknown,
                frozenset(),
                [
                    offsets_asked(admin, self._brokers.group, places),
                    beginnings_asked(admin, [*places, *(taking.changelog for taking in unknown)]),
                    ends_asked(admin, places),
                    self._brokers.topic_ids.asked(sorted(topics)),
                ],
            )

    def _hear_ends(self) -> list[Taken]:
        """Compares what was read with the changelogs' ends; those at the end with a known offset are restored."""
        question, finished = self._ends, []
        if question is not None and question.answered:
            self._ends = None
            (highs,) = self._answers(question)
            for taking in question.takings:
                changelog = taking.changelog
                if taking.end < 0 or self._taking.get(changelog) is not taking:
                    continue
                taking.caught_up = taking.end >= highs[changelog].offset
                if not taking.caught_up:
                    self._held_back(taking, highs[changelog].offset)
                elif changelog in question.final:
                    finished.append(self._finish(taking))
        ended = [taking for taking in self._taking.values() if taking.end >= 0]
        if ended and self._ends is None and monotonic() >= self._ask_at_s:
            final = frozenset(taking.changelog for taking in ended if taking.found is not None)
            asked = ends_asked(self._brokers.admin, [taking.changelog for taking in ended])
            self._ends = _Question(ended, final, [asked])
        return finished

    def _answers(self, question: _Question) -> list[dict[Any, Any]]:
        try:
            return [part.answer() for part in question.parts]
        except KafkaException:
            self._ask_at_s = monotonic() + ASK_AGAIN_S
            raise

    def _finish(self, taking: _Taking) -> Taken:
        partition, found = taking.partition, taking.found
        assert found is not None
        another, changelog = changed(taking.topics, taking.beside, found.ids), taking.changelog[0]
        partition.beside = [*header(found.ids), low_header(found.changelog_low)]
        resume = resume_at(
            partition.where,
            found.committed,
            partition.position,
            found.low,
            found.high,
            self._accept_gap,
            input_anew=another == taking.place[0],
            changelog_gap=changelog_gap(changelog, another == changelog, found.changelog_low, taking.beside),
        )
        self._forget(taking.changelog)
        if partition.position is not None:
            # What a dead owner has open elsewhere, in the topic of events say, would hide what comes after it.
            self._predecessors.end_if_gone(partition.where, partition.position.owner)
        return Taken(taking.place, partition, resume, monotonic() - taking.began_s)

    def _forget(self, changelog: Place) -> None:
        del self._taking[changelog]
        self._reader.incremental_unassign([TopicPartition(*changelog)])

    def _held_back(self, taking: _Taking, high: int) -> None:
        """A transaction is open in the changelog, or its end has just moved."""
        waited_s = monotonic() - taking.ended_s
        if waited_s > GIVE_UP_S:
            raise Lost(f"{taking.partition.where}: a transaction in its changelog stays open")
        position = taking.partition.position
        owner = None if position is None else position.owner
        self._predecessors.end(taking.partition.where, owner, taking.changelog, (taking.end, high), waited_s)


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
