"""What the group's coordinator knows: who is a member, and which offsets are committed."""

from __future__ import annotations

from typing import Any, NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.app import Place
from streams.asking import Asked

ANSWER_S = 5.0


def offsets_asked(admin: AdminClient, group: str, places: list[Place]) -> Asked[str]:
    """Asks for the committed offsets of ``places``: see `offsets_in`.

    Only stable ones count: an offset in an open transaction makes the answer a failure.
    """
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(*place) for place in places])
    return Asked(admin.list_consumer_group_offsets([wanted], require_stable=True, request_timeout=ANSWER_S))


class Offsets(NamedTuple):
    """Committed offsets, None where there is none, and the places of which none is told now."""

    committed: dict[Place, int | None]
    failed: dict[Place, KafkaException]


def offsets_in(answer: dict[str, Any]) -> Offsets:
    """The committed offsets in an answer."""
    offsets = Offsets({}, {})
    for found in answer.values():
        for partition in found.topic_partitions:
            place = (partition.topic, partition.partition)
            if partition.error is not None:
                offsets.failed[place] = KafkaException(partition.error)
            else:
                offsets.committed[place] = partition.offset if partition.offset >= 0 else None
    return offsets


def members_asked(admin: AdminClient, group: str) -> Asked[str]:
    """Asks who is a member of the group: see `members_in`."""
    return Asked(admin.describe_consumer_groups([group], request_timeout=ANSWER_S))


def members_in(answer: dict[str, Any]) -> frozenset[str]:
    """The members' ``client.id``, which is their transactional id too."""
    return frozenset(member.client_id for found in answer.values() for member in found.members)
