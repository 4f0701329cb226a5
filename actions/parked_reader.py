"""Reads what the brokers know of deliveries that were put off, on a thread of its own, as often as it is asked."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from threading import Event, Thread
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from actions.kafka_clients import positions_config
from actions.listing import Listing
from actions.offsets import resumed
from actions.order import ORDERED_MS, told_order
from actions.parked import Knowledge, Parked, PutOff, Reached
from schemas.delivery_headers import decode_headers
from streams.app import Place
from streams.telemetry import librdkafka_logger
from topology.kafka_config import admin
from topology.settings import Settings
from topology.topics import AUTOMATION_EVENTS

log = structlog.get_logger()

TAIL = 10_000
"""So many records of a partition are looked at, the newest."""
EVERY_S = 0.2
PATIENCE_S = 5.0
RETRY_S = 1.0
BATCH = 2_000


class ParkedReader:
    """Answers what ``parked`` asks, until ``stop``. ``topics`` are the retry topics in which places can be.

    Law: the group's positions are asked for first, then where the retry topics end, then they are read up to there.
    A record that takes another's place is committed together with the other's end: who knows of the end has read it.
    ``learn`` is given what was read, on the loop and in slices; by default it is that of ``parked``.
    """

    def __init__(
        self,
        settings: Settings,
        parked: Parked,
        topics: Iterable[str],
        learn: Callable[[Knowledge], None] | None = None,
    ) -> None:
        self._settings = settings
        self._parked = parked
        self._retry = {settings.topic(topic): topic for topic in topics}
        self._names = {**self._retry, settings.topic(AUTOMATION_EVENTS): AUTOMATION_EVENTS}
        self._events = settings.topic(AUTOMATION_EVENTS)
        self._listing = Listing(self._names)
        self._learn = learn or parked.learn
        self._loop = asyncio.get_running_loop()
        self._stopping = Event()
        self._next: dict[tuple[str, int], int] = {}
        self._thread = Thread(target=self._serve, name="parked", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End reading. Doesn't wait."""
        self._stopping.set()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except Exception as error:
                # Its text may hold what was read.
                log.error("what was put off can't be read, it goes on", reason=type(error).__name__)
            self._stopping.wait(RETRY_S)

    def _follow(self) -> None:
        consumer = Consumer(positions_config(self._settings), logger=librdkafka_logger())
        self._next.clear()
        try:
            client = admin(self._settings)
            unanswered = True
            while not self._stopping.is_set():
                if unanswered or self._parked.wanted:
                    unanswered = not self._answer(consumer, client)
                self._stopping.wait(EVERY_S)
        finally:
            consumer.close()

    def _places(self, client: AdminClient) -> list[tuple[str, int]]:
        """All partitions of all topics; none as long as the brokers don't tell of all."""
        if self._listing.due(time.monotonic()):
            topics = client.list_topics(timeout=PATIENCE_S).topics
            if not self._listing.told(topics, time.monotonic()):
                log.warning("the brokers don't tell all partitions of what was put off, they are asked again")
        return self._listing.places

    def _answer(self, consumer: Consumer, client: AdminClient) -> bool:
        """Whether all could be read that there is. What was read is told in any case."""
        asked = self._parked.begin()
        try:
            places = self._places(client)
            if not places:
                return False
            reached = self._reached(consumer, places)
            ends = self._ends(client, places)
        except KafkaException as error:
            log.warning("what was put off can't be read, it goes on", reason=error.args[0].name())
            return False
        records, complete = self._read(consumer, ends, reached)
        for record in records:
            self._listing.named((self._events, record.order.partition))
        self._tell(Knowledge(asked, records, reached) if complete else Knowledge(0, records, {}))
        return complete

    def _tell(self, knowledge: Knowledge) -> None:
        """Hand over what was read; between two slices the loop does what else there is."""
        for part in knowledge.slices():
            taken = Event()
            try:
                self._loop.call_soon_threadsafe(self._take, part, taken)
            except RuntimeError:
                # The loop has ended, and with it whoever would be told.
                self._stopping.set()
            while not (taken.wait(EVERY_S) or self._stopping.is_set()):
                pass

    def _take(self, part: Knowledge, taken: Event) -> None:
        try:
            self._learn(part)
        finally:
            taken.set()

    def _reached(self, consumer: Consumer, places: list[tuple[str, int]]) -> dict[Place, Reached]:
        found = {}
        for at in consumer.committed([TopicPartition(*place) for place in places], timeout=PATIENCE_S):
            if at.error is not None:
                raise KafkaException(at.error)
            point = max(at.offset, 0)
            found[self._names[at.topic], at.partition] = Reached(point, resumed(at.metadata, point))
        return found

    def _ends(self, client: AdminClient, places: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = {TopicPartition(*place): latest for place in places if place[0] in self._retry}
        asked: dict[TopicPartition, Any] = client.list_offsets(wanted, request_timeout=PATIENCE_S)
        return {(at.topic, at.partition): answer.result().offset for at, answer in asked.items()}

    def _read(
        self, consumer: Consumer, ends: dict[tuple[str, int], int], reached: dict[Place, Reached]
    ) -> tuple[list[PutOff], bool]:
        """What was put off, and whether it was read up to these ends in time."""
        moved = False
        for (name, number), end in ends.items():
            first = max(self._next.get((name, number), reached[self._names[name], number].point), end - TAIL)
            moved |= self._next.get((name, number)) != first
            self._next[name, number] = first
        if moved:
            consumer.assign([TopicPartition(*place, offset) for place, offset in self._next.items()])
        found: list[PutOff] = []
        give_up_at = time.monotonic() + PATIENCE_S
        while any(self._next[place] < end for place, end in ends.items()):
            if time.monotonic() > give_up_at or self._stopping.is_set():
                return found, False
            found += self._put_off(consumer.consume(BATCH, 0.1))
        return found, True

    def _put_off(self, messages: Iterable[Message]) -> list[PutOff]:
        found = []
        for message in messages:
            error, topic, partition, offset = message.error(), message.topic(), message.partition(), message.offset()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                if error.fatal():
                    raise KafkaException(error)
                log.warning("what was put off can't be read, it goes on", reason=error.name())
                continue
            if topic is None or partition is None or offset is None:
                continue
            place = topic, partition
            self._next[place] = max(self._next.get(place, 0), offset + (error is None))
            if error is None:
                headers: Any = message.headers() or ()
                at = (self._names[topic], partition), offset
                one = told_by(headers, at, message.timestamp()[1])
                found += [] if one is None else [one]
        return found


def told_by(headers: Sequence[tuple[str, bytes]], at: tuple[Place, int], log_ms: int) -> PutOff | None:
    """What a retry record tells that was appended at ``log_ms``; ``None`` if its delivery has no place in a lane."""
    if not any(name == "order" for name, _ in headers):
        return None
    told = decode_headers(headers)
    order = None if told is None else told_order(told.order, log_ms)
    if told is None or order is None:
        return None
    due_ms = max(told.not_before_ms or 0, log_ms)
    return PutOff(told.delivery_id, order, min(due_ms, log_ms + ORDERED_MS), at)
