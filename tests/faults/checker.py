"""What must be there in the end, held against what is there.

The truth are the inputs as they lie in the log. The oracle, written from the reference alone, says which events
they must give; headers say which records had to be dead-lettered; the runs in the changelogs have to be the runs of
the inputs, and the receivers' logs and the results have to tell of the same deliveries.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.run_state import decode, run_key
from schemas.records import FlowRunState
from streams import clients
from streams.position import POSITION_KEY, Position
from streams.position import decode as decode_position
from streams.topic_reader import Read, ReadTimeout, read_to_end, watermarks
from tests.faults.cluster import GRACE_MS
from tests.faults.load import EXPECT
from tests.kafka.actions_world import Receiver
from tests.kafka.consumer_world import CODEC, decoded, history_from, topic_records
from tests.kafka.delivery_campaign import observed, verdict
from tests.oracle import deliveries
from tests.oracle.oracle import FINISHES, OTHER, Control, History, Json, Rules, all_runs, expected_events
from topology.names import (
    AGENT_HEARTBEAT,
    AUTOMATION_EVENTS,
    AUTOMATIONS,
    FLOW_RUN_STATE,
    INPUT_DLQ,
    INPUTS,
)
from topology.settings import Settings
from topology.topics import changelog_of

RULES = Rules(grace_ms=GRACE_MS)
TAIL = 500
"""Records at a changelog's end among which a position is looked for."""
TRIES = 5
SLACK_MS = 5_000.0
"""The runners' clocks are the brokers' as answers tell them, which may be slow where brokers are frozen."""
MUTE_S = 60.0
"""A runner cut off from Kafka knows that late of an automation that was switched off."""


class Violation(NamedTuple):
    """A promise that was broken, and what was seen."""

    check: str
    detail: str


class Truth(NamedTuple):
    """The inputs as they lie in the log, and what they must give."""

    history: History
    events: list[Json]
    dead_letters: dict[tuple[str, int, int], str]
    """Reason, by topic, partition and offset."""
    records: int


def truth(settings: Settings, later_ms: int) -> Truth:
    """Reads the inputs whole; ``later_ms`` after the last record nothing is due any more."""
    states, beats, controls = (
        _again(lambda name=name: topic_records(settings, name))  # type: ignore[misc]
        for name in (FLOW_RUN_STATE, AGENT_HEARTBEAT, AUTOMATIONS)
    )
    good = [one for one in states if EXPECT not in dict(one.headers)]
    topic = settings.topic(FLOW_RUN_STATE)
    bad = {
        (topic, one.partition, one.offset): str((dict(one.headers)[EXPECT] or b"").decode())
        for one in states
        if EXPECT in dict(one.headers)
    }
    history = history_from(good, beats, controls, later_ms)
    return Truth(history, expected_events(history, RULES), bad, len(states) + len(beats))


def _again(read: Callable[[], list[Read]]) -> list[Read]:
    """Reads a topic, again where a broker has only just come back."""
    for _ in range(TRIES - 1):
        try:
            return read()
        except (ReadTimeout, KafkaException):
            time.sleep(2)
    return read()


def check_events(settings: Settings, known: Truth) -> tuple[list[Violation], Counter[str]]:
    """Each event once, each as it must be, and no other; with counts for the report."""
    records = _again(lambda: topic_records(settings, AUTOMATION_EVENTS))
    found: dict[str, list[Json]] = defaultdict(list)
    violations = []
    for record in records:
        event = decoded(record.value)
        fields = event._asdict()
        detected_ms = fields.pop("detected_at")
        fields["actions"] = json.loads(event.actions)
        found[event.id].append(fields)
        if event.event_name != "FlowRunStateChangedEvent" and detected_ms <= event.timestamp:
            violations.append(Violation("early", f"detected at {detected_ms}: {fields}"))
    expected: dict[str, list[Json]] = defaultdict(list)
    for fields in known.events:
        expected[fields["id"]].append(fields)
    counts = Counter(found=len(records), expected=len(known.events))
    for event_id in sorted(found.keys() | expected.keys()):
        there, wanted = found.get(event_id, []), expected.get(event_id, [])
        if len(there) > len(wanted):
            kind = "doubled" if wanted else "false"
            violations += [Violation(kind, f"{len(there)} times, expected {len(wanted)}: {there[-1]}")]
        elif len(there) < len(wanted):
            violations.append(Violation("missed", f"{len(there)} times, expected {len(wanted)}: {wanted[-1]}"))
        else:
            violations += _differences(there, wanted)
    return violations, counts


def _differences(there: list[Json], wanted: list[Json]) -> Iterator[Violation]:
    for one, other in zip(there, wanted, strict=True):
        apart = [f"{name} is {one[name]!r}, not {other[name]!r}" for name in other if one[name] != other[name]]
        if apart:
            yield Violation("different", f"{'; '.join(apart)} in {other}")


def check_dead_letters(settings: Settings, known: Truth) -> list[Violation]:
    """Each record that is none, once, with its reason, as it was; and no other."""
    found: dict[tuple[str, int, int], list[str]] = defaultdict(list)
    for record in _again(lambda: topic_records(settings, INPUT_DLQ)):
        headers = {name: (value or b"").decode() for name, value in record.headers}
        place = headers["origin-topic"], int(headers["origin-partition"]), int(headers["origin-offset"])
        found[place].append(headers["reason"])
    return [
        Violation("dead letter", f"{place}: {found.get(place, [])}, expected {known.dead_letters.get(place)}")
        for place in sorted(found.keys() | known.dead_letters.keys())
        if found.get(place) != [known.dead_letters.get(place)]
    ]


