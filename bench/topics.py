"""The workload's topics: made, filled, and read back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from confluent_kafka import Producer, TopicPartition

from bench.expected import Record
from schemas.codec import Codec
from schemas.control import ControlRecord
from schemas.records import AutomationEvent, FlowRunState
from streams.control_plan import ControlTable, Plan, Refusal, plan
from streams.control_writer import write_control
from streams.topic_reader import read_to_end, watermarks
from topology.kafka_config import client_config
from topology.names import AUTOMATION_EVENTS, FLOW_RUN_STATE
from topology.partitioner import LIBRDKAFKA_PARTITIONERS
from topology.settings import Settings


def write_automations(settings: Settings, records: list[ControlRecord]) -> None:
    """Writes the control records as the tools do."""

    def decide(table: ControlTable, now: datetime) -> Plan:
        return plan(table.records, records, now=now)

    decided, _ = write_control(settings, decide)
    if isinstance(decided, Refusal):
        raise SystemExit("the workload's automations are refused: " + "; ".join(decided.problems))


def fill(settings: Settings, states: Iterable[FlowRunState]) -> int:
    """Appends the states, keyed and placed as a backend's producer does; how many there are."""
    encode = Codec().encode_state
    # Encoded before the first is sent: all are appended within seconds, so no deadline passes on the way.
    values = [(state.flow_run_id.encode(), encode(state)) for state in states]
    producer = Producer(
        {
            **client_config(settings),
            "enable.idempotence": True,
            "linger.ms": 50,
            "compression.type": "lz4",
            "partitioner": LIBRDKAFKA_PARTITIONERS[settings.partitioner],
        }
    )
    topic = settings.topic(FLOW_RUN_STATE)
    for number, (key, value) in enumerate(values):
        while True:
            try:
                producer.produce(topic, value, key)
                break
            except BufferError:
                producer.poll(0.05)
        if number % 10_000 == 0:
            producer.poll(0)
    if producer.flush(60):
        raise SystemExit("Kafka did not take the workload within a minute")
    return len(values)


def read_back(settings: Settings) -> list[list[Record]]:
    """The states in the topic, by partition."""
    partitions: dict[int, list[Record]] = {}
    for read in read_to_end(settings, settings.topic(FLOW_RUN_STATE)):
        partitions.setdefault(read.partition, []).append(Record(read.time_ms, read.value or b""))
    return list(partitions.values())


def event_ends(settings: Settings) -> dict[int, int]:
    """Where each partition of the event topic ends now."""
    return {p: end for p, (_, end) in watermarks(settings, settings.topic(AUTOMATION_EVENTS)).items()}


def event_ids(settings: Settings, since: dict[int, int]) -> list[str]:
    """Ids of the events committed from ``since`` on."""
    decode, found = Codec().decode_event, []
    for read in read_to_end(settings, settings.topic(AUTOMATION_EVENTS)):
        if read.offset >= since.get(read.partition, 0):
            event = decode(read.value)
            assert isinstance(event, AutomationEvent), event
            found.append(event.id)
    return found


def assignment(settings: Settings) -> dict[TopicPartition, int]:
    """Each partition of the input with its end."""
    topic = settings.topic(FLOW_RUN_STATE)
    return {TopicPartition(topic, p, begin): end for p, (begin, end) in watermarks(settings, topic).items()}
