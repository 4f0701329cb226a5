"""Partitions are restored side by side: what fails for one holds up no other, and none is lost on the way."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from consumer.app import ConsumerApp, Options
from streams.app import Place
from streams.asking import Asked
from streams.errors import Denied
from streams.partition import Partition
from streams.position import POSITION_KEY, Position
from streams.predecessors import Predecessors, Span
from streams.store import Store
from streams.takeover import Brokers, Takeovers
from tests.kafka.consumer_process import until
from topology.names import FLOW_RUN_STATE

CHANGELOG, INPUT = "runs-changelog", "runs"
NO_LEADER = KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
UNSTABLE = KafkaException(KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT))


class Scripted(Brokers):
    """Changelogs of one position each, the group at its offset; ``failing`` places have no answer."""

    def __init__(self) -> None:  # asks nobody
        self.unread: list[Message] = []
        self.failing: dict[Place, KafkaException] = {}
        self.ends_of: dict[Place, int] = {}
        self.offsets_asked: list[int] = []

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        for p in partitions:
            value = Position(7, 1_000, 1_000, 0, 0, 9, "p-group-a").encode()
            self.unread += [
                Message(topic=p.topic, partition=p.partition, offset=0, key=POSITION_KEY, value=value),
                Message(topic=p.topic, partition=p.partition, offset=1, error=KafkaError(KafkaError._PARTITION_EOF)),
            ]

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        """Nothing is read any more."""

    def consume(self, num_messages: int, timeout: float) -> list[Message]:
        unread, self.unread = self.unread, []
        return unread

    def beginnings(self, places: list[Place]) -> Asked[Place]:
        return self._asked({place: SimpleNamespace(offset=0) for place in places})

    def ends(self, places: list[Place]) -> Asked[Place]:
        ends = {place: self.ends_of.get(place, 1 if place[0] == CHANGELOG else 10) for place in places}
        return self._asked({place: SimpleNamespace(offset=end) for place, end in ends.items()})

    def offsets(self, places: list[Place]) -> Asked[str]:
        """As brokers do it: one offset that is not stable makes the whole answer a failure."""
        self.offsets_asked.append(len(places))
        future: Future[Any] = Future()
        if any(("offsets", partition) in self.failing for _, partition in places):
            future.set_exception(UNSTABLE)
        else:
            told = [TopicPartition(*place, 7) for place in places]
            future.set_result(SimpleNamespace(topic_partitions=told))
        return Asked({"group": future})

    def ids(self, topics: list[str]) -> Asked[str]:
        return self._asked(dict.fromkeys(topics, "id"))

    def learn(self, answer: dict[str, Any], *topics: str) -> str:
        return " ".join(answer[topic] for topic in topics)

    def _asked(self, answers: dict[Any, Any]) -> Asked[Any]:
        futures: dict[Any, Future[Any]] = {key: Future() for key in answers}
        for key, future in futures.items():
            if key in self.failing:
                future.set_exception(self.failing[key])
            else:
                future.set_result(answers[key])
        return Asked(futures)


class Ignorant(Predecessors):
    """Can't find out what holds an end back."""

    def end(self, where: str, owner: str | None, changelog: Place, span: Span, waited_s: float) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))


class World:
    """Three partitions that were just assigned."""

    def __init__(self) -> None:
        self.brokers = Scripted()
        predecessors = Ignorant(lambda: Asked({}), ("p-group-", "p-group-b"), lambda *_: [], lambda _: None)
        self.takeovers = Takeovers(self.brokers, self.brokers, predecessors, accept_gap=False)
        self.app = ConsumerApp(Options())
        self.at_work: list[int] = []
        for partition in range(3):
            store = Store()
            logic = self.app.logic(FLOW_RUN_STATE, partition, 9, store)
            taken = Partition(f"runs [{partition}]", logic, store, 9, "p-group-b")
            self.takeovers.begin((INPUT, partition), taken, (CHANGELOG, partition))

    def turn(self) -> None:
        """As the loop does it."""
        with suppress(KafkaException):
            self.at_work += [taken.place[1] for taken in self.takeovers.poll(0)]

    def until_at_work(self, *partitions: int) -> None:
        def all_are() -> bool:
            self.turn()
            return sorted(self.at_work) == sorted(partitions)

        until(all_are, 5, f"{partitions} are at work")


@pytest.mark.parametrize("failing", [(CHANGELOG, 1), (INPUT, 1), ("offsets", 1)])
def test_a_partition_of_which_nothing_is_told_holds_up_no_other_and_is_asked_about_again(failing: Place) -> None:
    """Its leader is away, or an open transaction holds its offset."""
    world = World()
    world.brokers.failing[failing] = NO_LEADER
    world.until_at_work(0, 2)
    for _ in range(20):
        world.turn()
    assert sorted(world.at_work) == [0, 2]
    world.brokers.failing.clear()
    world.until_at_work(0, 1, 2)


def test_a_refused_right_ends_the_restore() -> None:
    world = World()
    world.brokers.failing[CHANGELOG, 1] = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(Denied):
        world.until_at_work(0, 1, 2)


def test_a_partition_that_is_held_back_takes_none_with_it_that_is_restored() -> None:
    """Not even while nobody can tell what holds it back."""
    world = World()
    world.brokers.ends_of[CHANGELOG, 1] = 5
    world.until_at_work(0, 2)


def test_a_partition_given_up_while_it_is_restored_does_not_go_to_work() -> None:
    world = World()
    world.takeovers.drop((INPUT, 1))
    world.until_at_work(0, 2)
    for _ in range(5):
        world.turn()
    assert (sorted(world.at_work), len(world.takeovers)) == ([0, 2], 0)
