"""Events and deliveries for the tests of actions."""

import json
from typing import Any

from actions.delivery import Action, Delivery, Source
from schemas.records import FLOW_RUN_STATE_CHANGED, AutomationEvent
from topology.names import AUTOMATION_EVENTS

AT_MS = 1_782_907_200_123
"""2026-07-01T12:00:00.123Z"""

EVENT = AutomationEvent(
    id="e1", event_name=FLOW_RUN_STATE_CHANGED, message="Run r of flow f entered state Failed", tenant_id="t",
    tenant_slug="acme", timestamp=AT_MS, automation_id="au", automation_name="failures", flow_id="f1",
    flow_name="etl", flow_group_id="g1", flow_link=None, flow_run_id="r1", flow_run_name="r", state="Failed",
    state_message=None, flow_run_link=None, flow_sla_config_id=None, kind=None, duration_seconds=None,
    agent_config_id=None, sla_min_healthy=None, healthy_agent_ids=None, unhealthy_agent_ids=None,
    detected_at=AT_MS + 500, actions="[]",
)  # fmt: skip


def entry(action_id: str, url: str = "http://127.0.0.1/", **more: Any) -> dict[str, Any]:
    """An action as an event carries it."""
    return {
        "id": action_id, "name": action_id, "action_type": "WebhookAction", "config": {"url": url}, **more
    }  # fmt: skip


def fired(event_id: str, *entries: dict[str, Any], run: str = "r1") -> AutomationEvent:
    """An event with these actions."""
    return EVENT._replace(id=event_id, flow_run_id=run, actions=json.dumps(entries))


def source(offset: int = 0, topic: str = AUTOMATION_EVENTS, **more: Any) -> Source:
    """A record of the first partition."""
    return Source(topic, 0, offset, b"r1", b"bytes")._replace(**more)


def delivery(number: int = 0, *, attempt: int = 1, of: Source | None = None, **policy: Any) -> Delivery:
    """A delivery to decide about; ``of`` is its record, by default the one at offset ``number``."""
    action = Action("a1", "WebhookAction", {"url": "http://127.0.0.1/"}, **policy)
    return Delivery(f"d{number}", EVENT, action, of or source(number), attempt=attempt)
