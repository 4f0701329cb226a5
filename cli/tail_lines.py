"""An event or a result as a line that a person reads, or as JSON. Pure."""

import json
from datetime import UTC, datetime
from typing import Any

from schemas.records import AGENT_SLA_FAILED, FLOW_SLA_FAILED, ActionResult, AutomationEvent

Part = tuple[str, str]
"""Text and style."""

_STATUS_STYLES = {"succeeded": "good", "retrying": "note", "dead": "bad", "expired": "note", "muted": "quiet"}
_EVENT_TIMES = ("timestamp", "detected_at")
_RESULT_TIMES = ("started_at", "finished_at", "next_attempt_at")


def time_text(time_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"


def event_parts(event: AutomationEvent) -> list[Part]:
    """Time, what happened, automation, subject, message."""
    return [
        (time_text(event.timestamp), "quiet"),
        (what_happened(event), "bad"),
        (one_line(event.automation_name), "title"),
        (_subject(event), ""),
        (one_line(event.message), "quiet"),
    ]


def what_happened(event: AutomationEvent) -> str:
    """The kind of the event in a word or two."""
    if event.event_name == AGENT_SLA_FAILED:
        return "agents-unhealthy"
    if event.event_name == FLOW_SLA_FAILED:
        return (event.kind or "flow-sla").lower().replace("_", "-")
    return f"entered-{event.state}"


def _subject(event: AutomationEvent) -> str:
    if event.agent_config_id is not None:
        return one_line(f"config {event.agent_config_id}")
    return one_line(f"{event.flow_name}/{event.flow_run_name} ({event.flow_run_id})")


def result_parts(result: ActionResult) -> list[Part]:
    """Time, status, attempt, action, destination, error."""
    parts = [
        (time_text(result.finished_at), "quiet"),
        (result.status, _STATUS_STYLES.get(result.status, "")),
        (f"attempt {result.attempt}", ""),
        (result.action_type, "title"),
        (f"to {result.destination or '-'}", ""),
        (f"event {result.event_id}", "quiet"),
    ]
    if result.http_status is not None:
        parts.append((f"HTTP {result.http_status}", ""))
    if result.error:
        parts.append((one_line(result.error), "bad"))
    if result.next_attempt_at is not None:
        parts.append((f"next at {time_text(result.next_attempt_at)}", "note"))
    return parts


def event_json(event: AutomationEvent) -> dict[str, Any]:
    """Every field; times RFC 3339, ``actions`` as the list that it is."""
    fields = event._asdict()
    fields.update((name, time_text(fields[name])) for name in _EVENT_TIMES)
    fields["actions"] = json.loads(event.actions)
    return fields


def result_json(result: ActionResult) -> dict[str, Any]:
    """Every field; times RFC 3339."""
    fields = result._asdict()
    for name in _RESULT_TIMES:
        fields[name] = None if fields[name] is None else time_text(fields[name])
    return fields


def one_line(text: str) -> str:
    """``text`` without line breaks and control characters, which could fake lines or colours."""
    return "".join(c if c.isprintable() else " " for c in text)
