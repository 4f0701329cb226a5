"""What PagerDuty gets to see, which events join one incident, and what its answers mean."""

import json
from typing import Any

import pytest

from actions.channels import pagerduty
from actions.channels.channel import Services
from actions.exchange import Answer, Failure, Request, Verdict
from schemas.records import AutomationEvent
from tests.doubles.http_service import Said
from tests.doubles.pagerduty import PagerDuty
from tests.unit.actions_events import EVENT
from tests.unit.conversations import event, held_with_server, job

CONFIG = {"routing_key": PagerDuty.key, "severity": "error"}
AGENTS = event(
    event_name="AgentSLAFailedEvent", flow_id=None, flow_name=None, flow_group_id=None, flow_run_id=None,
    flow_run_name=None, state=None, agent_config_id="c1", sla_min_healthy=1, healthy_agent_ids=[],
    unhealthy_agent_ids=["a", "b"],
)  # fmt: skip


def alert(config: dict[str, Any] | None = None, what: AutomationEvent = EVENT) -> Any:
    made = pagerduty.request(job(CONFIG | (config or {}), event=what))
    assert isinstance(made, Request)
    assert made.url == "https://events.pagerduty.com/v2/enqueue"
    assert made.trusted
    assert len(made.body) <= pagerduty.MAX_BODY_BYTES
    return json.loads(made.body)


def test_an_alert_says_what_happened_where_when_and_how_bad_it_is() -> None:
    made = alert(what=event(flow_run_link="https://ui/acme/flow-run/r1", flow_link="https://ui/acme/flow/f1"))
    payload = made.pop("payload")
    assert made == {
        "routing_key": PagerDuty.key,
        "event_action": "trigger",
        "dedup_key": "t/au/r1",
        "client": "flow-automations",
        "links": [
            {"href": "https://ui/acme/flow-run/r1", "text": "Flow run"},
            {"href": "https://ui/acme/flow/f1", "text": "Flow"},
        ],
    }
    details = payload.pop("custom_details")
    assert payload == {
        "summary": EVENT.message,
        "source": "acme",
        "severity": "error",
        "timestamp": "2026-07-01T12:00:00.123Z",
        "component": "etl",
        "group": "failures",
        "class": "FlowRunStateChangedEvent",
    }
    assert details["flow_run_id"] == "r1"
    assert "actions" not in details


def test_an_agents_alert_is_about_its_config() -> None:
    made = alert(what=AGENTS)
    assert made["dedup_key"] == "t/au/c1"
    assert made["payload"]["component"] == "c1"
    assert made["payload"]["custom_details"]["unhealthy_agent_ids"] == ["a", "b"]
    assert "links" not in made


def test_repeats_and_later_events_of_one_run_join_one_incident_and_no_others_do() -> None:
    later = event(id="e2", state="TimedOut", timestamp=EVENT.timestamp + 5_000)
    assert pagerduty.dedup_key(later) == pagerduty.dedup_key(EVENT)
    others = [event(flow_run_id="r2"), event(automation_id="other"), event(tenant_id="other"), AGENTS]
    keys = {pagerduty.dedup_key(one) for one in (EVENT, *others)}
    assert len(keys) == 5


def test_long_ids_still_make_a_key_that_pagerduty_takes() -> None:
    one, other = (pagerduty.dedup_key(event(automation_id="a" * 256, flow_run_id=run * 256)) for run in "rs")
    assert len(one) <= 255
    assert one != other


def test_a_summary_is_cut_and_never_blank() -> None:
    assert alert({"message": "{state} " + "x" * 2_000})["payload"]["summary"] == "Failed " + "x" * 1_016 + "…"
    assert alert({"message": " {state_message} "})["payload"]["summary"] == EVENT.message


def test_severity_is_read_without_case() -> None:
    assert alert({"severity": "Critical"})["payload"]["severity"] == "critical"


