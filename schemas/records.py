"""The records on the topics, as the loop handles them.

Field order is the wire order of the Avro schemas in ``schemas/avro``; a test holds that. All times are
``int`` milliseconds since the Unix epoch (Avro ``timestamp-millis``). Nullable fields default to ``None``.
"""

from typing import NamedTuple

FLOW_RUN_STATE_CHANGED = "FlowRunStateChangedEvent"
FLOW_SLA_FAILED = "FlowSLAFailedEvent"
AGENT_SLA_FAILED = "AgentSLAFailedEvent"

SCHEDULED_NOT_STARTED = "SCHEDULED_NOT_STARTED"
STARTED_NOT_FINISHED = "STARTED_NOT_FINISHED"

ACTIVE = "ACTIVE"
STOPPED = "STOPPED"


class FlowRunState(NamedTuple):
    """A flow run entered a state. ``version`` is at least 1 and grows with each state of a run."""

    tenant_id: str
    tenant_slug: str
    flow_id: str
    flow_name: str
    flow_group_id: str
    flow_run_id: str
    flow_run_name: str
    version: int
    state: str
    state_message: str | None
    timestamp: int
    scheduled_start_time: int | None = None
    agent_id: str | None = None


class AgentHeartbeat(NamedTuple):
    """An agent last queried the backend at ``timestamp``; ``status`` is ``ACTIVE`` or ``STOPPED``."""

    tenant_id: str
    tenant_slug: str
    agent_config_id: str
    agent_id: str
    agent_name: str | None
    timestamp: int
    status: str


class AutomationEvent(NamedTuple):
    """An automation fired. ``actions`` is JSON, in the automation's order, secrets by name only."""

    id: str
    event_name: str
    message: str
    tenant_id: str
    tenant_slug: str
    timestamp: int
    automation_id: str
    automation_name: str
    flow_id: str | None
    flow_name: str | None
    flow_group_id: str | None
    flow_link: str | None
    flow_run_id: str | None
    flow_run_name: str | None
    state: str | None
    state_message: str | None
    flow_run_link: str | None
    flow_sla_config_id: str | None
    kind: str | None
    duration_seconds: int | None
    agent_config_id: str | None
    sla_min_healthy: int | None
    healthy_agent_ids: list[str] | None
    unhealthy_agent_ids: list[str] | None
    detected_at: int
    actions: str


class ActionResult(NamedTuple):
    """One attempt to deliver an action (or, with ``attempt`` 0, why none was made)."""

    delivery_id: str
    event_id: str
    action_id: str
    action_type: str
    automation_id: str
    tenant_id: str
    status: str
    attempt: int
    error: str | None
    http_status: int | None
    started_at: int
    finished_at: int
    flow_run_id: str | None = None
    agent_config_id: str | None = None
    flow_group_id: str | None = None
    destination: str | None = None
    next_attempt_at: int | None = None
