"""What can be relied on of a backtest over real topics: it finds what fired and what did not, and leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from cli.main import run
from cli.tail_lines import time_text
from schemas.records import AgentHeartbeat, FlowRunState
from streams.topic_reader import watermarks
from tests.kafka.consumer_process import GRACE_MS, consumers, until
from tests.kafka.consumer_world import (
    CODEC,
    automation,
    events_on,
    make_topics,
    now_ms,
    on_states,
    put,
    put_control,
    put_heartbeats,
    put_states,
    reading_events,
    sla,
    state,
    traces,
)
from topology.kafka_config import admin
from topology.names import AUTOMATION_EVENTS, FLOW_RUN_STATE
from topology.settings import Settings

pytestmark = pytest.mark.kafka

DRAFT = """\
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
"""


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
    draft.write_text(DRAFT)
    before = traces(laid)
    assert run(["backtest", "-f", str(draft), "--since", "1h", "--json"]) == 0
    assert traces(laid) == before
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
    later = time_text(began_ms)
    assert run(["backtest", "-f", str(draft), "--since", later, "--json"]) == 0
    # The stuck run's deadline came after that, the failures before.
    assert {one["name"]: one["events"] for one in summary(capsys)["automations"]}["failures"] == 0
    assert run(["backtest", "-f", str(draft), "--until", later, "--json"]) == 0
    assert summary(capsys)["events"] == 3


def test_what_was_live_through_a_crash_agrees_and_anything_else_on_the_topic_is_told(
    laid: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the consumer is at work too; and a foreign event, or one written twice, is named."""
    agents = automation("AGENTS", "AgentSLAFailedEvent", agent_config_id="pool", unhealthy_after_seconds=1)
    pool = ("agent_config:pool", {"id": "pool", "tenant_id": "t"})
    put_control(laid, [on_states("FAIL", "Failed"), *sla("NF", "NF", 1), pool, agents])
    with consumers(laid, tmp_path) as fleet, reading_events(laid) as reader:
        first = fleet.start().ready()
        for part in range(4):
            put_states(laid, *lives(10 * part, 10 * part + 10))
            put_heartbeats(laid, AgentHeartbeat("t", "t-slug", "pool", "a", None, now_ms(), "ACTIVE"))
            if part == 1:
                first.kill()
                fleet.start()
        reader.until(61)
        assert run(["backtest", "--live", "--json"]) == 0
        assert summary(capsys)["agrees"]
        assert fleet.processes[-1].terminate()[0] == 0
    put_states(laid, *lives(40, 42))
    before = traces(laid)
    assert run(["backtest", "--live", "--json"]) == 0
    assert traces(laid) == before
    found = summary(capsys)
    assert found["agree"] == len(events_on(laid)) >= 61
    assert (found["ahead"], found["behind"], found["unproven"]) == (1, 6, 0)
    event = max((one for one in events_on(laid) if one.automation_id == "FAIL"), key=lambda one: one.timestamp)
    put(laid, AUTOMATION_EVENTS, (b"x", CODEC.encode_event(event)))
    put(laid, AUTOMATION_EVENTS, (b"x", CODEC.encode_event(event._replace(id="foreign"))))
    assert run(["backtest", "--json"]) == 1
    assert summary(capsys)["counts"] == {"twice": 1, "unexpected": 1}
    cut_off(laid, FLOW_RUN_STATE)
    assert run(["backtest"]) == 1
    shown = capsys.readouterr().out
    assert "events rest on records that the logs no longer have: not compared" in shown
    assert "differ: 2 events" in shown


def lives(begin: int, end: int) -> list[FlowRunState]:
    """Runs of which every second one fails, and beside each one that is stuck."""
    states = []
    for n in range(begin, end):
        ends = "Failed" if n % 2 else "Success"
        states += [state(f"r{n}", 1, "Running"), state(f"r{n}", 2, ends), state(f"s{n}", 1, "Running")]
    return states


def cut_off(settings: Settings, name: str) -> None:
    """Deletes the first three records of each partition, as retention does."""
    topic, client = settings.topic(name), admin(settings)
    below = [TopicPartition(topic, number, 3) for number in watermarks(settings, topic)]
    for future in client.delete_records(below).values():
        future.result(10)


def test_what_can_t_be_right_is_told_in_one_line_and_ends_with_2(
    laid: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, wrong = tmp_path / "draft.yaml", tmp_path / "wrong.yaml"
    draft.write_text(DRAFT)
    wrong.write_text(DRAFT.replace("states: [Failed]", "states: []"))

    def refused(*words: str) -> str:
        assert run(["backtest", *words]) == 2
        told = capsys.readouterr().err.splitlines()
        assert len(told) == 1
        return told[0]

    assert "there is no history to go over" in refused("-f", str(draft))
    assert "has never worked on flow-run-state" in refused("--live")
    put_states(laid, state("r", 1, "Failed"))
    assert "No such file" in refused("-f", str(tmp_path / "none.yaml"))
    assert f"{wrong}:5" in refused("-f", str(wrong))
    assert "give a time such as" in refused("-f", str(draft), "--since", "yesterday")
    assert "nothing lies between" in refused("-f", str(draft), "--since", "2999-01-01T00:00:00Z")
    assert "not both" in refused("-f", str(draft), "--live")
    monkeypatch.setenv("TOPIC_PREFIX", "nobody-has-this-")
    assert "has no topic nobody-has-this-" in refused("-f", str(draft))
    assert "has no topic nobody-has-this-" in refused()
