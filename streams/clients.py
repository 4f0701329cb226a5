"""The librdkafka configuration of the loop's clients. The promises rest on most of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import structlog
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from topology.kafka_config import admin, client_config
from topology.settings import Settings

log = structlog.get_logger()

MAX_POLL_INTERVAL_MS = 60_000
LEADERS_AGE_MS = 2_000
WARM_UP_S = 5.0


def group_consumer(settings: Settings, transactional_id: str) -> dict[str, Any]:
    """Of the member of the consumer group that reads the inputs. Offsets are committed in transactions."""
    config: dict[str, Any] = {
        **_reader(settings),
        "group.id": settings.consumer_group,
        # Members that share a client.id make librdkafka's sticky assignor rebalance without end. As it is the
        # producer's id too, the group's members tell whose transactions nobody will end.
        "client.id": transactional_id,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": settings.session_timeout_ms,
        # A heartbeat's answer is how a member learns that others have come or gone: partitions wait for that.
        "heartbeat.interval.ms": max(1, settings.session_timeout_ms // 20),
        "max.poll.interval.ms": max(MAX_POLL_INTERVAL_MS, settings.session_timeout_ms),
        # Where to read is decided from state; a position that the log does not have stops the process.
        "auto.offset.reset": "error",
        # An input that is given more partitions is to be noticed soon: keys then lie elsewhere.
        "topic.metadata.refresh.interval.ms": 10_000,
    }
    if settings.instance_id:
        config["group.instance.id"] = settings.instance_id
    return config


def table_reader(settings: Settings) -> dict[str, Any]:
    """Of a consumer without a group that reads a topic from its beginning and follows it."""
    return {
        **_reader(settings),
        # The client wants one; it isn't joined and nothing is committed. A name of its own would need a right of
        # its own.
        "group.id": settings.consumer_group,
        "auto.offset.reset": "earliest",
    }


def _reader(settings: Settings) -> dict[str, Any]:
    return {
        **client_config(settings),
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # The offset of the end counts control records too; a position after the last record does not.
        "enable.partition.eof": True,
        # At its default of a second an idle fetcher waits that long before it asks again.
        "fetch.queue.backoff.ms": 5,
        "fetch.wait.max.ms": 100,
        "queued.max.messages.kbytes": 65_536,
    }


def leaders_admin(settings: Settings) -> AdminClient:
    """Of the client that asks leaders for the ends of partitions.

    It asks with the leader epochs that it knows. When one is out of date, after a broker's restart, the leader
    refuses and the client does not look for a new one: until what it knows expires, by default in a quarter of
    an hour, it gets no answer.
    """
    return admin(settings, more={"metadata.max.age.ms": LEADERS_AGE_MS})


def transactional_producer(settings: Settings, transactional_id: str) -> dict[str, Any]:
    """Of the one producer that writes everything a process writes, in transactions."""
    return {
        **client_config(settings),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": settings.transaction_timeout_ms,
        "message.timeout.ms": settings.transaction_timeout_ms,
        "linger.ms": 5,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 262_144,
        "partitioner": "consistent_random" if settings.partitioner == "crc32" else "murmur2_random",
    }


def warm_up(reader: Consumer, topics: list[str], on_wait: Callable[[], None]) -> None:
    """Waits until a reader has a broker and knows its topics' leaders.

    What is asked of it before that fails, and it looks again only each half or whole second. ``on_wait`` is told
    that a call has come back.
    """
    try:
        for topic in topics:
            reader.list_topics(topic, WARM_UP_S)
            on_wait()
    except KafkaException as error:
        log.warning("a client is not connected yet", problem=str(error))


def transactional_ids(settings: Settings) -> str:
    """What the transactional ids of all processes of the group begin with."""
    return f"{settings.topic_prefix}{settings.consumer_group}-"


def transactional_id_of(settings: Settings) -> str:
    """Stable for a process with an ``INSTANCE_ID``, else new for each start."""
    return transactional_ids(settings) + (settings.instance_id or str(uuid4()))
