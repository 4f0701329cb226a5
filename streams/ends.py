"""Asking the brokers for the ends of partitions: what makes progress move where nothing is left to read.

The answer is the leaders' high watermarks: not the last stable offset (an open transaction of a producer
means that there is something to wait for), not a cached value. What it speaks for is the broker time just
before the request was sent. Without an answer nothing moves.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, NamedTuple

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # its typing leaves out what it re-exports
    AdminClient,
    OffsetSpec,
)

from streams.app import Place
from streams.asking import Asked

ANSWER_S = 5.0

_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]


class Answer(NamedTuple):
    """High watermarks by topic and partition, as asked at a broker time (ms)."""

    asked_ms: int
    highs: dict[Place, int]


class Ends:
    """One request under way at most, for any number of partitions."""

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin
        self._asked_ms = 0
        self._futures: dict[Place, Future[Any]] = {}

    @property
    def asking(self) -> bool:
        """Whether a request is under way."""
        return bool(self._futures)

    def ask(self, places: list[Place], now_ms: int) -> None:
        """Asks for the ends of ``places`` at broker time ``now_ms``."""
        self._asked_ms = now_ms
        self._futures = dict(zip(places, _latest(self._admin, places), strict=True))

    def answer(self) -> Answer | None:
        """The answer, once it is there; what a broker did not answer is left out."""
        if not self._futures or not all(future.done() for future in self._futures.values()):
            return None
        futures, self._futures = self._futures, {}
        highs = {}
        for place, future in futures.items():
            try:
                highs[place] = future.result().offset
            except KafkaException:
                continue
        return Answer(self._asked_ms, highs)


def _latest(admin: AdminClient, places: list[Place]) -> list[Future[Any]]:
    asked = {TopicPartition(*place): _LATEST for place in places}
    found = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=ANSWER_S)
    by_place = {(partition.topic, partition.partition): future for partition, future in found.items()}
    return [by_place[place] for place in places]


def ends_asked(admin: AdminClient, places: list[Place]) -> Asked[Place]:
    """Asks for the high watermarks of ``places``."""
    return Asked(dict(zip(places, _latest(admin, places), strict=True)))


def beginnings_asked(admin: AdminClient, places: list[Place]) -> Asked[Place]:
    """Asks for the first offsets of ``places``."""
    asked = {TopicPartition(*place): _EARLIEST for place in places}
    found = admin.list_offsets(asked, request_timeout=ANSWER_S)
    return Asked({(partition.topic, partition.partition): future for partition, future in found.items()})
