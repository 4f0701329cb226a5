"""Read a topic without a group: to its end, or live for as long as the caller wants. Committed data only."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from topology.kafka_config import client_config
from topology.settings import Settings

READER_GROUP = "automations-reader"
"""The client wants one, and looks for its coordinator. It isn't joined, nothing is committed, no right is needed."""
TIMEOUT_S = 15
"""How long a broker may stay silent before reading gives up."""


_LEADER_MOVES = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}


class Read(NamedTuple):
    """One record as it lies in the topic; ``time_ms`` is its log time."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    time_ms: int
    headers: tuple[tuple[str, bytes | None], ...] = ()


class ReadTimeout(Exception):
    """The topic's end was not reached in time; the message names the topic and where reading stood."""


def _consumer(settings: Settings, isolation: str, **more: Any) -> Consumer:
    config = {
        **client_config(settings),
        "group.id": READER_GROUP,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": isolation,
        "auto.offset.reset": "earliest",
        "log_level": 0,  # who waits for an answer is told why there is none
        "fetch.wait.max.ms": 100,  # how long an empty fetch waits at the broker: the end is told that quickly
        **more,
    }
    return Consumer(config)


def partitions_of(consumer: Consumer, topic: str) -> list[int]:
    """The topic's partitions. Raises ``KafkaException`` when it does not exist or no broker answers."""
    found = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)


def watermarks(settings: Settings, topic: str) -> dict[int, tuple[int, int]]:
    """Beginning and end of each partition as the leader has them.

    A read_committed client would be told the last stable offset for an end, which an open transaction holds
    back.
    """
    consumer = _consumer(settings, "read_uncommitted")
    try:
        return {
            partition: _watermarks(consumer, TopicPartition(topic, partition))
            for partition in partitions_of(consumer, topic)
        }
    finally:
        consumer.close()


def _watermarks(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    """The partition's beginning and end. Asks again while its leader moves, as just after its creation."""
    give_up_at = time.monotonic() + TIMEOUT_S
    while True:
        try:
            low, high = consumer.get_watermark_offsets(partition, TIMEOUT_S)
            return low, high
        except KafkaException as error:
            if error.args[0].code() not in _LEADER_MOVES or time.monotonic() > give_up_at:
                raise
        time.sleep(0.1)


def read_to_end(settings: Settings, topic: str) -> list[Read]:
    """Every committed record that lay in the topic when this was called, each partition's in order.

    Raises ``ReadTimeout`` when an end is not reached, as under a transaction that stays open.
    """
    return list(scan(settings, topic))


def scan(settings: Settings, topic: str) -> Iterator[Read]:
    """As ``read_to_end``, but one by one, for topics that may be too large to hold."""
    spans = watermarks(settings, topic)
    # Only the offset of the EOF counts transaction markers: a topic may end with one.
    consumer = _consumer(settings, "read_committed", **{"enable.partition.eof": True})
    left = {partition: end for partition, (begin, end) in spans.items() if end > begin}
    try:
        consumer.assign([TopicPartition(topic, partition, spans[partition][0]) for partition in left])
        while left:
            message = consumer.poll(TIMEOUT_S)
            if message is None:
                raise ReadTimeout(f"{topic}: the end of partitions {sorted(left)} was not reached in {TIMEOUT_S} s")
            error = message.error()
            if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                continue
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                if offset >= left.get(partition, offset + 1):
                    del left[partition]
                continue
            if error is not None:
                raise KafkaException(error)
            if offset < spans[partition][1]:
                yield _read(message)
            if partition in left and offset + 1 >= left[partition]:
                del left[partition]
    finally:
        consumer.close()


def follow(settings: Settings, topic: str, *, from_beginning: bool) -> Iterator[Read]:
    """Every committed record from now on (or from the oldest), without end."""
    spans = watermarks(settings, topic)
    consumer = _consumer(settings, "read_committed", log_level=6)
    starts = {partition: begin if from_beginning else end for partition, (begin, end) in spans.items()}
    try:
        consumer.assign([TopicPartition(topic, partition, start) for partition, start in starts.items()])
        while True:
            message = consumer.poll(0.5)
            if message is None:
                continue
            error = message.error()
            if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                continue
            if error is not None:
                raise KafkaException(error)
            yield _read(message)
    finally:
        consumer.close()


def _read(message: Any) -> Read:
    headers = tuple(message.headers() or ())
    return Read(message.partition(), message.offset(), message.key(), message.value(), message.timestamp()[1], headers)
