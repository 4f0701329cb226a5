"""The automation events: what fired, for which run or agents, and what is to be done."""

from __future__ import annotations

from consumer.attempts import KINDS
from consumer.automations import AgentSLA, Automations, InForce
from consumer.misses import Miss
from schemas.codec import cut
from schemas.ids import agent_sla_event_id, flow_sla_event_id, state_change_event_id
from schemas.records import (
    AGENT_SLA_FAILED,
    FLOW_RUN_STATE_CHANGED,
    FLOW_SLA_FAILED,
    AutomationEvent,
    FlowRunState,
)
from schemas.templates import default_message

MESSAGE_IN_EVENT = 8_192
"""Characters of a state message that an event carries."""


class Events:
    """Makes events. ``ui_base_url`` is where the links lead; without it they are null."""

    def __init__(self, automations: Automations, ui_base_url: str | None) -> None:
        self._automations = automations
        self._base = ui_base_url.rstrip("/") if ui_base_url else None

    def state_changed(self, fired: InForce, run: FlowRunState, log_ms: int, now_ms: int) -> AutomationEvent:
        """A run entered a state that an automation names; judged at its log time."""
        event_id = state_change_event_id(run.tenant_id, fired.automation_id, run.flow_run_id, run.version)
        event = self._of_run(event_id, FLOW_RUN_STATE_CHANGED, fired, run, log_ms)
        return _finish(event._replace(timestamp=run.timestamp, detected_at=now_ms))

    def sla_failed(self, miss: Miss, run: FlowRunState, now_ms: int) -> AutomationEvent:
        """A run missed a deadline; ``run`` is its highest version's record."""
        kind, base_ms = KINDS[miss.deadline.kind], miss.deadline.base_ms
        automation_id = miss.interval.automation_id
        event_id = flow_sla_event_id(run.tenant_id, automation_id, run.flow_run_id, kind, base_ms)
        event = self._of_run(event_id, FLOW_SLA_FAILED, miss.interval, run, miss.judged_ms)
        missed_ms = base_ms + miss.sla.duration_ms
        event = event._replace(
            timestamp=missed_ms,
            detected_at=max(now_ms, missed_ms + 1),
            flow_sla_config_id=miss.sla.config_id,
            kind=kind,
            duration_seconds=miss.sla.duration_ms // 1000,
        )
        return _finish(event)

    def agents_failed(
        self, fired: InForce, sla: AgentSLA, fall_ms: int, agents: tuple[list[str], list[str]], now_ms: int
    ) -> AutomationEvent:
        """Too few agents were healthy at ``fall_ms``; ``agents`` are the healthy and the unhealthy ones then."""
        event_id = agent_sla_event_id(fired.tenant_id, fired.automation_id, sla.config_id, fall_ms)
        # A fall may lie before the first control record that compaction has left: that one tells what to do.
        event = self._event(event_id, AGENT_SLA_FAILED, fired, max(fall_ms, fired.from_ms))
        event = event._replace(
            timestamp=fall_ms,
            detected_at=max(now_ms, fall_ms + 1),
            agent_config_id=sla.config_id,
            sla_min_healthy=sla.min_healthy,
            healthy_agent_ids=agents[0],
            unhealthy_agent_ids=agents[1],
        )
        return _finish(event)

    def _of_run(self, event_id: str, name: str, fired: InForce, run: FlowRunState, judged_ms: int) -> AutomationEvent:
        base = None if self._base is None else f"{self._base}/{run.tenant_slug}"
        return self._event(event_id, name, fired, judged_ms)._replace(
            tenant_slug=run.tenant_slug,
            flow_id=run.flow_id,
            flow_name=run.flow_name,
            flow_group_id=run.flow_group_id,
            flow_link=base and f"{base}/flow/{run.flow_id}",
            flow_run_id=run.flow_run_id,
            flow_run_name=run.flow_run_name,
            state=run.state,
            state_message=cut(run.state_message, MESSAGE_IN_EVENT),
            flow_run_link=base and f"{base}/flow-run/{run.flow_run_id}",
        )

    def _event(self, event_id: str, name: str, fired: InForce, judged_ms: int) -> AutomationEvent:
        shown = self._automations.shown(fired.automation_id, judged_ms)
        return AutomationEvent(
            id=event_id, event_name=name, message="", tenant_id=fired.tenant_id,
            tenant_slug=shown.tenant_slug, timestamp=0, automation_id=fired.automation_id,
            automation_name=shown.name, flow_id=None, flow_name=None, flow_group_id=None, flow_link=None,
            flow_run_id=None, flow_run_name=None, state=None, state_message=None, flow_run_link=None,
            flow_sla_config_id=None, kind=None, duration_seconds=None, agent_config_id=None,
            sla_min_healthy=None, healthy_agent_ids=None, unhealthy_agent_ids=None, detected_at=0,
            actions=shown.actions,
        )  # fmt: skip


def _finish(event: AutomationEvent) -> AutomationEvent:
    return event._replace(message=default_message(event))
