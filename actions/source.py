"""Where events come from: the group's consumer, on a thread of its own.

All methods but ``consumer_group_metadata`` run on that thread. Rebalances happen within ``read`` and ``close`` and wait
there for the listener, so nothing is read of a partition before the listener knows that it has it, and a
partition is let go only after what it reached is committed.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping
from time import monotonic
from typing import Any, NamedTuple, Protocol

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from actions.offsets import Resumed, resumed
from schemas.codec import Codec, RegistryUnavailable, Rejected
from schemas.delivery_headers import DeliveryHeaders, decode_headers
from schemas.records import AutomationEvent
from streams.app import Place
from streams.errors import hold_permitted, shut_out_by_twin
from streams.telemetry import librdkafka_logger
from topology.topics import RETRY_1H, RETRY_1M, RETRY_10M

log = structlog.get_logger()

RETRY_TOPICS = (RETRY_1M, RETRY_10M, RETRY_1H)
READ_AT_ONCE = 500
COMMITTED_S = 2.0
"""How long the brokers have to tell what a partition's last owner committed, before it is helped along."""
TAKEOVER_S = 20.0
ASK_AGAIN_S = 1.0
"""A schema registry that could not be asked is asked again after so long."""


class Read(NamedTuple):
    """A record as it was read: its event, or why it has none. ``place`` names the topic without prefix.

    ``event`` ``None`` is no record: nothing that can be read lies before this offset any more.
    """

    place: Place
    offset: int
    key: bytes | None
    value: bytes
    log_ms: int
    event: AutomationEvent | Rejected | None
    headers: DeliveryHeaders | None


class Listener(Protocol):
    """Who is told of rebalances, on the source's thread. ``revoked`` returns when all is committed."""

    def assigned(self, partitions: Mapping[Place, Resumed]) -> None: ...
    def revoked(self, partitions: list[Place]) -> None: ...
    def lost(self, partitions: list[Place]) -> None: ...


class SourceFailed(Exception):
    """The consumer can't go on; the message says why."""


