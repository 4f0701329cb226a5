"""Dead letters as their topic has them, for tests."""

import json
from typing import Any

from schemas.codec import Codec
from schemas.delivery_headers import DeliveryHeaders, encode_headers
from schemas.ids import delivery_id
from schemas.records import FLOW_RUN_STATE_CHANGED, AutomationEvent
from streams.topic_reader import Read

CODEC = Codec()

SLACK = {
    "id": "a-slack", "name": "page", "action_type": "SlackNotificationAction", "config": {"webhook_url_secret": "SLACK"}
}  # fmt: skip
WEBHOOK = {
    "id": "a-hook", "name": "call", "action_type": "WebhookAction",
    "config": {"url": "https://user:pw@Hooks.example.com:8443/x?key=abc"},
}  # fmt: skip


def event(event_id: str, **fields: Any) -> AutomationEvent:
    """An event with both actions."""
    made = AutomationEvent(
        id=event_id, event_name=FLOW_RUN_STATE_CHANGED, message="Run failed", tenant_id="t1", tenant_slug="acme",
        timestamp=1_000, automation_id="au1", automation_name="failures", flow_id="f", flow_name="etl",
        flow_group_id="g", flow_link=None, flow_run_id="r1", flow_run_name="amber-fox", state="Failed",
        state_message=None, flow_run_link=None, flow_sla_config_id=None, kind=None, duration_seconds=None,
        agent_config_id=None, sla_min_healthy=None, healthy_agent_ids=None, unhealthy_agent_ids=None,
        detected_at=2_000, actions=json.dumps([SLACK, WEBHOOK]),
    )  # fmt: skip
    return made._replace(**fields)


def headers_of(made: AutomationEvent, action: dict[str, Any] = SLACK, **fields: Any) -> DeliveryHeaders:
    """The headers of a delivery of the event that died of a 404."""
    found = DeliveryHeaders(delivery_id(made.id, action["id"]), action["id"], 12, "http_404", 404)
    return found._replace(**fields)


def letter(
    made: AutomationEvent, headers: DeliveryHeaders, offset: int = 0, partition: int = 0, time_ms: int = 5_000
) -> Read:
    """The record of a dead letter."""
    value = CODEC.encode_event(made)
    return Read(partition, offset, (made.flow_run_id or "").encode(), value, time_ms, tuple(encode_headers(headers)))
