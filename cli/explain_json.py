"""An explanation as JSON: the same as the lines say, with names that stay. Times are RFC 3339. Pure."""

from __future__ import annotations

from typing import Any

from cli.explain_sources import Span
from cli.explained import ConfigFound, EventFound, RunFound
from cli.tail_lines import event_json, result_json, time_text
from consumer.automations import AgentSLA, Condition, FlowSLA
from consumer.explain_agents import AgentAutomation, AgentSeen
from consumer.explanation import DeadlineVerdicts, RecordRead, RunExplained, Verdict
from consumer.timing import Timing
from schemas.limits import MAX_TIME_MS
from streams.position import Position

Json = dict[str, Any]


def run_json(found: RunFound) -> Json:
    """All that ``explain --run`` says."""
    return {
        "flow_run_id": found.run_id,
        **_read(found.group, found.timing, found.span, found.position),
        "runs": [_run(run) for run in found.runs],
        "unreadable": [_record(record) for record in found.unreadable],
        "events": [_event(event) for event in found.events.values()],
    }


def config_json(found: ConfigFound) -> Json:
    """All that ``explain --agent-config`` says."""
    return {
        "agent_config_id": found.config_id,
        **_read(found.group, found.timing, found.span, found.position),
        "configs": [
            {
                "tenant_id": config.tenant_id,
                "tenant_slug": config.tenant_slug,
                "automations": [_automation(one) for one in config.automations],
                "agents": [_agent(one) for one in config.agents],
                "rejected": config.rejected,
                "unread": config.unread,
            }
            for config in found.configs
        ],
        "events": [_event(event) for event in found.events.values()],
    }


def _read(group: str, timing: Timing, span: Span, position: Position | None) -> Json:
    return {
        "consumer_group": group,
        "grace_ms": timing.grace_ms,
        "clock_tolerance_ms": timing.clock_tolerance_ms,
        "searched": {
            "topic": span.topic, "partition": span.partition, "from_offset": span.begin, "to_offset": span.end,
            "from_time": _time(span.first_ms), "whole_log": not span.cut,
        },
        "judged_up_to": None if position is None else _time(max(0, position.progress_ms)),
        "next_offset": None if position is None else position.offset,
        "first_start": None if position is None else _time(position.started_ms),
    }  # fmt: skip


def _run(run: RunExplained) -> Json:
    latest = run.latest
    return {
        "tenant_id": run.tenant_id,
        "tenant_slug": latest.tenant_slug,
        "flow_id": latest.flow_id,
        "flow_name": latest.flow_name,
        "flow_group_id": latest.flow_group_id,
        "flow_run_name": latest.flow_run_name,
        "version": latest.version,
        "state": latest.state,
        "records": [_record(record) for record in run.records],
        "states": [
            {
                "version": one.version, "state": one.state, "log_time": _time(one.log_ms),
                "verdicts": [_verdict(verdict) for verdict in one.verdicts],
            }
            for one in run.states
        ],
        "deadlines": [_deadline(one) for one in run.deadlines],
        "not_armed": [_verdict(verdict) for verdict in run.unarmed],
        "state_dropped": [_time(dropped_ms) for dropped_ms in run.forgotten_ms],
    }  # fmt: skip


def _record(record: RecordRead) -> Json:
    by_timestamp = record.occurred_ms == record.timestamp_ms
    return {
        "offset": record.offset,
        "log_time": _time(record.log_ms),
        "version": record.version,
        "state": record.state,
        "state_message": record.message,
        "timestamp": _time(record.timestamp_ms),
        "occurred": _time(record.occurred_ms),
        "clock": None if record.occurred_ms is None else "timestamp" if by_timestamp else "log_time",
        "scheduled_start_time": _time(record.scheduled_ms),
        "outcome": record.outcome,
        "detail": record.detail,
    }


def _deadline(one: DeadlineVerdicts) -> Json:
    armed = one.armed
    met = bool(armed.met_version)
    return {
        "kind": one.kind,
        "base": _time(armed.base_ms),
        "counts_from": _time(armed.from_ms),
        "armed_by_version": armed.version,
        "seen": _time(one.seen_ms),
        "attempt_versions": [armed.first_version, armed.last_version],
        "met_by_version": armed.met_version or None,
        "met": _time(armed.met_ms) if met else None,
        "met_log_time": _time(armed.met_log_ms) if met else None,
        "replaced_by_version": one.moved_by,
        "verdicts": [_verdict(verdict) for verdict in one.verdicts],
    }


def _verdict(verdict: Verdict) -> Json:
    return {
        "automation_id": verdict.automation_id,
        "automation_name": verdict.automation_name,
        "fired": verdict.fired,
        "reason": verdict.reason,
        "pending": verdict.pending,
        "event_id": verdict.event_id,
        "condition": _condition(verdict.condition),
        "judged_as_of": _time(verdict.judged_ms),
        "deadline": _time(verdict.due_ms),
        "version": verdict.version,
        "since": _time(verdict.since_ms),
        "until": _time(verdict.until_ms),
    }


def _condition(condition: Condition | None) -> Json | None:
    if condition is None:
        return None
    if isinstance(condition, AgentSLA):
        return {
            "agent_config_id": condition.config_id, "sla_min_healthy": condition.min_healthy,
            "unhealthy_after_seconds": condition.unhealthy_after_ms // 1000,
        }  # fmt: skip
    groups = None if condition.groups is None else sorted(condition.groups)
    if isinstance(condition, FlowSLA):
        return {
            "kind": condition.kind, "duration_seconds": condition.duration_ms // 1000, "flow_group_ids": groups,
            "flow_sla_config_id": condition.config_id,
        }  # fmt: skip
    return {"states": sorted(condition.states), "flow_group_ids": groups}


def _automation(one: AgentAutomation) -> Json:
    return {
        "automation_id": one.automation_id,
        "automation_name": one.automation_name,
        "condition": _condition(one.condition),
        "reason": one.reason,
        "at": _time(one.at_ms),
        "since": _time(one.since_ms),
        "until": _time(one.until_ms),
        "falls": [
            {
                "instant": _time(fall.fall_ms), "reason": fall.reason, "event_id": fall.event_id,
                "healthy_agent_ids": fall.healthy, "unhealthy_agent_ids": fall.unhealthy,
                "restored": _time(fall.restored_ms), "restored_by": fall.restored_by,
            }
            for fall in one.falls
        ],
    }  # fmt: skip


def _agent(one: AgentSeen) -> Json:
    return {
        "agent_id": one.agent_id,
        "agent_name": one.agent_name,
        "first_heartbeat": _time(one.first_ms),
        "last_heartbeat": _time(one.last_ms),
        "heartbeats": one.heartbeats,
        "repeats": one.repeats,
        "stopped": one.stopped,
        "silences": [{"from": _time(silence.from_ms), "to": _time(silence.to_ms)} for silence in one.silences],
    }


def _event(found: EventFound) -> Json:
    deliveries = [
        {
            "delivery_id": one.delivery_id, "action_id": one.action_id, "action_name": one.action_name,
            "action_type": one.action_type, "results": [result_json(result) for result in one.results],
        }
        for one in found.deliveries
    ]  # fmt: skip
    fields = event_json(found.event)
    del fields["actions"]
    return {**fields, "deliveries": deliveries}


def _time(time_ms: int | None) -> str | None:
    """RFC 3339; null also for what lies after the year 9999, for which that has no form."""
    return None if time_ms is None or time_ms > MAX_TIME_MS else time_text(time_ms)
