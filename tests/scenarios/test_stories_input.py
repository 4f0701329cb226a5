"""Inputs: what users may rely on when records are broken, misplaced, or ahead of what is known."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from consumer.app import ConsumerApp, Options
from schemas.codec import Codec, RegistryUnavailable, Rejected
from schemas.records import AgentHeartbeat, FlowRunState
from streams.partition import Output
from streams.testing import Driver
from tests.scenarios.world import CODEC, Play, World, seconds
from topology.names import AGENT_HEARTBEAT, FLOW_RUN_STATE
from topology.partitioner import murmur2_partition

HOUR, DAY = 3_600, 86_400
T0 = 1_000_000

GOOD = FlowRunState("tenant-one", "one", "flow", "etl", "group", "r", "run r", 1, "Running", None, T0, None, None)
BEAT = AgentHeartbeat("tenant-one", "one", "c", "a", "agent a", T0, "ACTIVE")
VALUE = CODEC.encode_state(GOOD)


class Broken(NamedTuple):
    """A record that can't be judged, and the reason that its dead letter gives."""

    reason: str
    value: bytes | None
    key: bytes | None = b"r"


BROKEN = {
    "no value": Broken("null_value", None),
    "empty": Broken("truncated", b""),
    "JSON": Broken("bad_magic", b'{"state": "Failed"}'),
    "Avro without the wire format": Broken("bad_magic", b"\x01" + VALUE[1:]),
    "cut within the schema id": Broken("truncated", VALUE[:3]),
    "only a header": Broken("truncated", VALUE[:5]),
    "cut within its last field": Broken("truncated", VALUE[:-1]),
    "more than its fields": Broken("trailing_bytes", VALUE + b"\0"),
    "an unknown schema": Broken("unknown_schema", b"\0\0\0\0\x63" + VALUE[5:]),
    "a heartbeat": Broken("unknown_schema", CODEC.encode_heartbeat(BEAT)),
    "no UTF-8": Broken("impossible_field", VALUE.replace(b"etl", b"\xff\xfe\xfd")),
    "a negative length": Broken("impossible_field", VALUE[:5] + b"\x01" + VALUE[6:]),
    "a length without end": Broken("impossible_field", VALUE[:5] + b"\xff" * 11),
    "no such branch": Broken("impossible_field", VALUE[:-1] + b"\x06"),
    "version 0": Broken("impossible_field", CODEC.encode_state(GOOD._replace(version=0))),
    "no run": Broken("impossible_field", CODEC.encode_state(GOOD._replace(flow_run_id="")), b""),
    "no tenant": Broken("impossible_field", CODEC.encode_state(GOOD._replace(tenant_id=""))),
    "no state": Broken("impossible_field", CODEC.encode_state(GOOD._replace(state=""))),
    "too long an id": Broken("impossible_field", CODEC.encode_state(GOOD._replace(flow_run_id="r" * 257))),
    "a time before 1970": Broken("impossible_field", CODEC.encode_state(GOOD._replace(timestamp=-1))),
    "a time in microseconds": Broken("impossible_field", CODEC.encode_state(GOOD._replace(timestamp=T0 * 10**9))),
    "more than a MiB": Broken("too_large", CODEC.encode_state(GOOD._replace(state_message="x" * 2**20))),
    "another key": Broken("wrong_key", VALUE, b"q"),
    "no key": Broken("wrong_key", VALUE, None),
    "a time long ago": Broken("too_late", CODEC.encode_state(GOOD._replace(timestamp=0))),
}


def letters(driver: Driver) -> list[Output]:
    return [output for output in driver.committed if output.topic == "input-dlq"]


def headers(letter: Output) -> dict[str, str]:
    return {name: value.decode() for name, value in letter.headers or []}


def catalog(driver: Driver) -> list[tuple[str, dict[str, str | None]]]:
    written = [output for output in driver.committed if output.topic == "automation-catalog"]
    return [((o.key or b"").decode(), json.loads(o.value or b"")) for o in written]


