"""What the demo watches with: its manifest, and the receiver that its notifications go to."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from cli.demo_manifest import PLACES, SHAPE, manifest
from cli.demo_receiver import KIND_OF, SLACK, SLACK_RUN_MARK, SLACK_RUN_TEXT, WEBHOOK, Receiver
from cli.demo_report import Notification
from cli.simulation import FAILED, KINDS, LATE
from schemas.control import Automation, FlowSLAConfig
from schemas.manifest import Manifest, load
from schemas.records import FLOW_RUN_STATE_CHANGED, FLOW_SLA_FAILED, SCHEDULED_NOT_STARTED, AutomationEvent
from schemas.templates import default_payload, render_text


def event(event_name: str, kind: str | None = None) -> AutomationEvent:
    return AutomationEvent(
        id="e-1", event_name=event_name, message="m", tenant_id="t", tenant_slug="acme", timestamp=1_000,
        automation_id="a", automation_name="n", flow_id="f", flow_name="etl", flow_group_id="g",
        flow_link=None, flow_run_id="r-1", flow_run_name="amber-fox", state="Failed", state_message="boom",
        flow_run_link=None, flow_sla_config_id=None, kind=kind, duration_seconds=4, agent_config_id=None,
        sla_min_healthy=None, healthy_agent_ids=None, unhealthy_agent_ids=None, detected_at=2_000,
        actions="[]",
    )  # fmt: skip


@pytest.fixture
def shown() -> list[tuple[Notification, str]]:
    return []


@pytest.fixture
def receiver(shown: list[tuple[Notification, str]]) -> Iterator[Receiver]:
    receiver = Receiver(lambda notification, text: shown.append((notification, text)))
    receiver.start()
    yield receiver
    receiver.stop()


def post(receiver: Receiver, path: str, body: Any, headers: dict[str, str] | None = None) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{receiver.port}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", **(headers or {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_demos_manifest_is_valid_and_watches_for_everything_with_the_fleets_deadlines() -> None:
    loaded = load([("demo", manifest(8080))])
    assert isinstance(loaded, Manifest)
    automations = [record for record in loaded.records() if isinstance(record, Automation)]
    configs = {r.kind: r.duration_seconds * 1000 for r in loaded.records() if isinstance(r, FlowSLAConfig)}
    assert configs == {SCHEDULED_NOT_STARTED: SHAPE.late_ms, "STARTED_NOT_FINISHED": SHAPE.stuck_ms}
    watched = [one for one in automations if one.agent_config_id is not None]
    assert {one.agent_config_id for one in watched} == set(SHAPE.agent_config_ids)
    assert {one.unhealthy_after_seconds * 1000 for one in watched} == {SHAPE.unhealthy_ms}
    assert set(PLACES) == set(KINDS) == set(KIND_OF.values())


def test_a_webhook_with_the_default_payload_is_understood(
    receiver: Receiver, shown: list[tuple[Notification, str]]
) -> None:
    payload = default_payload(event(FLOW_RUN_STATE_CHANGED))
    assert post(receiver, "/webhook", payload, {"X-PREFECT-EVENT-ID": "e-1"}) == 200
    assert receiver.received() == [Notification(WEBHOOK, FAILED, "r-1", "e-1")]
    assert shown[0][1] == "etl/amber-fox: Failed, boom"


def test_a_slack_message_is_known_by_how_it_ends(receiver: Receiver, shown: list[tuple[Notification, str]]) -> None:
    text = render_text(f"{SLACK_RUN_TEXT} {SLACK_RUN_MARK}", event(FLOW_SLA_FAILED, SCHEDULED_NOT_STARTED))
    assert post(receiver, "/slack", {"text": text}) == 200
    assert receiver.received() == [Notification(SLACK, LATE, "r-1", "e-1")]
    assert shown[0][1] == "etl/amber-fox: not started 4 s after its time"


def test_what_is_no_notification_of_the_demo_is_refused(receiver: Receiver) -> None:
    assert post(receiver, "/slack", {"text": "hello"}) == 400
    assert receiver.received() == []
