"""What tests of the consumer put on the topics and find there, and the same as the oracle sees it."""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.codec import Codec, Rejected
from schemas.records import AgentHeartbeat, AutomationEvent, FlowRunState
from streams.topic_reader import Read, partitions_of, read_to_end, watermarks
from tests.kafka.consumer_process import until
from tests.oracle.oracle import Appended, Control, History, Json
from topology.apply import apply
from topology.kafka_config import admin, client_config
from topology.settings import Settings
from topology.topics import AGENT_HEARTBEAT, AUTOMATION_EVENTS, AUTOMATIONS, FLOW_RUN_STATE, INPUT_DLQ

CODEC = Codec()


class EventReader:
    """A read_committed reader of the events, in the background, as anybody may be one."""

    def __init__(self, settings: Settings) -> None:
        self.values: list[bytes] = []
        config = {
            **client_config(settings),
            "group.id": "unused",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
        self._consumer = Consumer(config)
        topic = settings.topic(AUTOMATION_EVENTS)
        self._topic, self._stopping = topic, Event()
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        numbers = partitions_of(self._consumer, self._topic)
        self._consumer.assign([TopicPartition(self._topic, number, 0) for number in numbers])
        while not self._stopping.is_set():
            for message in self._consumer.consume(2_000, 0.2):
                if message.error() is None:
                    self.values.append(message.value() or b"")
        self._consumer.close()

    @property
    def events(self) -> list[AutomationEvent]:
        return [decoded(value) for value in list(self.values)]

    def until(self, count: int, timeout_s: float = 30) -> list[AutomationEvent]:
        """The events, once there are at least that many."""
        until(lambda: len(self.values) >= count, timeout_s, f"{count} events (there are {len(self.values)})")
        return self.events

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(10)


@contextmanager
def reading_events(settings: Settings) -> Iterator[EventReader]:
    reader = EventReader(settings)
    try:
        yield reader
    finally:
        reader.stop()


def decoded(value: bytes | None) -> AutomationEvent:
    event = CODEC.decode_event(value)
    assert not isinstance(event, Rejected), event
    return event


def make_topics(settings: Settings) -> None:
    apply(settings, lambda _: None)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def producer(settings: Settings, **more: Any) -> Producer:
    """One that places keys as Java's client does."""
    return Producer({**client_config(settings), "partitioner": "murmur2_random", "linger.ms": 5, **more})


def put(settings: Settings, topic: str, *records: tuple[bytes | None, bytes | None]) -> None:
    """Put records (key, value) on a topic and wait until they are there."""
    sender = producer(settings)
    for key, value in records:
        sender.produce(settings.topic(topic), value, key, on_delivery=_arrived)
    assert sender.flush(20) == 0


def _arrived(error: Any, message: Any) -> None:
    """A delivery report that must be good."""
    del message
    assert error is None, error


def state(run: str, version: int, name: str, **fields: Any) -> FlowRunState:
    """A state of a run that it enters now, unless told."""
    base = FlowRunState(
        tenant_id="t", tenant_slug="t-slug", flow_id="flow", flow_name="etl", flow_group_id="g",
        flow_run_id=run, flow_run_name=f"run {run}", version=version, state=name, state_message=None,
        timestamp=now_ms(),
    )  # fmt: skip
    return base._replace(**fields)


def put_states(settings: Settings, *states: FlowRunState) -> None:
    put(settings, FLOW_RUN_STATE, *((one.flow_run_id.encode(), CODEC.encode_state(one)) for one in states))


def put_heartbeats(settings: Settings, *beats: AgentHeartbeat) -> None:
    put(
        settings,
        AGENT_HEARTBEAT,
        *((one.agent_config_id.encode(), CODEC.encode_heartbeat(one)) for one in beats),
    )


ControlEntry = tuple[str, Json | None]
"""Key and value of a control record; without a value it is a tombstone."""


def automation(automation_id: str, event_type: str, **fields: Any) -> ControlEntry:
    """An automation of tenant ``t``, enabled unless told."""
    value = {
        "id": automation_id, "tenant_id": "t", "tenant_slug": "t-slug", "name": automation_id, "enabled": True,
        "event_type": event_type, "action_ids": [], "created": "2026-01-01T00:00:00Z",
        "updated": "2026-01-01T00:00:00Z", "revision": 1, **fields,
    }  # fmt: skip
    return f"automation:{automation_id}", value


def on_states(automation_id: str, *states: str, **fields: Any) -> ControlEntry:
    return automation(automation_id, "FlowRunStateChangedEvent", **{"states": list(states), **fields})


def sla(
    automation_id: str, kind: str, seconds: int, groups: list[str] | None = None, **fields: Any
) -> list[ControlEntry]:
    """A flow SLA with its config; ``kind`` is ``NS`` or ``NF``."""
    long = {"NS": "SCHEDULED_NOT_STARTED", "NF": "STARTED_NOT_FINISHED"}[kind]
    config_id = f"{automation_id}-sla"
    config = {
        "id": config_id, "tenant_id": fields.get("tenant_id", "t"), "kind": long,
        "duration_seconds": seconds, "flow_group_ids": groups,
    }  # fmt: skip
    made = automation(automation_id, "FlowSLAFailedEvent", **{"flow_sla_config_id": config_id, **fields})
    return [(f"flow_sla_config:{config_id}", config), made]


def put_control(settings: Settings, entries: Iterable[ControlEntry]) -> None:
    put(
        settings,
        AUTOMATIONS,
        *((key.encode(), None if value is None else json.dumps(value).encode()) for key, value in entries),
    )


class Place(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


class DeadLetter(NamedTuple):
    """A record of input-dlq, as it lies there."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, str]

    @property
    def origin(self) -> Place:
        headers = self.headers
        return Place(headers["origin-topic"], int(headers["origin-partition"]), int(headers["origin-offset"]))


def put_at(settings: Settings, topic: str, partition: int, *records: tuple[bytes | None, bytes | None]) -> list[Place]:
    """Puts records in a partition of one's choice, and says where they lie."""
    sender, found = producer(settings, **{"message.max.bytes": 4 * 1024 * 1024}), []

    def landed(error: Any, message: Any) -> None:
        assert error is None, error
        found.append(Place(message.topic(), message.partition(), message.offset()))

    for key, value in records:
        sender.produce(settings.topic(topic), value, key, partition, on_delivery=landed)
    assert sender.flush(20) == 0
    return found


def dead_letters(settings: Settings) -> list[DeadLetter]:
    """What input-dlq has now, for a read_committed reader."""
    name = settings.topic(INPUT_DLQ)
    records = topic_records(settings, INPUT_DLQ)
    config = {**client_config(settings), "group.id": "unused", "auto.offset.reset": "earliest"}
    consumer = Consumer({**config, "enable.auto.commit": False})
    found: list[DeadLetter] = []
    try:
        consumer.assign([TopicPartition(name, number, 0) for number in partitions_of(consumer, name)])
        while len(found) < len(records):
            message = consumer.poll(10)
            assert message is not None, f"{len(found)} of {len(records)} dead letters"
            assert message.error() is None
            pairs: Any = message.headers() or []
            headers = {header: value.decode() for header, value in pairs}
            found.append(DeadLetter(message.key(), message.value(), headers))
    finally:
        consumer.close()
    return found


def topic_records(settings: Settings, topic: str) -> list[Read]:
    """Every committed record of a topic, named without its prefix."""
    return read_to_end(settings, settings.topic(topic))


def events_on(settings: Settings) -> list[AutomationEvent]:
    """The events that a read_committed reader finds."""
    return [decoded(record.value) for record in topic_records(settings, AUTOMATION_EVENTS)]


def comparable(events: Iterable[AutomationEvent]) -> list[Json]:
    """Events as the oracle gives them, doubles left in; ``detected_at`` is held to be after the fact."""
    made = []
    for event in events:
        fields = event._asdict()
        detected_at = fields.pop("detected_at")
        assert event.event_name == "FlowRunStateChangedEvent" or detected_at > event.timestamp
        fields["actions"] = json.loads(fields["actions"])
        made.append(fields)
    return sorted(made, key=lambda fields: (fields["timestamp"], fields["id"]))


def differences(found: list[Json], expected: list[Json]) -> list[str]:
    """What is missing, what is there besides, and which fields differ: a few of each, for whoever reads it."""
    by_id, wanted = ({event["id"]: event for event in events} for events in (found, expected))
    lacking = [f"missing: {wanted[one]}" for one in wanted.keys() - by_id.keys()]
    besides = [f"besides: {by_id[one]}" for one in by_id.keys() - wanted.keys()]
    fields = [
        f"{one}: {name} is {by_id[one][name]!r}, not {wanted[one][name]!r} in {wanted[one]}"
        for one in by_id.keys() & wanted.keys()
        for name in wanted[one]
        if by_id[one][name] != wanted[one][name]
    ]
    return [*lacking[:3], *besides[:3], *fields[:3]]


def history_of(settings: Settings, later_ms: int = 0) -> History:
    """What lies in the topics, with the brokers' log times; its end is ``later_ms`` after the last record."""
    states, beats, controls = (
        topic_records(settings, topic) for topic in (FLOW_RUN_STATE, AGENT_HEARTBEAT, AUTOMATIONS)
    )
    return history_from(states, beats, controls, later_ms)


def history_from(states: list[Read], beats: list[Read], controls: list[Read], later_ms: int = 0) -> History:
    """The history that these records are; its end is ``later_ms`` after the last of them."""
    control = [
        Control(one.time_ms, (one.key or b"").decode(), json.loads(one.value) if one.value else None)
        for one in controls
    ]
    last_ms = max([*(one.time_ms for one in (*states, *beats)), *(one.log_ms for one in control)])
    return History(
        control,
        _by_partition(states, CODEC.decode_state),
        _by_partition(beats, CODEC.decode_heartbeat),
        last_ms + later_ms,
    )


def _by_partition(records: list[Read], decode: Callable[[bytes | None], Any]) -> dict[int, list[Appended]]:
    found: dict[int, list[Appended]] = {}
    for record in records:
        value = decode(record.value)
        if not isinstance(value, Rejected):
            found.setdefault(record.partition, []).append(Appended(record.time_ms, value._asdict()))
    return found


_OTHERS = re.compile(r"(t|consumer-|actions-)[0-9a-f]{10}(-|$)")
"""How topics and groups of tests begin."""


def traces(settings: Settings) -> tuple[set[str], dict[str, dict[int, tuple[int, int]]]]:
    """What a command could leave on the cluster: groups, and topics with their ends; nothing of other tests."""
    client = admin(settings)
    own = (settings.topic_prefix, settings.consumer_group, settings.actions_group)

    def concerns(name: str) -> bool:
        return name.startswith(own) or not _OTHERS.match(name)

    groups = {group.group_id for group in client.list_consumer_groups().result(10).valid}
    # Kafka's own topics take what other tests commit.
    topics = {name for name in client.list_topics(timeout=10).topics if not name.startswith("__")}
    return set(filter(concerns, groups)), {name: watermarks(settings, name) for name in filter(concerns, topics)}
