"""Taking partitions over: from an assignment to restored state that provably belongs to the committed offset.

The order is the proof, for each partition:

1. The changelog is read (read_committed) to an end that is its high watermark as a read_uncommitted client
   sees it. Stopping at the last stable offset would lose what is about to be committed; so if an open
   transaction holds the end back, its producer, which is named in the changelog, is shut out.
2. Then the committed offset is read: nobody else can commit for the partition any more.
3. Then the changelog's end again: what came in between is read too.
4. The position in the changelog has to be the committed offset, and both topics those that it was written for.

Nothing here waits: what the brokers are asked is answered in a later turn, so partitions at work go on. A
partition of which something is not answered is asked about again, apart from the others.
"""

from __future__ import annotations

from time import monotonic, sleep
from typing import Any, Literal, NamedTuple, Protocol

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
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

log = structlog.get_logger()

BATCH = 5_000
GIVE_UP_S = 45.0
"""How long an end may be held back at all."""
ASK_AGAIN_S = 0.1
"""After a question that failed."""
SEEK_S = 5.0


class Brokers:
    """What is asked about a group and its topics."""

    def __init__(self, admin: AdminClient, group: str, topic_ids: TopicIds) -> None:
        self._admin, self._group, self._topic_ids = admin, group, topic_ids

    def beginnings(self, places: list[Place]) -> Asked[Place]:
        """Asks for first offsets."""
        return beginnings_asked(self._admin, places)

    def ends(self, places: list[Place]) -> Asked[Place]:
        """Asks for high watermarks."""
        return ends_asked(self._admin, places)

    def offsets(self, places: list[Place]) -> Asked[str]:
        """Asks for committed offsets: see `offsets_in`."""
        return offsets_asked(self._admin, self._group, places)

    def ids(self, topics: list[str]) -> Asked[str]:
        """Asks for topics' ids: see `learn`."""
        return self._topic_ids.asked(topics)

    def learn(self, answer: dict[str, Any], *topics: str) -> str:
        """The ids of ``topics`` in an answer. Raises `StateError` where one is another topic now."""
        return self._topic_ids.learn(answer, *topics)


class Reader(Protocol):
    """Who reads the changelogs: a ``Consumer``."""

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Reads these too."""

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Reads these no longer."""

    def consume(self, num_messages: int, timeout: float) -> list[Message]:
        """What has arrived."""


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


_Kind = Literal["ends", "offsets"]


