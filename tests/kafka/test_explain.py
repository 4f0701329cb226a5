"""What ``explain`` says on a real Kafka, of runs that a consumer process has judged, and what it leaves behind."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.main import run
from schemas.codec import Codec
from schemas.ids import delivery_id
from schemas.records import ActionResult, AgentHeartbeat
from tests.kafka.consumer_process import GRACE_MS, consumers
from tests.kafka.consumer_world import (
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
from topology.names import ACTION_RESULTS
from topology.settings import Settings

pytestmark = pytest.mark.kafka


@pytest.fixture
def judged(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A consumer has judged four runs: ``stuck`` fired, ``quick`` was in time, ``late`` was too late by proof,
    and ``failed`` was of no interest to an automation that is disabled."""
    make_topics(settings)
    action = {
        "id": "page", "tenant_id": "t", "tenant_slug": "t-slug", "name": "page someone",
        "action_type": "SlackNotificationAction", "config": {"webhook_url_secret": "SLACK"},
    }  # fmt: skip
    put_control(
        settings,
        [
            ("action:page", action),
            *sla("late runs", "NF", 1, action_ids=["page"]),
            on_states("failures", "Failed", enabled=False),
            on_states("crashes", "Crashed"),
            ("agent_config:pool", {"id": "pool", "tenant_id": "t", "name": "pool"}),
            automation(
                "agents", "AgentSLAFailedEvent", agent_config_id="pool", sla_min_healthy=1, unhealthy_after_seconds=1
            ),
        ],
    )
    now = now_ms()
    put_states(settings, *(state(one, 1, "Running", timestamp=now) for one in ("stuck", "quick", "late")))
    put_states(settings, state("quick", 2, "Success", timestamp=now + 400))
    put_states(settings, state("late", 2, "Success", timestamp=now + 1_500))
    put_states(settings, state("failed", 1, "Failed", state_message="KeyError: 'amount'"))
    put_heartbeats(settings, AgentHeartbeat("t", "t-slug", "pool", "agent-1", None, now, "ACTIVE"))
    with consumers(settings, tmp_path) as fleet, reading_events(settings) as events:
        fleet.start().ready()
        events.until(3)
        assert fleet.processes[0].terminate()[0] == 0
    for name, value in (
        ("BOOTSTRAP_SERVERS", settings.bootstrap_servers),
        ("TOPIC_PREFIX", settings.topic_prefix),
        ("CONSUMER_GROUP", settings.consumer_group),
        ("GRACE_MS", str(GRACE_MS)),
    ):
        monkeypatch.setenv(name, value)
    return settings


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert run(["explain", *arguments]) == code
    shown = capsys.readouterr()
    return shown.out if code == 0 else shown.err


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(said(capsys, *arguments, "--json"))
    return answer


def reasons(answer: dict[str, Any]) -> dict[str, str]:
    """By automation why it fired or did not, for a run with at most one deadline."""
    (one,) = answer["runs"]
    verdicts = [verdict for group in (*one["states"], *one["deadlines"]) for verdict in group["verdicts"]]
    return {verdict["automation_name"]: verdict["reason"] for verdict in (*verdicts, *one["not_armed"])}


def test_explain_says_why_each_run_was_told_of_or_not(judged: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = {"failures": "state_not_named", "crashes": "state_not_named"}
    fired = {event.flow_run_id: event.id for event in events_on(judged)}
    for one, reason in (("stuck", "fired_by_silence"), ("quick", "met_in_time"), ("late", "fired_by_proof")):
        answer = told(capsys, "--run", one)
        assert reasons(answer) == {"late runs": reason, **quiet}
        assert [event["id"] for event in answer["events"]] == ([fired[one]] if one in fired else [])
    failed = told(capsys, "--run", "failed")
    assert reasons(failed) == {"late runs": "not_armed", "crashes": "state_not_named", "failures": "disabled"}
    (record,) = failed["runs"][0]["records"]
    assert (record["outcome"], record["clock"], record["state"]) == ("applied", "timestamp", "Failed")

    assert "nothing had met it by" in said(capsys, "--run", "stuck")
    assert "in time: v2 Success occurred" in said(capsys, "--run", "quick")
    assert "0.500 s too late" in said(capsys, "--run", "late")
    assert "it was disabled from" in said(capsys, "--run", "failed")


def test_explain_says_what_became_of_an_events_deliveries(judged: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no result yet" in said(capsys, "--run", "stuck")
    (event,) = [one for one in events_on(judged) if one.flow_run_id == "stuck"]
    own_id, now = delivery_id(event.id, "page"), now_ms()
    for attempt, (status, error) in enumerate((("retrying", "http_503"), ("dead", "http_404")), start=1):
        result = ActionResult(
            own_id, event.id, "page", "SlackNotificationAction", event.automation_id, "t", status, attempt, error,
            int(error[-3:]), now, now + attempt, destination="hooks.slack.com",
        )  # fmt: skip
        put(judged, ACTION_RESULTS, (own_id.encode(), Codec().encode_result(result)))
    text = said(capsys, "--run", "stuck")
    assert "page someone (SlackNotificationAction): dead" in text
    assert f"dlq redrive --delivery {own_id}" in text
    (delivery,) = told(capsys, "--run", "stuck")["events"][0]["deliveries"]
    assert [one["status"] for one in delivery["results"]] == ["retrying", "dead"]


def test_explain_tells_of_agents_and_their_falls(judged: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    answer = told(capsys, "--agent-config", "pool")
    (config,) = answer["configs"]
    (automation,) = config["automations"]
    (fall,) = automation["falls"]
    assert (automation["automation_name"], automation["reason"], fall["reason"]) == (
        "agents",
        "too_few_healthy",
        "fired",
    )
    assert [agent["agent_id"] for agent in config["agents"]] == ["agent-1"]
    assert fall["event_id"] == answer["events"][0]["id"]
    text = said(capsys, "--agent-config", "pool")
    assert "too few are healthy: FIRED (healthy: none; silent: agent-1)" in text
    assert "agent-1 1 heartbeat," in text


def test_explain_leaves_nothing_behind(judged: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    before = traces(judged)
    said(capsys, "--run", "stuck")
    said(capsys, "--agent-config", "pool")
    assert traces(judged) == before


def test_a_run_that_nobody_knows_is_said_to_be_unknown_and_where_it_was_sought(
    judged: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    error = said(capsys, "--run", "nobody", code=1)
    assert "no run nobody is known. Searched: " in error
    assert f"{judged.topic('flow-run-state')}[" in error
    assert f"the state of group {judged.consumer_group} in " in error
    assert "no agent config nobody is known" in said(capsys, "--agent-config", "nobody", code=1)


def test_records_that_the_consumer_has_not_come_to_are_told_as_such(
    judged: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    put_states(judged, state("stuck", 2, "Crashed"))
    answer = told(capsys, "--run", "stuck")
    assert [one["outcome"] for one in answer["runs"][0]["records"]] == ["applied", "unread"]
    assert reasons(answer)["crashes"] == "state_not_named"
    assert "not read by the consumer yet" in said(capsys, "--run", "stuck")
