"""The librdkafka configuration of the runner's clients. Its promises rest on most of these."""

from typing import Any
from uuid import uuid4

from streams.clients import transactional_producer
from topology.kafka_config import client_config
from topology.settings import Settings

MAX_POLL_INTERVAL_MS = 60_000


def consumer_config(settings: Settings) -> dict[str, Any]:
    """Of the consumer of ``automation-events``: committed records only; only the runner commits."""
    config: dict[str, Any] = {
        **client_config(settings),
        # Members that share a client.id make librdkafka's sticky assignor rebalance without end.
        "client.id": f"automations-actions-{settings.instance_id or uuid4()}",
        "group.id": settings.actions_group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # A group's first start delivers what there is; what expired in the topic meanwhile is gone anyway.
        "auto.offset.reset": "earliest",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": settings.session_timeout_ms,
        "heartbeat.interval.ms": max(1, settings.session_timeout_ms // 4),
        "max.poll.interval.ms": max(MAX_POLL_INTERVAL_MS, settings.session_timeout_ms),
        # At a retry topic's end the position passes what was written in vain, so that nobody waits for it.
        "enable.partition.eof": True,
        # What the client fetches ahead is memory too.
        "queued.max.messages.kbytes": 16_384,
        "queued.min.messages": 1_000,
    }
    if settings.instance_id:
        config["group.instance.id"] = settings.instance_id
    return config


def table_config(settings: Settings) -> dict[str, Any]:
    """Of the reader of the control topic: without a group, from its beginning."""
    return {
        **client_config(settings),
        # The client wants one; it isn't joined and nothing is committed. A name of its own would need a right of
        # its own.
        "group.id": settings.actions_group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 100,
    }


def positions_config(settings: Settings) -> dict[str, Any]:
    """Of the reader of what was put off: the group's positions, without being a member, and the retry topics.

    It reads what is uncommitted too: a transaction that a killed process left open would hide all behind it.
    """
    return {
        **client_config(settings),
        "group.id": settings.actions_group,
        "isolation.level": "read_uncommitted",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 50,
        "queued.max.messages.kbytes": 4_096,
    }


def producer_config(settings: Settings) -> dict[str, Any]:
    """Of the transactional producer of results, retry records and dead letters."""
    name = settings.instance_id or str(uuid4())
    return transactional_producer(settings, f"{settings.topic_prefix}{settings.actions_group}-{name}")
