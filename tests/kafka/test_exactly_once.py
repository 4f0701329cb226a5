"""Each event once, whatever happens to the processes: a whole fleet of runs, held against the oracle."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cli.backtest_live import prove
from consumer.agreement import Verdict
from schemas.records import AgentHeartbeat, FlowRunState
from tests.kafka.consumer_process import GRACE_MS, Fleet, consumers, until
from tests.kafka.consumer_world import (
    CODEC,
    ControlEntry,
    comparable,
    differences,
    events_on,
    history_of,
    make_topics,
    now_ms,
    producer,
    put_control,
    reading_events,
)
from tests.kafka.fleet_of_runs import GROUPS, TENANTS, control, life
from tests.oracle.oracle import Rules, expected_events
from topology.kafka_tools import CONSOLE_CONSUMER, run_tool
from topology.names import AGENT_HEARTBEAT, AUTOMATION_EVENTS, FLOW_RUN_STATE
from topology.settings import Settings

pytestmark = pytest.mark.kafka

RUNS = 20_000
SPREAD_S = 22.0
"""Over how long the runs begin."""
LONGEST_MS = 13_000
"""From the last record to the last deadline, grace included, with room."""


class Planned(NamedTuple):
    """A record to send ``at_s`` after the beginning."""

    at_s: float
    topic: str
    key: bytes
    value: bytes


def planned(random_: random.Random, zero_ms: int) -> Iterator[Planned]:
    """All states and heartbeats of the fleet, whose clock begins at ``zero_ms``."""
    for number in range(RUNS):
        run_id, tenant, group = f"run-{number:05}", random_.choice(TENANTS), random_.choice(GROUPS)
        begins_s = random_.uniform(0, SPREAD_S)
        skew_ms = random_.choice([0] * 18 + [-700, 40_000])
        ahead_ms = random_.choice([None, 0, 0, 0, 2_000])
        for at_s, name, version in life(random_, begins_s):
            scheduled = None if ahead_ms is None else zero_ms + round(begins_s * 1000) + ahead_ms
            value = FlowRunState(
                tenant, f"{tenant}-slug", f"flow-of-{group}", f"etl {group}", group, run_id, f"name {run_id}",
                version, name, f"it is {name}", zero_ms + round(at_s * 1000) + skew_ms,
                scheduled if version <= 2 else None,
            )  # fmt: skip
            yield Planned(at_s, FLOW_RUN_STATE, run_id.encode(), CODEC.encode_state(value))
    for tenant in TENANTS:
        for pool in range(2):
            for agent in range(3):
                yield from heartbeats(random_, zero_ms, tenant, f"{tenant}-pool-{pool}", f"agent-{agent}")


def heartbeats(random_: random.Random, zero_ms: int, tenant: str, config: str, agent: str) -> Iterator[Planned]:
    """An agent that beats twice a second, is away once for a while, and stops for good at some time."""
    away_s, back_s, gone_s = random_.uniform(3, 8), random_.uniform(8, 16), random_.uniform(17, 25)
    at_s = random_.uniform(0, 0.5)
    while at_s < gone_s + 0.5:
        if not away_s < at_s < back_s:
            last = at_s > gone_s and agent == "agent-0"
            beat = AgentHeartbeat(
                tenant, f"{tenant}-slug", config, agent, None, zero_ms + round(at_s * 1000),
                "STOPPED" if last else "ACTIVE",
            )  # fmt: skip
            yield Planned(at_s, AGENT_HEARTBEAT, config.encode(), CODEC.encode_heartbeat(beat))
        at_s += 0.5


def send_as_it_happens(settings: Settings, fleet: Fleet, random_: random.Random, entries: list[ControlEntry]) -> int:
    """Sends everything at its time; meanwhile one consumer is killed, automations change, and one is added.

    Returns how many records there were.
    """
    zero_ms = now_ms() + 6_000
    plan = sorted(planned(random_, zero_ms))
    until(lambda: now_ms() >= zero_ms, 30, "the beginning")
    sender = producer(settings, **{"linger.ms": 20})
    turns: list[tuple[float, Callable[[], object]]] = [
        (SPREAD_S * 0.35, fleet.processes[0].kill),
        (SPREAD_S * 0.5, lambda: change_automations(settings, entries)),
        (SPREAD_S * 0.6, fleet.start),
    ]
    names = {name: settings.topic(name) for name in (FLOW_RUN_STATE, AGENT_HEARTBEAT)}
    for number, one in enumerate(plan):
        if number % 100 == 0:
            ahead_s = one.at_s - (now_ms() - zero_ms) / 1000
            if ahead_s > 0:
                time.sleep(ahead_s)
        if turns and one.at_s >= turns[0][0]:
            turns.pop(0)[1]()
        sender.produce(names[one.topic], one.value, one.key)
        sender.poll(0)
    assert sender.flush(30) == 0
    assert not turns
    return len(plan)


def change_automations(settings: Settings, entries: list[ControlEntry]) -> None:
    """Renames one automation, disables another, deletes a third and gives a fourth's config more time."""
    values = dict(entries)
    renamed, disabled = values["automation:tenant-0-0"], values["automation:tenant-1-3"]
    config = values["flow_sla_config:tenant-3-4-sla"]
    assert renamed is not None
    assert disabled is not None
    assert config is not None
    put_control(
        settings,
        [
            ("automation:tenant-0-0", {**renamed, "name": "another name"}),
            ("automation:tenant-1-3", {**disabled, "enabled": False}),
            ("automation:tenant-2-3", None),
            ("flow_sla_config:tenant-3-4-sla", {**config, "duration_seconds": config["duration_seconds"] + 2}),
        ],
    )


