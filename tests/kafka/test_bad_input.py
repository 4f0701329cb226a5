"""Broken records among good ones: each is put aside with its reason or skipped, and the good ones are judged."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined] # its typing leaves out what it re-exports
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from schemas.records import AgentHeartbeat
from tests.kafka.consumer_process import consumers, until
from tests.kafka.consumer_world import (
    CODEC,
    DeadLetter,
    automation,
    dead_letters,
    events_on,
    make_topics,
    now_ms,
    on_states,
    put,
    put_at,
    put_control,
    put_heartbeats,
    put_states,
    reading_events,
    sla,
    state,
)
from topology.kafka_config import admin
from topology.names import AGENT_HEARTBEAT, AUTOMATIONS, FLOW_RUN_STATE
from topology.partitioner import murmur2_partition
from topology.settings import Settings

pytestmark = pytest.mark.kafka

HEADER = b"\0\0\0\0\1"
HOUR_MS = 3_600_000
MEBIBYTE = 1024 * 1024


class Broken(NamedTuple):
    """A record that can't be judged, and why; ``elsewhere`` puts it in the other partition."""

    reason: str
    key: bytes | None
    value: bytes | None
    elsewhere: bool = False


def failed(run: str = "broken", **fields: Any) -> bytes:
    """The bytes of a state that the automation would fire for if it were right."""
    return CODEC.encode_state(state(run, 1, "Failed", **fields))


