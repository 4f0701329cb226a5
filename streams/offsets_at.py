"""Where a partition's records from a moment on begin."""

from __future__ import annotations

from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined] # its typing leaves out what it re-exports

from streams.ends import ANSWER_S
from topology.kafka_config import admin
from topology.settings import Settings


def offsets_at(settings: Settings, topic: str, partitions: list[int], since_ms: int) -> dict[int, int | None]:
    """The first offset of each partition with a time of at least ``since_ms``; None where there is none.

    Raises ``KafkaException``.
    """
    if not partitions:
        return {}
    client, from_then = admin(settings), OffsetSpec.for_timestamp(max(0, since_ms))
    asked = {TopicPartition(topic, partition): from_then for partition in partitions}
    answers = client.list_offsets(asked, request_timeout=ANSWER_S)
    found = {place.partition: future.result(2 * ANSWER_S).offset for place, future in answers.items()}
    return {partition: offset if offset >= 0 else None for partition, offset in found.items()}
