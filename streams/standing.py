"""Where a consumer group and the logs stand, asked from outside and without leaving a trace."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined] # its typing leaves out what it re-exports

from streams.app import Place
from streams.ends import ANSWER_S
from streams.history import History
from streams.position import POSITION_KEY, Position, decode
from streams.topic_reader import TIMEOUT_S
from topology.kafka_config import admin
from topology.settings import Settings
from topology.topics import changelog_of

_TAIL = 4_000
"""Offsets looked at first: each transaction that moves a partition ends with its position."""


def last_positions(settings: Settings, input_name: str) -> dict[int, Position | None]:
    """The position that the group has committed last for each partition of an input; None where it never did."""
    found: dict[int, Position | None] = {}
    with History(settings, changelog_of(settings, input_name)) as changelog:
        for partition, span in changelog.spans.items():
            tail, position, begin = _TAIL, None, span.end
            while position is None and begin > span.begin:
                end, begin = begin, max(span.begin, begin - tail)
                tail *= 4
                for batch in changelog.read(partition, begin, end):
                    for record in batch:
                        if record.key == POSITION_KEY and record.value is not None:
                            position = decode(record.value)
            found[partition] = position
    return found


def places_in(settings: Settings, topics: Iterable[str]) -> list[Place]:
    """Every partition of these topics (full names). Raises ``KafkaException`` when no broker answers."""
    known = admin(settings).list_topics(timeout=TIMEOUT_S).topics
    return [(topic, partition) for topic in topics if topic in known for partition in sorted(known[topic].partitions)]


def first_append_times(settings: Settings, places: list[Place]) -> dict[Place, int]:
    """The time of the first record of each partition that has one, in ms."""
    first = OffsetSpec.for_timestamp(0)
    return _times(settings, places, first)


def greatest_append_time(settings: Settings, places: list[Place]) -> int:
    """The greatest append time in some partitions, -1 if they are empty.

    The broker's clock stood there already: what is appended after the answer has no lower log time.
    """
    greatest = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]
    return max(_times(settings, places, greatest).values(), default=-1)


def _times(settings: Settings, places: list[Place], spec: object) -> dict[Place, int]:
    """Raises ``KafkaException``."""
    if not places:
        return {}
    asked = {TopicPartition(*place): spec for place in places}
    client = admin(settings)  # kept until the answers are there
    answers = client.list_offsets(asked, request_timeout=ANSWER_S)  # type: ignore[arg-type]
    found = {}
    for partition, future in answers.items():
        try:
            time_ms = future.result(ANSWER_S + 5).timestamp
        except TimeoutError:
            raise KafkaException(f"no answer about {partition.topic} [{partition.partition}]") from None
        if time_ms is not None and time_ms >= 0:
            found[partition.topic, partition.partition] = time_ms
    return found
