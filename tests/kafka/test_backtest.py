"""What can be relied on of a backtest over real topics: it finds what fired and what did not, and leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.main import run
from schemas.records import FlowRunState
from streams.topic_reader import watermarks
from tests.kafka.consumer_process import GRACE_MS, consumers, until
from tests.kafka.consumer_world import (
    CODEC,
    events_on,
    make_topics,
    now_ms,
    on_states,
    put,
    put_control,
    put_states,
    reading_events,
    sla,
    state,
)
from topology.kafka_config import admin
from topology.names import AUTOMATION_EVENTS
from topology.settings import Settings
from topology.topics import topics

pytestmark = pytest.mark.kafka


@pytest.fixture
def laid(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose topics are there, in the environment as well, for commands."""
    make_topics(settings)
    for name, value in {
        "BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "TOPIC_PREFIX": settings.topic_prefix,
        "CONSUMER_GROUP": settings.consumer_group,
        "GRACE_MS": str(GRACE_MS),
    }.items():
        monkeypatch.setenv(name, value)
    return settings


def trace(settings: Settings) -> tuple[Any, ...]:
    """Everything that a command could leave on the cluster: ends of topics, groups, topics."""
    client = admin(settings)
    ends = {spec.name: watermarks(settings, spec.name) for spec in topics(settings, 1)}
    groups = {group.group_id for group in client.list_consumer_groups().result(10).valid}
    return ends, groups, set(client.list_topics(timeout=10).topics)


def summary(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])["summary"]
    return found


def test_a_draft_fires_over_the_history_what_it_would_have_and_leaves_no_trace(
    laid: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Known truth: three runs fail, one of another tenant; one of five is stuck for longer than a second."""
    for n in range(3):
        put_states(laid, state(f"r{n}", 1, "Running"), state(f"r{n}", 2, "Failed"))
    put_states(laid, state("other", 1, "Failed", tenant_id="u"), state("stuck", 1, "Running"))
    began_ms = now_ms()
    until(lambda: now_ms() > began_ms + 1_000 + GRACE_MS + 500, 10, "the deadline passes")
    put_states(laid, state("late", 1, "Success"))
    draft = tmp_path / "draft.yaml"
    draft.write_text("""
tenant: {id: t, slug: t-slug}
automations:
  - name: failures
    enabled: false
    when: {event: FlowRunStateChangedEvent, states: [Failed]}
    then: []
  - name: stuck
    when: {event: FlowSLAFailedEvent, kind: STARTED_NOT_FINISHED, duration_seconds: 1}
    then: []
  - name: quiet
    when: {event: FlowRunStateChangedEvent, states: [Crashed]}
    then: []
""")
    before = trace(laid)
    assert run(["backtest", "-f", str(draft), "--since", "1h", "--json"]) == 0
    assert trace(laid) == before
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    fired = sorted((one["automation_name"], one["flow_run_id"]) for one in lines[:-1])
    assert fired == [("failures", "r0"), ("failures", "r1"), ("failures", "r2"), ("stuck", "stuck")]
    found = lines[-1]["summary"]
    assert (found["events"], found["records"], found["rejected"]) == (4, 9, 0)
    assert {one["name"]: one["events"] for one in found["automations"]} == {"failures": 3, "stuck": 1, "quiet": 0}
    assert run(["backtest", "-f", str(draft)]) == 0
    shown = capsys.readouterr().out
    assert "entered-Failed failures etl/run r1 (r1)" in shown
    assert "9 records in" in shown


def test_what_was_live_through_a_crash_agrees_and_anything_else_on_the_topic_is_told(
    laid: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_control(laid, [on_states("FAIL", "Failed"), *sla("NF", "NF", 1)])
    with consumers(laid, tmp_path) as fleet, reading_events(laid) as reader:
        first = fleet.start().ready()
        states: list[FlowRunState] = []
        for part in range(4):
            for n in range(10 * part, 10 * part + 10):
                ends = "Failed" if n % 2 else "Success"
                states += [state(f"r{n}", 1, "Running"), state(f"r{n}", 2, ends), state(f"s{n}", 1, "Running")]
            put_states(laid, *states)
            states.clear()
            if part == 1:
                first.kill()
                fleet.start()
        reader.until(60)
        fleet.processes[-1].terminate()
    before = trace(laid)
    assert run(["backtest", "--live", "--json"]) == 0
    assert trace(laid) == before
    found = summary(capsys)
    assert (found["agree"], found["counts"], found["agrees"]) == (60, {}, True)
    event = events_on(laid)[0]
    put(laid, AUTOMATION_EVENTS, (b"x", CODEC.encode_event(event)))
    put(laid, AUTOMATION_EVENTS, (b"x", CODEC.encode_event(event._replace(id="foreign"))))
    assert run(["backtest", "--json"]) == 1
    assert summary(capsys)["counts"] == {"twice": 1, "unexpected": 1}
    assert run(["backtest"]) == 1
    assert "differ: 2 events, while 60 agree" in capsys.readouterr().out
