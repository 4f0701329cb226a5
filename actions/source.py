"""Where events come from: the group's consumer, on a thread of its own.

All methods but the constructor run on that thread. Rebalances happen within ``read`` and ``close`` and wait
there for the listener, so nothing is read of a partition before the listener knows that it has it, and a
partition is let go only after what it reached is committed.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import structlog
from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from schemas.codec import Codec, RegistryUnavailable, Rejected
from schemas.records import AutomationEvent
from streams.telemetry import librdkafka_logger

log = structlog.get_logger()


class Read(NamedTuple):
    """A record as it was read: its event, or why it has none."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    event: AutomationEvent | Rejected


class Listener(Protocol):
    """Who is told of rebalances and of commits that failed, on the source's thread.

    ``revoked`` gives the points to commit.
    """

    def assigned(self, partitions: list[int]) -> None: ...
    def revoked(self, partitions: list[int]) -> dict[int, int]: ...
    def lost(self, partitions: list[int]) -> None: ...
    def commit_failed(self, partitions: list[int]) -> None: ...


class SourceFailed(Exception):
    """The consumer can't go on; the message says why."""


class EventSource:
    """Reads committed events of the partitions that the group gives this process."""

    def __init__(self, config: Mapping[str, Any], topic: str, codec: Codec) -> None:
        self._topic = topic
        self._codec = codec
        self._listener: Listener | None = None
        self._raw: deque[Message] = deque()
        self._paused = False
        self._consumer = Consumer({**config, "on_commit": self._committed}, logger=librdkafka_logger())

    def subscribe(self, listener: Listener) -> None:
        """Join the group."""
        self._listener = listener

        def assigned(_: Consumer, partitions: list[TopicPartition]) -> None:
            self._paused = False
            listener.assigned([p.partition for p in partitions])

        def revoked(_: Consumer, partitions: list[TopicPartition]) -> None:
            points = listener.revoked(self._forget(partitions))
            self.commit_now(points)

        def lost(_: Consumer, partitions: list[TopicPartition]) -> None:
            listener.lost(self._forget(partitions))

        self._consumer.subscribe([self._topic], on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def read(self, most: int, timeout_s: float) -> list[Read]:
        """At most so many records, waiting for the first. With ``most`` 0 the partitions are paused."""
        self._pause(most == 0)
        room = most - len(self._raw)
        first = self._consumer.poll(0 if self._raw and room > 0 else timeout_s)
        messages = [] if first is None else [first]
        if first is not None and room > 1:
            messages += self._consumer.consume(room - 1, 0)
        for message in messages:
            if self._is_record(message):
                self._raw.append(message)
        return self._decoded(most)

    def commit(self, points: dict[int, int]) -> None:
        """Hand the points to the broker without waiting for it."""
        try:
            self._consumer.commit(offsets=self._offsets(points), asynchronous=True)
        except KafkaException as error:
            self._commit_failed(list(points), error.args[0])

    def commit_now(self, points: dict[int, int]) -> None:
        """Commit the points and wait for the broker's answer."""
        if not points:
            return
        try:
            self._consumer.commit(offsets=self._offsets(points), asynchronous=False)
        except KafkaException as error:
            self._commit_failed(list(points), error.args[0])

    def lag(self) -> dict[int, int]:
        """Records not yet read of each assigned partition, as far as the client knows."""
        lag = {}
        for at in self._consumer.position(self._consumer.assignment()):
            low, high = self._consumer.get_watermark_offsets(at, cached=True)
            if high != OFFSET_INVALID and high >= 0:
                lag[at.partition] = max(0, high - (at.offset if at.offset >= 0 else max(low, 0)))
        return lag

    def close(self) -> None:
        """Leave the group; the listener is asked for last points."""
        self._consumer.close()

    def _pause(self, paused: bool) -> None:
        assignment = self._consumer.assignment()
        if paused == self._paused or not assignment:
            return
        (self._consumer.pause if paused else self._consumer.resume)(assignment)
        self._paused = paused

    def _forget(self, partitions: list[TopicPartition]) -> list[int]:
        numbers = [p.partition for p in partitions]
        self._raw = deque(message for message in self._raw if message.partition() not in numbers)
        return numbers

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.fatal():
            raise SourceFailed(error.str())
        log.warning("reading events failed, it goes on", reason=error.name())
        return False

    def _decoded(self, most: int) -> list[Read]:
        found: list[Read] = []
        while self._raw and len(found) < most:
            message = self._raw[0]
            partition, offset, value = message.partition(), message.offset(), message.value()
            assert partition is not None
            assert offset is not None
            try:
                event = self._codec.decode_event(value)
            except RegistryUnavailable:
                log.warning("the schema registry is unreachable, events wait for it", partition=partition)
                break
            self._raw.popleft()
            found.append(Read(partition, offset, message.key(), value or b"", event))
        return found

    def _offsets(self, points: dict[int, int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition, point) for partition, point in points.items()]

    def _committed(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        failed = [p.partition for p in partitions if p.error is not None]
        if error is not None:
            self._commit_failed([p.partition for p in partitions], error)
        elif failed:
            self._commit_failed(failed, next(p.error for p in partitions if p.error is not None))

    def _commit_failed(self, partitions: list[int], error: KafkaError) -> None:
        # Nothing is lost by it: a later commit covers it, or else what is uncommitted is sent again.
        log.warning("committing failed, it goes on", reason=error.name(), partitions=partitions)
        if self._listener is not None:
            self._listener.commit_failed(partitions)
