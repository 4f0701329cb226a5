"""Whether topics are still those that they were: a topic made anew has the old name and other records.

The client doesn't tell. It reads on at the offset where it stood, and what lies below it in the new topic is
never read; the producer writes on into a changelog that has lost its state. Only the topic's id tells.

Laws:

1. The first id that was answered holds for as long as this object lives: any other raises `StateError`.
2. No answer, a topic that is not there, and a broker that knows no ids prove nothing.
3. The ids that a position was written with lie beside it, in a header: older builds pass it over, and a position
   without them fits any topic.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from time import monotonic
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streams.asking import Asked
from streams.errors import made_anew

log = structlog.get_logger()

HEADER = "topic-ids"
ASK_EVERY_S = 1.0
ANSWER_S = 5.0
NO_ID = "A" * 22
"""Of a broker that knows no ids (before Kafka 2.8): 16 bytes of zero."""


class TopicIds:
    """The ids of ``topics``, asked for once a second. Used from one thread."""

    def __init__(self, admin: AdminClient, topics: list[str]) -> None:
        self._admin, self._topics = admin, topics
        self._known: dict[str, str] = {}
        self._futures: dict[str, Future[Any]] = {}
        self._asked_s = monotonic() - ASK_EVERY_S  # at once: what is read from the start counts from the start
        self._missing: set[str] = set()

    def asked(self, topics: list[str]) -> Asked[str]:
        """Asks for the ids of ``topics``: see `learn`."""
        return Asked(self._ask(topics))

    def learn(self, answer: dict[str, Any], *topics: str) -> str:
        """The ids of ``topics`` in an answer, in one text. Raises `StateError` where one is another topic now."""
        for topic in topics:
            self._learn(topic, answer[topic])
        return " ".join(self._known[topic] for topic in topics)

    def watch(self) -> None:
        """Asks again when it is time. Raises `StateError` where a topic is another one now."""
        if self._futures and all(future.done() for future in self._futures.values()):
            futures, self._futures = self._futures, {}
            for topic, future in futures.items():
                try:
                    self._learn(topic, future.result())
                except KafkaException as error:
                    self._not_told(topic, error.args[0])
        if not self._futures and monotonic() - self._asked_s >= ASK_EVERY_S:
            self._asked_s = monotonic()
            self._futures = self._ask(self._topics)

    def _ask(self, topics: list[str]) -> dict[str, Future[Any]]:
        return self._admin.describe_topics(TopicCollection(topics), request_timeout=ANSWER_S)

    def _learn(self, topic: str, description: Any) -> None:
        found, known = str(description.topic_id), self._known.get(topic, NO_ID)
        if NO_ID not in (found, known) and found != known:
            raise made_anew(topic)
        if known == NO_ID:
            self._known[topic] = found
        self._missing.discard(topic)

    def _not_told(self, topic: str, error: KafkaError) -> None:
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART and topic not in self._missing:
            self._missing.add(topic)
            log.warning("a topic is not there", topic=topic, problem="it was deleted: nothing moves until it is back")


def header(ids: str) -> list[tuple[str, bytes]]:
    """What is written beside a position."""
    return [(HEADER, ids.encode())]


def changed(topics: list[str], headers: Sequence[tuple[str, bytes | None]] | None, ids: str) -> str | None:
    """Which of ``topics``, whose ``ids`` are these now, is another one than the position's ``headers`` say."""
    was = next((value.decode() for name, value in headers or [] if name == HEADER and value), "").split()
    for topic, before, now in zip(topics, was, ids.split(), strict=False):
        if before != now and NO_ID not in (before, now):
            return topic
    return None