def test_details_too_large_for_pagerduty_leave_out_what_is_long() -> None:
    many = AGENTS._replace(healthy_agent_ids=["agent"] * 100_000)
    details = alert(what=many)["payload"]["custom_details"]
    assert "healthy_agent_ids" not in details
    assert details["unhealthy_agent_ids"] == ["a", "b"]


@pytest.mark.parametrize("config", [{}, {"routing_key": "k"}, {"severity": "info"}, {**CONFIG, "severity": "loud"}])
def test_a_config_without_key_or_severity_is_final(config: dict[str, Any]) -> None:
    assert pagerduty.request(job(config)) == Failure("invalid_config", final=True)


def test_integrations_have_lanes_of_their_own_and_their_keys_stay_unknown() -> None:
    lanes = [
        pagerduty.destination(EVENT, {"routing_key": key}, Services()) for key in ("one-key", "two-key", "one-key")
    ]
    assert lanes[0] == lanes[2] != lanes[1]
    assert all(lane.startswith("https://events.pagerduty.com/") and "key" not in lane for lane in lanes)


def test_the_token_is_not_looked_up() -> None:
    assert pagerduty.secret_names(CONFIG | {"api_token_secret": "TOKEN"}, Services()) == ()


def errors(*said: str) -> bytes:
    return json.dumps({"status": "invalid event", "message": "Event object is invalid", "errors": said}).encode()


@pytest.mark.parametrize(
    ("answer", "verdict", "reason"),
    [
        (Answer(202, b'{"status":"success"}'), Verdict.DONE, None),
        (Answer(200), Verdict.FINAL, "http_200"),
        (Answer(400, b"no json"), Verdict.FINAL, "http_400"),
        (Answer(400, errors("JSON parse error")), Verdict.FINAL, "http_400"),
        (
            Answer(400, errors("Length of 'routing_key' is incorrect (should be 32 characters)")),
            Verdict.FINAL,
            "http_400: routing_key",
        ),
        (
            Answer(400, errors("'payload.severity' is invalid", "'payload.source' is missing or blank", "'x' is 'y'")),
            Verdict.FINAL,
            "http_400: payload.source payload.severity",
        ),
        (Answer(403, errors("'payload.severity' is invalid")), Verdict.FINAL, "http_403"),
        (Answer(429), Verdict.RETRY, "http_429"),
        (Answer(500, errors("'payload' is invalid")), Verdict.RETRY, "http_500"),
    ],
)
def test_pagerdutys_documented_answers(answer: Answer, verdict: Verdict, reason: str | None) -> None:
    outcome = pagerduty.classify(answer)
    assert (outcome.verdict, outcome.reason, outcome.http_status) == (verdict, reason, answer.status)


async def test_alerts_of_one_run_are_grouped_by_pagerduty_itself() -> None:
    service = PagerDuty()
    service.tell(Said(429), Said(503))
    long = event(id="e2", message="m" * 9_000, flow_run_link="https://ui/acme/flow-run/r1")
    async with service.serving() as url:
        here = Services(pagerduty_base_url=f"{url}/")
        said = [EVENT, EVENT, EVENT, long, AGENTS]
        outcomes = [
            await held_with_server(pagerduty.CHANNEL.exchange(job(CONFIG, event=one, services=here))) for one in said
        ]
    assert [outcome.reason for outcome in outcomes] == ["http_429", "http_503", None, None, None]
    assert {key: len(alerts) for key, alerts in service.alerts.items()} == {"t/au/r1": 2, "t/au/c1": 1}


async def test_a_wrong_key_is_told_by_its_field_alone() -> None:
    service = PagerDuty()
    async with service.serving() as url:
        here = Services(pagerduty_base_url=url)
        for key in ("short", "f" * 32):
            config = CONFIG | {"routing_key": key}
            outcome = await held_with_server(pagerduty.CHANNEL.exchange(job(config, services=here)))
            assert (outcome.verdict, outcome.reason) == (Verdict.FINAL, "http_400: routing_key")