@pytest.mark.timeout(300)
def test_twenty_thousand_runs_give_each_event_once_though_consumers_are_killed_and_added(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two consumers share four partitions, one dies by SIGKILL, one joins: the events are the oracle's."""
    random_ = random.Random(20_260_101)
    settings = settings.model_copy(
        update={"partitions": {**settings.partitions, FLOW_RUN_STATE: 4, AUTOMATION_EVENTS: 2}}
    )
    make_topics(settings)
    entries = control(random_)
    assert sum(key.startswith("automation:") for key, _ in entries) == 200
    put_control(settings, entries)
    with consumers(settings, tmp_path) as fleet, reading_events(settings) as reader:
        for process in [fleet.start(), fleet.start()]:
            process.ready()
        sent = send_as_it_happens(settings, fleet, random_, entries)
        sent_s = time.monotonic()
        history = history_of(settings, LONGEST_MS)
        expected = expected_events(history, Rules(grace_ms=GRACE_MS))
        until(lambda: len(reader.values) >= len(expected), 60, f"{len(expected)} events")
        settled_s = time.monotonic() - sent_s
        # Whatever else may come comes before progress has passed the last deadline.
        until(lambda: now_ms() > history.end_ms, 60, "the last deadline has passed")
        restarts = [process.logged("starting over with new clients") for process in fleet.processes[1:]]
        ends = [process.terminate() for process in fleet.processes[1:]]
    found = comparable(events_on(settings))

    assert [code for code, _ in ends] == [0, 0]
    assert max(seconds for _, seconds in ends) < 10
    assert len(found) == len({event["id"] for event in found}), "an event is there twice"
    apart = differences(found, expected)
    assert not apart, "\n".join(apart)
    assert found == expected
    assert Counter(event["event_name"] for event in found).keys() == {
        "FlowRunStateChangedEvent", "FlowSLAFailedEvent", "AgentSLAFailedEvent"
    }  # fmt: skip
    with capsys.disabled():
        kinds = dict(Counter(event["kind"] or event["event_name"] for event in found))
        print(f"\n{sent} records, {len(found)} events: {kinds}")
        print(f"all there {settled_s:.1f} s after the last record; clients made anew: {restarts}")
    assert seen_by_java(settings) == len(expected)
    # What anybody can ask for, with no oracle at hand.
    proof = prove(settings.model_copy(update={"grace_ms": GRACE_MS}))
    assert proof.verdict == Verdict(agree=len(expected), ahead=0, unproven=0, counts={}, differences=[])
    assert proof.behind == 0
    with capsys.disabled():
        print(f"proved by a replay of {proof.records} records in {proof.seconds:.1f} s")


def seen_by_java(settings: Settings) -> int:
    """How many events Kafka's own console consumer reads, committed ones only."""
    said = run_tool(
        CONSOLE_CONSUMER,
        [
            "--bootstrap-server", settings.bootstrap_servers,
            "--topic", settings.topic(AUTOMATION_EVENTS),
            "--from-beginning",
            "--isolation-level", "read_committed",
            "--timeout-ms", "4000",
            "--property", "print.key=true",
            "--property", "print.value=false",
        ],
    )  # fmt: skip
    return len(said.splitlines())