def check_state(settings: Settings, known: Truth) -> list[Violation]:
    """The runs in the changelog are those of the inputs, each as its versions and what has fired make it."""
    changelog = changelog_of(settings, FLOW_RUN_STATE)
    kept: dict[bytes, bytes | None] = {}
    for record in _again(lambda: read_to_end(settings, changelog)):
        if record.key not in (None, POSITION_KEY):
            kept[record.key or b""] = record.value
    fired = Counter((event["tenant_id"], event["flow_run_id"]) for event in known.events if event["kind"])
    violations, wanted = [], set()
    for lives in all_runs(known.history, RULES):
        top = max(lives[-1], key=lambda record: record.version).value
        tenant, run_id = top["tenant_id"], top["flow_run_id"]
        key = run_key(tenant, run_id)
        wanted.add(key)
        value = kept.get(key)
        if value is None:
            violations.append(Violation("state", f"run {run_id} of {tenant} is not in the changelog"))
            continue
        run = decode(value)
        body = CODEC.decode_state(run.body)
        judged = [record for record in lives[-1] if record.role != OTHER]
        finished = bool(judged) and max(judged, key=lambda record: record.version).role == FINISHES
        versions = sorted([entry.version for entry in run.entries] + [other.version for other in run.others])
        there = versions, run.finished, len(run.fired), body.state if isinstance(body, FlowRunState) else body
        due = (
            sorted(record.version for record in lives[-1]), finished, fired[tenant, run_id], top["state"],
        )  # fmt: skip
        if there != due:
            violations.append(Violation("state", f"run {run_id} of {tenant} is {there}, expected {due}"))
    besides = [key for key, value in kept.items() if value is not None and key not in wanted]
    return violations + [Violation("state", f"{key!r} is in the changelog, no such run was sent") for key in besides]


def check_positions(settings: Settings) -> list[Violation]:
    """State, committed offsets and the inputs' ends belong together."""
    violations = []
    committed = _committed(settings)
    for place, position in positions(settings).items():
        high = watermarks(settings, place[0])[place[1]][1]
        there = position.offset if position is not None else None
        if not there == committed.get(place) == high:
            violations.append(
                Violation("position", f"{place}: changelog {there}, committed {committed.get(place)}, end {high}")
            )
    return violations


def _committed(settings: Settings) -> dict[tuple[str, int], int]:
    consumer = Consumer({**clients.table_reader(settings), "group.id": settings.consumer_group})
    asked = [TopicPartition(*place) for place in _places(settings)]
    try:
        return {(one.topic, one.partition): one.offset for one in consumer.committed(asked, 30)}
    finally:
        consumer.close()


def _places(settings: Settings) -> list[tuple[str, int]]:
    return [(settings.topic(name), n) for name in INPUTS for n in range(settings.partitions_of(name))]


def positions(settings: Settings) -> dict[tuple[str, int], Position | None]:
    """The last committed position of each input partition, from the ends of the changelogs."""
    found: dict[tuple[str, int], Position | None] = {}
    consumer = Consumer({**clients.table_reader(settings), "isolation.level": "read_committed"})
    try:
        for name in INPUTS:
            changelog = changelog_of(settings, name)
            for number, (low, high) in watermarks(settings, changelog).items():
                found[settings.topic(name), number] = _last_position(consumer, changelog, number, low, high)
    finally:
        consumer.close()
    return found


def _last_position(consumer: Consumer, topic: str, number: int, low: int, high: int) -> Position | None:
    """Looks among the last records; None where none lies there, or reading takes too long."""
    found = None
    consumer.assign([TopicPartition(topic, number, max(low, high - TAIL))])
    gives_up_s = time.monotonic() + 10
    while time.monotonic() < gives_up_s:
        for message in consumer.consume(TAIL, 0.2):
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                return found
            value = message.value()
            if error is None and message.key() == POSITION_KEY and isinstance(value, bytes):
                found = decode_position(value)
    return None


def check_deliveries(
    settings: Settings, receivers: Sequence[Receiver], kills: Sequence[deliveries.Kill], known: Truth
) -> tuple[list[Violation], dict[str, object]]:
    """What the oracle of deliveries says of all that was observed, and its counts."""
    world = observed(settings, receivers, kills, disabled(known.history.control))
    violations, counts = verdict(world, MUTE_S, SLACK_MS)
    return [Violation(f"delivery: {one.name}", f"{one.delivery_id}: {one.detail}") for one in violations], counts


def disabled(control: list[Control]) -> list[deliveries.Disabled]:
    """When each automation was switched off or deleted, and on again."""
    spans, since = [], {}
    for record in control:
        kind, _, automation_id = record.key.partition(":")
        if kind != "automation":
            continue
        off = record.value is None or not record.value.get("enabled")
        if off and automation_id not in since:
            since[automation_id] = record.log_ms
        elif not off and automation_id in since:
            spans.append(deliveries.Disabled(automation_id, since.pop(automation_id), record.log_ms))
    return [*spans, *(deliveries.Disabled(automation_id, at_ms) for automation_id, at_ms in since.items())]
