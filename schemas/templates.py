"""Texts and payloads with ``{name}`` in them, filled from an event.

Law: one pass, names only. What is put in is never read again as a template; there is no attribute access,
index, call or format spec; a name that no event has stays as it is written. ``{{`` and ``}}`` are braces.
"""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from pydantic_core import from_json

from schemas.records import (
    AGENT_SLA_FAILED,
    FLOW_RUN_STATE_CHANGED,
    FLOW_SLA_FAILED,
    AutomationEvent,
)
from schemas.times import rfc3339

ALIASES = {
    "agent_ids": "unhealthy_agent_ids",
    "event_id": "id",
    "event_type": "event_name",
    "flow_sla_type": "kind",
    "duration": "duration_seconds",
}
"""Other names of attributes, as the product's editor writes them."""

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_TIMES = frozenset({"timestamp", "detected_at"})
_PLACE = {name: place for place, name in enumerate(AutomationEvent._fields) if name != "actions"}
_PLACE |= {alias: _PLACE[name] for alias, name in ALIASES.items()}

_EVERY_EVENT = frozenset(
    ("id", "event_name", "message", "tenant_id", "tenant_slug", "timestamp", "detected_at", "automation_id",
     "automation_name")
)  # fmt: skip
_OF_A_RUN = frozenset(
    ("flow_id", "flow_name", "flow_group_id", "flow_link", "flow_run_id", "flow_run_name", "state",
     "state_message", "flow_run_link")
)  # fmt: skip
_ATTRIBUTES = {
    FLOW_RUN_STATE_CHANGED: _EVERY_EVENT | _OF_A_RUN,
    FLOW_SLA_FAILED: _EVERY_EVENT | _OF_A_RUN | {"flow_sla_config_id", "kind", "duration_seconds"},
    AGENT_SLA_FAILED: _EVERY_EVENT | {"healthy_agent_ids", "unhealthy_agent_ids", "sla_min_healthy", "agent_config_id"},
}

DEFAULT_MESSAGES = {
    FLOW_RUN_STATE_CHANGED: (
        "Run {flow_run_name} of flow {flow_name} entered state {state} with message {state_message}. "
        "See {flow_run_link} for more details."
    ),
    FLOW_SLA_FAILED: (
        "Run {flow_run_name} ({flow_run_id}) of flow {flow_name} failed {kind} SLA ({flow_sla_config_id}) "
        "after {duration_seconds} seconds. See {flow_run_link} for more details."
    ),
    AGENT_SLA_FAILED: (
        "Agents sharing the config {agent_config_id} have failed the minimum healthy count of "
        "{sla_min_healthy}. The following agents are unhealthy: {agent_ids}"
    ),
}
"""What an event says by itself, by its name."""

DEFAULT_HEADERS = {"X-PREFECT-EVENT-ID": "{id}"}
"""Headers of a webhook that gives none."""


def attributes_of(event_name: str) -> frozenset[str]:
    """Attributes that events of this name carry, without aliases; empty for a name that is unknown."""
    return _ATTRIBUTES.get(event_name, frozenset())


def render_text(template: str, event: AutomationEvent) -> str:
    """``template`` with the event's attributes: null is empty, arrays join with ``, ``, times RFC 3339."""

    def fill(token: re.Match[str]) -> str:
        name = token.group(1)
        if name is None:
            return token.group()[0]
        place = _PLACE.get(name)
        return token.group() if place is None else _text(AutomationEvent._fields[place], event[place])

    return _TOKEN.sub(fill, template)


def render_payload(payload: Any, event: AutomationEvent) -> Any:
    """``payload`` with each string in it, keys included, rendered; its shape stays.

    A payload that is itself a string is parsed as JSON first; one that is no JSON is rendered as a text.
    """
    if isinstance(payload, str):
        try:
            payload = parse_payload(payload)
        except ValueError:
            return render_text(payload, event)
    return _render(payload, event)


def parse_payload(text: str) -> Any:
    """The JSON value in a payload given as a string. Raises ``ValueError`` saying where it is wrong."""
    return from_json(text, allow_inf_nan=False)


def default_payload(event: AutomationEvent) -> dict[str, Any]:
    """All of the event's attributes but its actions, nulls included, times RFC 3339; and ``event_type``."""
    payload: dict[str, Any] = event._asdict()
    del payload["actions"]
    for name in _TIMES:
        payload[name] = rfc3339(payload[name])
    payload["event_type"] = event.event_name
    return payload


def default_message(event: AutomationEvent) -> str:
    """The message of the event's own kind, rendered; its name alone for a kind that is unknown."""
    return render_text(DEFAULT_MESSAGES.get(event.event_name, "{event_name}"), event)


def names_in(template: Any) -> set[str]:
    """Names between braces in a text, or in all strings of a payload; aliases as written."""
    if isinstance(template, str):
        return {name for name in _TOKEN.findall(template) if name}
    return {name for text in _strings(template) for name in names_in(text)}


def unknown_names(names: set[str], event_name: str) -> list[str]:
    """What is wrong with each of ``names`` that events called ``event_name`` don't carry, in words."""
    attributes = attributes_of(event_name)
    known = attributes | {alias for alias, name in ALIASES.items() if name in attributes}
    return [
        f"{{{name}}} is no attribute of {event_name}{_hint(name, known)}" for name in sorted(names) if name not in known
    ]


def _hint(name: str, known: frozenset[str]) -> str:
    near = get_close_matches(name.strip().partition(".")[0], known, n=1, cutoff=0.7)
    if near:
        return f"; did you mean {{{near[0]}}}?"
    if not name.strip().isidentifier():
        return "; write {{ and }} for braces that are meant as such"
    return f"; it has {', '.join(sorted(known))}"


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in _TIMES:
        return rfc3339(value)
    return ", ".join(value) if isinstance(value, list) else str(value)


def _render(payload: Any, event: AutomationEvent) -> Any:
    if isinstance(payload, str):
        return render_text(payload, event)
    if isinstance(payload, list):
        return [_render(item, event) for item in payload]
    if isinstance(payload, dict):
        return {render_text(str(key), event): _render(value, event) for key, value in payload.items()}
    return payload


def _strings(payload: Any) -> Iterator[str]:
    if isinstance(payload, str):
        yield payload
    elif isinstance(payload, list):
        for item in payload:
            yield from _strings(item)
    elif isinstance(payload, dict):
        for key, value in payload.items():
            yield str(key)
            yield from _strings(value)


def payload_names(payload: Any) -> set[str]:
    """Names in a payload as it will be rendered: one given as a JSON string is parsed first."""
    if isinstance(payload, str):
        try:
            payload = parse_payload(payload)
        except ValueError:
            return names_in(payload)
    return names_in(payload)