def with_failures(world: World | None = None) -> Play:
    """FAIL on state changes, one partition, nothing read yet; the clocks stand a minute after `LATE_MS`."""
    play = Play((world or World(partitions=1)).on_failed(tenant_id="tenant-one"))
    return play.until(T0 / 1000)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_record_is_dead_lettered_with_its_reason_and_the_good_ones_around_it_count(kind: str) -> None:
    reason, value, key = BROKEN[kind]
    play = with_failures().until(3 * DAY) if reason == "too_late" else with_failures()
    driver, now_ms = play.driver, play.driver.clock_ms
    good = GOOD._replace(state="Failed", timestamp=now_ms)
    place = (FLOW_RUN_STATE, 0)
    driver.append(place, b"r", CODEC.encode_state(good))
    driver.append(place, key, value)
    driver.append(place, b"r", CODEC.encode_state(good._replace(version=2)))
    process = play.driver.start()
    driver.clock_ms += 1
    play.work(process)
    assert seconds(play.events) == [now_ms / 1000] * 2
    (letter,) = letters(driver)
    assert (letter.key, letter.value) == (key, value)
    shown = headers(letter)
    assert shown.pop("detail")
    assert shown == {
        "reason": reason, "origin-topic": FLOW_RUN_STATE, "origin-partition": "0", "origin-offset": "1",
    }  # fmt: skip
    assert process.partitions[place].logic.counts.rejected == {reason: 1}  # type: ignore[attr-defined]


def test_a_record_in_a_partition_that_javas_partitioner_would_not_choose_is_dead_lettered() -> None:
    play = with_failures(World(partitions=2))
    right = murmur2_partition(b"r", 2)
    for partition in (right, 1 - right):
        value = CODEC.encode_state(GOOD._replace(state="Failed", version=1 + partition))
        play.driver.append((FLOW_RUN_STATE, partition), b"r", value)
    play.until(T0 / 1000 + 1).work(play.driver.start())
    assert len(play.events) == 1
    (letter,) = letters(play.driver)
    assert headers(letter)["reason"] == "wrong_partition"
    assert headers(letter)["origin-partition"] == str(1 - right)


@pytest.mark.parametrize(
    ("reason", "beat", "key"),
    [
        ("impossible_field", BEAT._replace(status="ASLEEP"), b"c"),
        ("impossible_field", BEAT._replace(agent_id=""), b"c"),
        ("wrong_key", BEAT, b"a"),
    ],
)
def test_a_broken_heartbeat_revives_nobody(reason: str, beat: AgentHeartbeat, key: bytes) -> None:
    play = Play(World(partitions=1).agents()).until(290)
    play.driver.append(
        (AGENT_HEARTBEAT, 0), key, CODEC.encode_heartbeat(beat._replace(tenant_id="t", timestamp=290_000))
    )
    play.until(400).work(play.driver.start())
    assert seconds(play.events) == [300]
    assert [headers(letter)["reason"] for letter in letters(play.driver)] == [reason]


def test_the_origin_topic_carries_the_prefix_that_the_brokers_know() -> None:
    driver = Driver(lambda: ConsumerApp(Options(topic_prefix="prod-")), {FLOW_RUN_STATE: 1})
    driver.append((FLOW_RUN_STATE, 0), b"r", b"?")
    process = driver.start()
    driver.clock_ms = 10
    process.poll()
    process.commit()
    assert headers(letters(driver)[0])["origin-topic"] == "prod-flow-run-state"


# The catalog


def test_flow_groups_are_written_to_the_catalog_when_new_or_changed() -> None:
    play = Play(World(partitions=1).state(10, "Running", 1).state(20, "Failed", 2).state(30, "Running", 1, run="q"))
    play.driver.append((FLOW_RUN_STATE, 0), b"q", b"")
    renamed = GOOD._replace(tenant_id="t", flow_group_id="g", flow_name="etl two", timestamp=40_000)
    play.until(40).driver.append((FLOW_RUN_STATE, 0), b"r", CODEC.encode_state(renamed._replace(version=3)))
    play.until(50).work(play.driver.start())
    assert [(key, value["name"]) for key, value in catalog(play.driver)] == [
        ("flow_group:t/g", "etl"), ("flow_group:t/g", "etl two"),
    ]  # fmt: skip
    assert catalog(play.driver)[0][1] == {
        "id": "g", "tenant_id": "t", "tenant_slug": "t-slug", "name": "etl", "flow_id": "flow",
    }  # fmt: skip