def broken_states() -> list[Broken]:
    """Every kind of record that flow-run-state might bring by mistake."""
    good, key = failed(), b"broken"
    beat = AgentHeartbeat("t", "t-slug", "c", "a", None, now_ms(), "ACTIVE")
    # The union of the first nullable field after the state has no third branch.
    no_branch = failed(state_message="a secret")
    no_branch = no_branch.replace(b"\x02\x10a secret", b"\x04\x10a secret")
    return [
        Broken("null_value", key, None),
        Broken("truncated", key, b""),
        Broken("truncated", key, b"\0\0\0"),
        Broken("truncated", key, HEADER),
        Broken("truncated", key, good[: len(good) // 2]),
        Broken("truncated", key, good[:-1]),
        Broken("bad_magic", key, json.dumps(state("broken", 1, "Failed")._asdict()).encode()),
        Broken("bad_magic", key, b"\1" + good[1:]),
        Broken("unknown_schema", key, b"\0\0\0\0\x63" + good[5:]),
        Broken("unknown_schema", key, CODEC.encode_heartbeat(beat)),
        Broken("trailing_bytes", key, good + b"\0"),
        Broken("impossible_field", key, HEADER + b"\xff" * 11),
        Broken("impossible_field", key, HEADER + b"\x01"),
        Broken("impossible_field", key, good.replace(b"\x06etl", b"\x06\xff\xfe\xfd")),
        Broken("impossible_field", key, no_branch),
        Broken("impossible_field", key, CODEC.encode_state(state("broken", 0, "Failed"))),
        Broken("impossible_field", key, CODEC.encode_state(state("broken", 1, ""))),
        Broken("impossible_field", b"", failed("")),
        Broken("impossible_field", b"x" * 257, failed("x" * 257)),
        Broken("impossible_field", key, failed(tenant_id="")),
        Broken("impossible_field", key, failed(timestamp=-1)),
        Broken("impossible_field", key, failed(timestamp=253_402_300_800_000)),
        Broken("impossible_field", key, failed(scheduled_start_time=-1)),
        Broken("too_large", key, failed(state_message="x" * MEBIBYTE)),
        Broken("too_large", key, b"\0" * (MEBIBYTE + 1)),
        Broken("too_large", key, failed(state_message="y" * 3 * MEBIBYTE)),
        Broken("wrong_key", None, good),
        Broken("wrong_key", b"another", good),
        Broken("wrong_key", b"\xff\xfe", good),
        Broken("wrong_key", b"k" * 3_000, good),
        Broken("wrong_partition", key, good, elsewhere=True),
        Broken("too_late", key, failed(timestamp=now_ms() - 49 * HOUR_MS)),
    ]


def broken_heartbeats() -> list[Broken]:
    """The same for agent-heartbeat, in short."""
    beat = AgentHeartbeat("t", "t-slug", "pool", "a", None, now_ms(), "ACTIVE")
    good, key = CODEC.encode_heartbeat(beat), b"pool"
    return [
        Broken("null_value", key, None),
        Broken("bad_magic", key, b"alive"),
        Broken("truncated", key, good[:-2]),
        Broken("trailing_bytes", key, good + b"!"),
        Broken("unknown_schema", key, failed()),
        Broken("impossible_field", key, CODEC.encode_heartbeat(beat._replace(status="SLEEPING"))),
        Broken("impossible_field", key, CODEC.encode_heartbeat(beat._replace(agent_id=""))),
        Broken("wrong_key", b"a", good),
        Broken("too_late", key, CODEC.encode_heartbeat(beat._replace(timestamp=now_ms() - 49 * HOUR_MS))),
    ]


def test_every_kind_of_broken_record_is_put_aside_with_its_reason_and_the_others_are_judged(
    settings: Settings, tmp_path: Path
) -> None:
    """Between the good records of two partitions lie forty-one broken ones; key and bytes are kept as they were."""
    make_topics(settings)
    take_large_records(settings)
    put_control(settings, [on_states("failed", "Failed"), *sla("slow", "NF", 1)])
    states, beats = broken_states(), broken_heartbeats()
    home = murmur2_partition(b"broken", 2)
    with consumers(settings, tmp_path) as fleet, reading_events(settings) as reader:
        process = fleet.start().ready()
        lying = {}
        for number, one in enumerate(states):
            put_states(settings, state(f"good-{number}", 1, "Failed"))
            places = put_at(settings, FLOW_RUN_STATE, 1 - home if one.elsewhere else home, (one.key, one.value))
            lying[places[0]] = one
        for one in beats:
            lying[put_at(settings, AGENT_HEARTBEAT, 0, (one.key, one.value))[0]] = one
        put_heartbeats(settings, AgentHeartbeat("t", "t-slug", "pool", "a", None, now_ms(), "ACTIVE"))
        put_states(settings, state("last", 1, "Failed"))
        reader.until(len(states) + 1)
        until(lambda: len(dead_letters(settings)) >= len(lying), 40, "all dead letters are there")
        assert process.running
        until(lambda: process.metric("automations_records_rejected_total") == len(lying), 30, "they are counted")
        assert process.metric("automations_records_rejected_total", reason="wrong_key") == 5
        assert process.terminate()[0] == 0
    found = {letter.origin: letter for letter in dead_letters(settings)}
    assert len(dead_letters(settings)) == len(found) == len(lying)
    for place, one in lying.items():
        hold(found[place], one)
    assert {event.flow_run_id for event in events_on(settings)} == {
        *(f"good-{number}" for number in range(len(states))), "last"
    }  # fmt: skip


def take_large_records(settings: Settings) -> None:
    """Lets the input have records larger than a MiB, as an operator of another mind may."""
    limit = ConfigEntry("max.message.bytes", str(4 * MEBIBYTE), incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, settings.topic(FLOW_RUN_STATE), incremental_configs=[limit])
    client = admin(settings)
    client.incremental_alter_configs([topic])[topic].result(20)


def hold(letter: DeadLetter, one: Broken) -> None:
    """A dead letter is the record as it was, with its reason; its detail says no more than it may."""
    assert letter.headers["reason"] == one.reason, letter.headers
    key, value = one.key or b"", one.value or b""
    if len(key) + len(value) <= MEBIBYTE:
        assert (letter.key or None, letter.value) == (one.key or None, one.value)
    else:
        # It may be larger than any record of the dead letters' topic: a good part of it is there.
        assert value.startswith(letter.value or b"-")
        assert len(letter.value or b"") > min(MEBIBYTE, len(value) - 1)
    assert letter.headers["detail"]
    assert "secret" not in letter.headers["detail"]
    assert set(letter.headers) == {"reason", "detail", "origin-topic", "origin-partition", "origin-offset"}


ControlPair = tuple[bytes | None, bytes | None]


def broken_controls() -> list[ControlPair]:
    """Every kind of control record that nobody can use. Taken for right, some would fire on Crashed.

    One without a key is not among them: the brokers refuse it, since the topic is compacted.
    """

    def crashed(automation_id: str, **fields: Any) -> tuple[bytes, bytes]:
        key, value = on_states(automation_id, "Crashed", **fields)
        return key.encode(), json.dumps(value).encode()

    def changed(automation_id: str, **fields: Any) -> tuple[bytes, bytes]:
        key, value = crashed(automation_id)
        return key, json.dumps({**json.loads(value), **fields}).encode()

    def lacking(automation_id: str, field: str) -> tuple[bytes, bytes]:
        key, value = crashed(automation_id)
        return key, json.dumps({k: v for k, v in json.loads(value).items() if k != field}).encode()

    def config(config_id: str, **fields: Any) -> tuple[bytes, bytes]:
        base = {"id": config_id, "tenant_id": "t", "kind": "STARTED_NOT_FINISHED", "duration_seconds": 1}
        return f"flow_sla_config:{config_id}".encode(), json.dumps({**base, **fields}).encode()

    action = {"tenant_id": "t", "tenant_slug": "t-slug", "name": "n", "config": {}}
    return [
        (b"no-colon", crashed("no-colon")[1]),
        (b"automation:", crashed("no-id")[1]),
        (b"automatic:unknown-kind", crashed("unknown-kind")[1]),
        (b"automation:\xff\xfe", crashed("no-utf8")[1]),
        (b"automation:empty", b""),
        (b"automation:no-json", b"{"),
        (b"automation:no-object", b"[]"),
        (b"automation:null", b"null"),
        (b"automation:bytes", b"\xff\xfe\xfd"),
        (b"automation:not-its-key", crashed("another")[1]),
        lacking("no-tenant", "tenant_id"),
        lacking("no-states", "states"),
        lacking("no-name", "name"),
        crashed("empty-states", states=[]),
        crashed("empty-groups", flow_group_ids=[]),
        crashed("wrong-type", enabled="yes"),
        changed("unknown-event", event_type="FlowRunDeletedEvent"),
        crashed("no-time", created="yesterday"),
        (b"automation:deep", b"[" * 100_000),
        config("zero", duration_seconds=0),
        config("fraction", duration_seconds=1.5),
        config("unknown-sla", kind="FINISHED_NOT_STARTED"),
        (b"action:unknown-type", json.dumps({"id": "unknown-type", "action_type": "Fax", **action}).encode()),
        (b"action:no-url", json.dumps({"id": "no-url", "action_type": "WebhookAction", **action}).encode()),
    ]


def dangling_controls() -> list[tuple[str, Any]]:
    """Records that are right in themselves, but refer to what isn't there or belongs to another tenant."""
    stranger: dict[str, Any] = {"tenant_id": "u", "tenant_slug": "u-slug"}
    theirs, _ = sla("theirs", "NF", 1, **stranger)
    return [
        automation("dangling", "FlowSLAFailedEvent", flow_sla_config_id="nowhere"),
        automation("no-pool", "AgentSLAFailedEvent", agent_config_id="nowhere", unhealthy_after_seconds=1),
        theirs,
        automation("thief", "FlowSLAFailedEvent", flow_sla_config_id="theirs-sla"),
    ]


def test_control_records_that_nobody_can_use_are_skipped_and_the_others_are_in_force(
    settings: Settings, tmp_path: Path
) -> None:
    """None stops the process or fires; each is counted and logged with its problem; the rest works."""
    make_topics(settings)
    broken = broken_controls()
    put_control(settings, [on_states("before", "Failed"), on_states("kept", "Failed")])
    # An unreadable new version of an automation leaves the one before it in force.
    for pair in [*broken, (b"automation:kept", b"nonsense")]:
        put(settings, AUTOMATIONS, pair)
    put_control(settings, [*dangling_controls(), on_states("after", "Failed"), *sla("slow", "NF", 1)])
    with consumers(settings, tmp_path) as fleet, reading_events(settings) as reader:
        process = fleet.start().ready()
        put_states(settings, state("a", 1, "Crashed"), state("b", 1, "Failed"), state("c", 1, "Running"))
        reader.until(4)
        expected = len(broken) + 1
        until(lambda: process.metric("automations_invalid_control_records") == expected, 30, "they are counted")
        # What was skipped may be put right at any time.
        put_control(settings, [on_states("no-json", "Crashed"), ("automation:kept", None)])
        until(lambda: process.metric("automations_invalid_control_records") == expected - 2, 30, "it is right now")
        put_states(settings, state("d", 1, "Crashed"), state("e", 1, "Failed"))
        reader.until(7)
        skipped = [line for line in process.lines() if line["event"] == "control record skipped"]
        assert process.terminate()[0] == 0
    assert len({line["key"] for line in skipped}) == len(skipped) == expected
    assert all(line["problem"] for line in skipped)
    assert sorted((event.automation_id, event.flow_run_id) for event in events_on(settings)) == [
        ("after", "b"), ("after", "e"), ("before", "b"), ("before", "e"), ("kept", "b"), ("no-json", "d"),
        ("slow", "c"),
    ]  # fmt: skip
