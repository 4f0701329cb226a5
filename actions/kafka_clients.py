"""The librdkafka configuration of the runner's consumer and producer. Its promises rest on most of these."""

from typing import Any

from topology.kafka_config import client_config
from topology.settings import Settings

MAX_POLL_INTERVAL_MS = 60_000


def consumer_config(settings: Settings) -> dict[str, Any]:
    """Of the consumer of ``automation-events``: committed records only; only the runner commits."""
    config: dict[str, Any] = {
        **client_config(settings),
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
        # What the client fetches ahead is memory too.
        "queued.max.messages.kbytes": 16_384,
        "queued.min.messages": 1_000,
    }
    if settings.instance_id:
        config["group.instance.id"] = settings.instance_id
    return config


def producer_config(settings: Settings) -> dict[str, Any]:
    """Of the producer of results and dead letters: in order, once each, and never given up."""
    return {
        **client_config(settings),
        "enable.idempotence": True,
        "acks": "all",
        # Infinite: while the brokers are away, results wait.
        "message.timeout.ms": 0,
        "linger.ms": 5,
        "compression.type": "lz4",
        "partitioner": "consistent_random" if settings.partitioner == "crc32" else "murmur2_random",
    }
