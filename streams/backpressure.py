"""Pausing partitions of which too much waits in memory, until most of it is done."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import Consumer, TopicPartition

from streams.app import Place
from streams.partition import Partition

PAUSE_ABOVE, RESUME_BELOW = 20_000, 5_000
"""Records of a partition that wait in memory."""


class Backpressure:
    """The partitions that a consumer has paused."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._paused: set[Place] = set()

    def balance(self, active: Mapping[Place, Partition]) -> None:
        """Pauses and resumes by what waits now."""
        for place, partition in active.items():
            waiting = len(partition.queue)
            if waiting > PAUSE_ABOVE and place not in self._paused:
                self._consumer.pause([TopicPartition(*place)])
                self._paused.add(place)
            elif waiting < RESUME_BELOW and place in self._paused:
                self._consumer.resume([TopicPartition(*place)])
                self._paused.discard(place)

    def forget(self, place: Place) -> None:
        """A partition was taken away."""
        self._paused.discard(place)