class EventSource:
    """Reads committed events of the partitions that the group gives this process.

    ``topics`` are full names by names without prefix. ``end_predecessor`` is given the transactional id of a
    process that has left a partition's offsets pending.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: Mapping[str, str],
        codec: Codec,
        end_predecessor: Callable[[str], None],
    ) -> None:
        self._config = dict(config)
        self._topics = dict(topics)
        self._bases = {name: base for base, name in topics.items()}
        self._codec = codec
        self._end_predecessor = end_predecessor
        self._raw: defaultdict[Place, deque[Message]] = defaultdict(deque)
        self._stuck: set[Place] = set()
        self._ask_at = 0.0
        self._paused: set[TopicPartition] = set()
        self._consumer = Consumer(self._config, logger=librdkafka_logger())
        self._membership: Any = None

    def consumer_group_metadata(self) -> Any:
        """What proves this process's membership, as of the last ``read`` or rebalance. For any thread.

        Asked of the client by another thread it would wait for the rebalance that waits for that thread. One
        that is out of date is refused by the brokers.
        """
        return self._membership

    def subscribe(self, listener: Listener) -> None:
        """Join the group."""

        def assigned(_: Consumer, partitions: list[TopicPartition]) -> None:
            positions, found = self._resume(partitions)
            listener.assigned(found)
            self._consumer.incremental_assign(positions)
            self._remember()

        def revoked(_: Consumer, partitions: list[TopicPartition]) -> None:
            self._remember()
            listener.revoked(self._forget(partitions))

        def lost(_: Consumer, partitions: list[TopicPartition]) -> None:
            listener.lost(self._forget(partitions))

        self._consumer.subscribe(list(self._bases), on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def read(self, closed: Collection[Place], timeout_s: float) -> list[Read]:
        """What has come, waiting for the first. Partitions that are ``closed`` are paused."""
        self._pause(closed)
        first = self._consumer.poll(timeout_s)
        if first is not None:
            # A rebalance while more is read forgets what was kept before it.
            self._keep([first])
            self._keep(self._consumer.consume(READ_AT_ONCE - 1, 0))
        self._remember()
        return self._decoded()

    def hear_of_twin(self) -> None:
        """Wait until the next heartbeat would tell that a twin has taken this member's place.

        Raises ``StateError`` then.
        """
        if "group.instance.id" in self._config:
            give_up_at = monotonic() + self._config["heartbeat.interval.ms"] / 1000 + 1
            while monotonic() < give_up_at:
                message = self._consumer.poll(0.1)
                if message is not None:
                    self._is_record(message)

    def lag(self) -> dict[Place, int]:
        """Records not yet read of each assigned partition, as far as the client knows."""
        lag = {}
        for at in self._consumer.position(self._consumer.assignment()):
            low, high = self._consumer.get_watermark_offsets(at, cached=True)
            if high != OFFSET_INVALID and high >= 0:
                read = at.offset if at.offset >= 0 else max(low, 0)
                lag[self._bases[at.topic], at.partition] = max(0, high - read)
        return lag

    def close(self) -> None:
        """Leave the group; the listener gives its partitions up."""
        self._consumer.close()

    def _remember(self) -> None:
        self._membership = self._consumer.consumer_group_metadata()

    def _resume(self, partitions: list[TopicPartition]) -> tuple[list[TopicPartition], dict[Place, Resumed]]:
        """Where to go on in these partitions, and what has ended beyond that."""
        positions, found = [], {}
        for at in self._committed(partitions):
            offset, place = self._in_log(at), (self._bases[at.topic], at.partition)
            positions.append(TopicPartition(at.topic, at.partition, offset))
            found[place] = resumed(at.metadata, at.offset) if offset == at.offset else Resumed()
        return positions, found

    def _in_log(self, at: TopicPartition) -> int:
        """The committed offset, or where the log has its nearest record if it has lost that one."""
        if at.offset < 0:
            return OFFSET_BEGINNING
        low, high = self._consumer.get_watermark_offsets(at, COMMITTED_S)
        if low <= at.offset <= high:
            return at.offset
        nearest = max(low, min(at.offset, high))
        log.error(
            "the log doesn't have the committed offset: records are gone, it goes on at the nearest",
            topic=at.topic,
            partition=at.partition,
            committed=at.offset,
            nearest=nearest,
        )
        return nearest

    def _committed(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """The group's positions. They are pending while a process that is gone has left a transaction open."""
        wanted = [TopicPartition(at.topic, at.partition) for at in partitions]
        give_up_at = monotonic() + TAKEOVER_S
        while True:
            try:
                return self._checked(self._consumer.committed(wanted, timeout=COMMITTED_S))
            except KafkaException as error:
                hold_permitted(error.args[0])
                if monotonic() > give_up_at:
                    raise SourceFailed(f"where to go on can't be read: {error.args[0].str()}") from error
                log.warning("where to go on is still pending", reason=error.args[0].name())
            self._end_predecessors(wanted)

    def _end_predecessors(self, wanted: list[TopicPartition]) -> None:
        """End the open transactions of those who committed these partitions last."""
        # A reader of uncommitted data is told the last settled position at once.
        config = {name: value for name, value in self._config.items() if name != "group.instance.id"}
        reader = Consumer({**config, "isolation.level": "read_uncommitted"}, logger=librdkafka_logger())
        try:
            settled = self._checked(reader.committed(wanted, timeout=COMMITTED_S))
            owners = {resumed(at.metadata, at.offset).owner for at in settled}
            for owner in sorted(owners - {""}):
                self._end_predecessor(owner)
        except KafkaException as error:
            log.warning("a predecessor's transaction can't be ended yet", reason=error.args[0].name())
        finally:
            reader.close()

    def _checked(self, found: list[TopicPartition]) -> list[TopicPartition]:
        for at in found:
            if at.error is not None:
                raise KafkaException(at.error)
        return found

    def _pause(self, closed: Collection[Place]) -> None:
        assigned = {TopicPartition(at.topic, at.partition) for at in self._consumer.assignment()}
        held = {*self._raw, *closed}
        wanted = {at for at in assigned if (self._bases[at.topic], at.partition) in held}
        paused = self._paused & assigned
        if wanted - paused:
            self._consumer.pause(list(wanted - paused))
        if paused - wanted:
            self._consumer.resume(list(paused - wanted))
        self._paused = wanted

    def _forget(self, partitions: list[TopicPartition]) -> list[Place]:
        places = [(self._bases[at.topic], at.partition) for at in partitions]
        # The client remembers a pause for longer than an assignment: the partition may come back.
        stale = [at for at in self._paused if (self._bases[at.topic], at.partition) in places]
        if stale:
            self._consumer.resume(stale)
        for place in places:
            self._raw.pop(place, None)
            self._stuck.discard(place)
        self._paused -= {TopicPartition(at.topic, at.partition) for at in partitions}
        return places

    def _keep(self, messages: list[Message]) -> None:
        for message in messages:
            if self._is_record(message) or self._is_end(message):
                self._raw[self._place(message)].append(message)

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError.FENCED_INSTANCE_ID or "fenced" in error.str().lower():
            raise shut_out_by_twin(str(self._config.get("group.instance.id")))
        hold_permitted(error)
        if error.fatal():
            raise SourceFailed(error.str())
        if error.code() != KafkaError._PARTITION_EOF:
            log.warning("reading events failed, it goes on", reason=error.name())
        return False

    def _is_end(self, message: Message) -> bool:
        """Whether it tells the end of a retry topic's partition."""
        error = message.error()
        at_end = error is not None and error.code() == KafkaError._PARTITION_EOF
        return at_end and self._place(message)[0] in RETRY_TOPICS

    def _decoded(self) -> list[Read]:
        """What can be read. A partition whose next record needs a registry that can't be asked waits."""
        found: list[Read] = []
        for place in list(self._raw):
            # Asking may take seconds: of those that wait one is asked for at a time, the others are read in between.
            if place in self._stuck and monotonic() < self._ask_at:
                continue
            held = self._raw.pop(place)
            self._stuck.discard(place)
            try:
                while held:
                    found.append(self._read(place, held[0]))
                    held.popleft()
            except RegistryUnavailable:
                log.warning(
                    "the schema registry is unreachable, a partition waits for it", topic=place[0], partition=place[1]
                )
                self._raw[place] = held
                self._stuck.add(place)
                self._ask_at = monotonic() + ASK_AGAIN_S
        return found

    def _read(self, place: Place, message: Message) -> Read:
        offset, value = message.offset(), message.value()
        assert offset is not None
        if message.error() is not None:
            return Read(place, offset, None, b"", 0, None, None)
        event = self._codec.decode_event(value)
        headers = decode_headers(message.headers())  # type: ignore[arg-type]
        return Read(place, offset, message.key(), value or b"", max(0, message.timestamp()[1]), event, headers)

    def _place(self, message: Message) -> Place:
        topic, partition = message.topic(), message.partition()
        assert topic is not None
        assert partition is not None
        return self._bases[topic], partition
