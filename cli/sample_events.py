"""Events that look real and say that they are a test, for trying an action. Pure."""

import json
from typing import Any, NamedTuple

from schemas.control import Action, Automation, check_pairing
from schemas.control_models import EventType
from schemas.records import (
    AGENT_SLA_FAILED,
    FLOW_SLA_FAILED,
    STARTED_NOT_FINISHED,
    AutomationEvent,
)
from schemas.templates import default_message

EVENT_NAMES: tuple[EventType, ...] = ("FlowRunStateChangedEvent", "FlowSLAFailedEvent", "AgentSLAFailedEvent")


class SampleIds(NamedTuple):
    """The ids in a sample event."""

    event: str
    automation: str
    flow: str
    flow_group: str
    flow_run: str
    config: str


def sample_event(
    event_name: str, action: Action, ids: SampleIds, now_ms: int, ui_base_url: str | None = None
) -> AutomationEvent:
    """What would fire the action, had it happened; its names, state message and message say that it is a test."""
    base = None if ui_base_url is None else f"{ui_base_url}/{action.tenant_slug}"
    event = AutomationEvent(
        id=ids.event, event_name=event_name, message="", tenant_id=action.tenant_id,
        tenant_slug=action.tenant_slug, timestamp=now_ms - 1_000, automation_id=ids.automation,
        automation_name=f"Test of action {action.name}", flow_id=None, flow_name=None, flow_group_id=None,
        flow_link=None, flow_run_id=None, flow_run_name=None, state=None, state_message=None,
        flow_run_link=None, flow_sla_config_id=None, kind=None, duration_seconds=None, agent_config_id=None,
        sla_min_healthy=None, healthy_agent_ids=None, unhealthy_agent_ids=None, detected_at=now_ms,
        actions=json.dumps([_entry(action)]),
    )  # fmt: skip
    if event_name == AGENT_SLA_FAILED:
        event = event._replace(
            agent_config_id=ids.config,
            sla_min_healthy=1,
            healthy_agent_ids=[],
            unhealthy_agent_ids=["test-agent-1", "test-agent-2"],
        )
    else:
        event = event._replace(
            flow_id=ids.flow,
            flow_name="test-flow",
            flow_group_id=ids.flow_group,
            flow_link=base and f"{base}/flow/{ids.flow}",
            flow_run_id=ids.flow_run,
            flow_run_name="test-run",
            state="Failed",
            state_message="this is a test, no run has failed",
            flow_run_link=base and f"{base}/flow-run/{ids.flow_run}",
        )
    if event_name == FLOW_SLA_FAILED:
        event = event._replace(
            state="Running",
            state_message="this is a test, no run is late",
            flow_sla_config_id=ids.config,
            kind=STARTED_NOT_FINISHED,
            duration_seconds=3600,
        )
    return event._replace(message=f"Test of action {action.name}: {default_message(event)}")


def misfits(action: Action, event_name: EventType) -> list[str]:
    """Why events of this name don't go with the action: what `apply` would say of an automation that joins them."""
    automation = Automation(
        id="test", tenant_id=action.tenant_id, tenant_slug=action.tenant_slug, name="test", event_type=event_name,
        states=["Failed"], flow_sla_config_id="test", agent_config_id="test", action_ids=[action.id],
    )  # fmt: skip
    return check_pairing(automation, [action])


def fitting_event(action: Action) -> EventType:
    """The event to try the action with: the first that goes with it, a state change if none does."""
    return next((name for name in EVENT_NAMES if not misfits(action, name)), EVENT_NAMES[0])


def _entry(action: Action) -> dict[str, Any]:
    """The action as an event carries it."""
    entry = {"id": action.id, "name": action.name, "action_type": action.action_type, "config": action.config}
    if action.delivery is not None:
        entry["delivery"] = action.delivery.model_dump(exclude_none=True)
    return entry