def test_agents_are_written_to_the_catalog_on_change_or_at_most_each_30_seconds() -> None:
    world = World(partitions=1)
    for at in (10, 20, 39, 40, 50):
        world.beat(at)
    play = Play(world.beat(60, status="STOPPED").beat(61, "b"))
    play.until(70).work(play.driver.start())
    assert [(key, value["last_heartbeat"], value["status"]) for key, value in catalog(play.driver)] == [
        ("agent:t/c/a", "1970-01-01T00:00:10.000Z", "ACTIVE"),
        ("agent:t/c/a", "1970-01-01T00:00:40.000Z", "ACTIVE"),
        ("agent:t/c/a", "1970-01-01T00:01:00.000Z", "STOPPED"),
        ("agent:t/c/b", "1970-01-01T00:01:01.000Z", "ACTIVE"),
    ]


# Progress, and the control topic


def test_a_record_waits_until_the_automations_of_its_log_time_are_known() -> None:
    play = Play(World(partitions=1).on_failed(5).state(10, "Failed", 1)).until(0)
    process = play.driver.start()
    play.until(20)
    process.poll(control=0, confirm=True)
    assert play.driver.control.records
    assert process.partitions[FLOW_RUN_STATE, 0].offset == 0
    play.work(process)
    assert seconds(play.events) == [10]


def test_progress_never_passes_that_of_the_control_topic() -> None:
    play = Play(World(partitions=1).sla("NF").state(100, "Running", 1)).until(0)
    process = play.driver.start()
    partition = process.partitions[FLOW_RUN_STATE, 0]
    play.until(101).work(process)
    play.driver.clock_ms = 300_000
    play.driver.append_control(b"automation:NF", b"null")
    process.poll(control=0)
    assert partition.progress_ms == 101_000
    assert play.events == []


def test_without_an_answer_from_the_brokers_progress_stands_still() -> None:
    play = Play(World(partitions=1).sla("NF").state(100, "Running", 1)).until(0)
    process = play.driver.start()
    play.until(101).work(process)
    play.until(400)
    process.poll(confirm=False)
    process.commit()
    assert (process.partitions[FLOW_RUN_STATE, 0].progress_ms, play.events) == (101_000, [])
    assert seconds(play.work(process).events) == [160]


def test_progress_is_the_last_record_read_while_some_remain_unread() -> None:
    world = World(partitions=1).sla("NF").state(100, "Running", 1).state(120, "Running", 1, run="q")
    play = Play(world.state(130, "Success", 2)).until(0)
    process = play.driver.start()
    play.until(9_999)
    process.poll(records=1)
    assert process.partitions[FLOW_RUN_STATE, 0].progress_ms == 100_000
    process.poll(records=1)
    assert process.partitions[FLOW_RUN_STATE, 0].progress_ms == 120_000
    play.work(process)
    assert process.partitions[FLOW_RUN_STATE, 0].progress_ms == 9_999_000
    assert [(event["flow_run_id"], event["timestamp"]) for event in play.events] == [("q", 180_000)]


def test_an_idle_partition_still_fires_and_a_busy_one_does_not_hurry_it() -> None:
    world = World(partitions=2).sla("NF")
    names = {murmur2_partition(name.encode(), 2): name for name in "abcdefgh"}
    world.state(100, "Running", 1, run=names[0])
    for n in range(10):
        world.state(100 + n * 10, "Running", n + 1, run=names[1])
    play = Play(world.state(199, "Success", 20, run=names[1])).until(0)
    process = play.driver.start()
    play.until(162).work(process)
    assert play.events == []
    assert {event["flow_run_id"] for event in play.until(162.001).work(process).events} == {names[0], names[1]}


class _Registry(Codec):
    """A codec whose registry can't be reached for a while."""

    down = True

    def decode_state(self, value: bytes | None) -> FlowRunState | Rejected:
        if self.down:
            raise RegistryUnavailable("no answer")
        return super().decode_state(value)


def test_an_unreachable_registry_holds_a_partition_and_loses_and_doubles_nothing() -> None:
    codec = _Registry()
    driver = Driver(lambda: ConsumerApp(Options(), codec, has_registry=True), {FLOW_RUN_STATE: 1})
    play = Play(World(partitions=1).on_failed().state(10, "Failed", 1).state(11, "Failed", 2))
    play.driver = driver
    process = driver.start()
    play.until(20)
    with pytest.raises(RegistryUnavailable):
        process.poll()
    process.commit()
    assert driver.logs[FLOW_RUN_STATE, 0].committed == 0
    codec.down = False
    assert seconds(play.work(process).events) == [10, 11]
    assert letters(driver) == []