class _Key(NamedTuple):
    """Which question: ``again`` is the one about partitions to which it failed before."""

    kind: _Kind
    again: bool


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
        self.failed: set[_Kind] = set()
        """The kinds of question to which it had no answer the last time."""
        self.problem = ""
        """What was said last."""
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

    def __init__(self, reader: Reader, brokers: Brokers, predecessors: Predecessors, accept_gap: bool) -> None:
        self._reader = reader
        self._brokers = brokers
        self._predecessors = predecessors
        self._accept_gap = accept_gap
        self._taking: dict[Place, _Taking] = {}
        self._taken: list[Taken] = []
        """Restored, and not handed over yet."""
        self._asked: dict[_Key, _Question] = {}
        """The questions under way."""
        self._ask_again_s = 0.0

    def __len__(self) -> int:
        return len(self._taking)

    def begin(self, place: Place, partition: Partition, changelog: Place) -> None:
        """Begins to restore ``partition`` of input ``place`` from its ``changelog``."""
        self._taking[changelog] = _Taking(place, partition, changelog)
        self._reader.incremental_assign([TopicPartition(*changelog, OFFSET_BEGINNING)])

    def look(self) -> None:
        """Partitions are given: finds out who else is a member."""
        self._predecessors.look()

    def drop(self, place: Place) -> None:
        """Gives up a partition that was taken away again."""
        for changelog, taking in list(self._taking.items()):
            if taking.place == place:
                self._forget(changelog)
        self._taken = [taken for taken in self._taken if taken.place != place]

    def poll(self, wait_s: float) -> list[Taken]:
        """Reads on for a moment, ``wait_s`` at most if there is nothing to read.

        Returns the partitions that are restored now. Raises `StateError`, `Lost`.
        """
        self._predecessors.poll()
        if self._taking and not self._taken:  # what is left from a turn that failed comes first
            self._read(wait_s)
            self._hear_offsets()
            self._hear_ends()
        taken, self._taken = self._taken, []
        return taken

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
        brokers = self._brokers
        for question in self._answered("offsets"):
            (lows, highs, ids), failed = _heard(question.parts[:3])
            committed, no_offset = _offsets_heard(question.parts[3:])
            for taking in question.takings:
                place, changelog = taking.place, taking.changelog
                if self._taking.get(changelog) is not taking:
                    continue
                known = place in committed and place in highs and lows.keys() >= {place, changelog}
                if self._told(taking, "offsets", known and ids.keys() >= {*taking.topics}, [*failed, *no_offset]):
                    told = brokers.learn(ids, *taking.topics)
                    low, high, changelog_low = lows[place].offset, highs[place].offset, lows[changelog].offset
                    taking.found = _Found(committed[place], low, high, changelog_low, told)
        unknown = [taking for taking in self._taking.values() if taking.caught_up and taking.found is None]
        for key, takings in self._to_ask("offsets", unknown):
            places = [taking.place for taking in takings]
            topics = {topic for taking in takings for topic in taking.topics}
            parts: list[Asked[Place] | Asked[str]] = [
                brokers.beginnings([*places, *(taking.changelog for taking in takings)]),
                brokers.ends(places),
                brokers.ids(sorted(topics)),
            ]
            # One offset that is not told can make the answer about many a failure.
            groups = [[place] for place in places] if key.again else [places]
            parts.extend(brokers.offsets(group) for group in groups)
            self._asked[key] = _Question(takings, frozenset(), parts)

    def _hear_ends(self) -> None:
        """Compares what was read with the changelogs' ends; those at the end with a known offset are restored."""
        at_end: list[_Taking] = []
        held_back: list[tuple[_Taking, int]] = []
        for question in self._answered("ends"):
            (highs,), failed = _heard(question.parts)
            for taking in question.takings:
                changelog = taking.changelog
                if taking.end < 0 or self._taking.get(changelog) is not taking:
                    continue
                if not self._told(taking, "ends", changelog in highs, failed):
                    continue
                taking.caught_up = taking.end >= highs[changelog].offset
                if not taking.caught_up:
                    held_back.append((taking, highs[changelog].offset))
                elif changelog in question.final:
                    at_end.append(taking)
        for taking in at_end:
            if self._taking.get(taking.changelog) is taking:  # not twice, by two answers
                self._finish(taking)
        ended = [taking for taking in self._taking.values() if taking.end >= 0]
        for key, takings in self._to_ask("ends", ended):
            final = frozenset(taking.changelog for taking in takings if taking.found is not None)
            asked = self._brokers.ends([taking.changelog for taking in takings])
            self._asked[key] = _Question(takings, final, [asked])
        for taking, high in held_back:
            self._held_back(taking, high)

    def _answered(self, kind: _Kind) -> list[_Question]:
        """The questions of a kind that are answered now."""
        answered = [key for key, question in self._asked.items() if key.kind == kind and question.answered]
        return [self._asked.pop(key) for key in answered]

    def _to_ask(self, kind: _Kind, takings: list[_Taking]) -> list[tuple[_Key, list[_Taking]]]:
        """Those of ``takings`` to ask about now: where an answer fails it may take its whole time to do so, which
        is not to hold up the others.
        """
        groups = []
        for again in (False, True):
            those = [taking for taking in takings if (kind in taking.failed) == again]
            waits = again and monotonic() < self._ask_again_s
            key = _Key(kind, again)
            if those and not waits and key not in self._asked:
                groups.append((key, those))
        return groups

    def _told(self, taking: _Taking, kind: _Kind, known: bool, failed: list[KafkaException]) -> bool:
        """Whether a question was answered for a partition. If not, says why, once, and has it asked again.

        Raises ``Denied``.
        """
        if known:
            taking.failed.discard(kind)
            return True
        taking.failed.add(kind)
        self._ask_again_s = monotonic() + ASK_AGAIN_S
        for error in failed:
            hold_permitted(error.args[0])
        problem = str(failed[0]) if failed else "the answer left it out"
        if taking.problem != problem:
            taking.problem = problem
            log.warning("restoring waits", partition=taking.partition.where, problem=problem)
        return False

    def _finish(self, taking: _Taking) -> None:
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
        self._taken.append(Taken(taking.place, partition, resume, monotonic() - taking.began_s))
        if partition.position is not None:
            # What a dead owner has open elsewhere, in the topic of events say, would hide what comes after it.
            self._predecessors.end_if_gone(partition.where, partition.position.owner)

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


def _heard(parts: list[Any]) -> tuple[list[dict[Any, Any]], list[KafkaException]]:
    """What was answered in each part, and all that failed."""
    heard = [part.parts() for part in parts]
    return [found for found, _ in heard], [error for _, failed in heard for error in failed.values()]


def _offsets_heard(parts: list[Any]) -> tuple[dict[Place, int | None], list[KafkaException]]:
    """The committed offsets that were told, and what failed."""
    answers, errors = _heard(parts)
    committed: dict[Place, int | None] = {}
    for offsets in map(offsets_in, answers):
        committed |= offsets.committed
        errors.extend(offsets.failed.values())
    return committed, errors


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
