"""A delivery: one action of one event, through all its attempts. And how an event becomes deliveries."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.ids import delivery_id
from schemas.records import AutomationEvent


class Action(NamedTuple):
    """An action as its event carries it. The last three are its own limits, ``None`` = the settings' ones."""

    id: str
    action_type: str
    config: Mapping[str, Any]
    max_attempts: int | None = None
    max_age_ms: int | None = None
    timeout_ms: int | None = None


class Source(NamedTuple):
    """The record that an event came in: where it lies, and its bytes, which a dead letter repeats.

    ``generation`` tells assignments of one partition apart.
    """

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    generation: int = 0


class Delivery(NamedTuple):
    """One action of one event, about to be tried for the ``attempt``-th time (from 1)."""

    id: str
    event: AutomationEvent
    action: Action
    source: Source
    attempt: int = 1


class Unreadable(NamedTuple):
    """Why an event's ``actions`` can't be read."""

    reason: str
    detail: str


def deliveries(event: AutomationEvent, source: Source) -> list[Delivery] | Unreadable:
    """The deliveries of an event, in the automation's order; an action that is listed twice is one."""
    try:
        listed = json.loads(event.actions)
    except (ValueError, RecursionError):
        return Unreadable("impossible_field", "actions is no JSON")
    if not isinstance(listed, list):
        return Unreadable("impossible_field", "actions is no JSON array")
    found: dict[str, Delivery] = {}
    for place, entry in enumerate(listed):
        action = _action(entry)
        if action is None:
            return Unreadable("impossible_field", f"actions[{place}] has no id, action_type or config")
        found.setdefault(action.id, Delivery(delivery_id(event.id, action.id), event, action, source))
    return list(found.values())


def subject(event: AutomationEvent) -> str:
    """What the event is about: deliveries of one subject to one destination keep their order."""
    return f"{event.tenant_id}/{event.flow_run_id or event.agent_config_id or event.id}"


def _action(entry: Any) -> Action | None:
    if not isinstance(entry, dict):
        return None
    action_id, action_type, config = entry.get("id"), entry.get("action_type"), entry.get("config")
    if not (isinstance(action_id, str) and action_id and isinstance(action_type, str)):
        return None
    if not isinstance(config, dict):
        return None
    policy = entry.get("delivery")
    if not isinstance(policy, dict):
        policy = {}
    return Action(
        action_id,
        action_type,
        config,
        _positive(policy.get("max_attempts")),
        _thousandfold(_positive(policy.get("max_age_seconds"))),
        _thousandfold(_positive(policy.get("timeout_seconds"))),
    )


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _thousandfold(value: int | None) -> int | None:
    return None if value is None else value * 1000
