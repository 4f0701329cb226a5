"""A delivery: one action of one event, through all its attempts. And how a record becomes deliveries."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from actions.order import Order, told_order
from schemas.delivery_headers import DeliveryHeaders
from schemas.ids import delivery_id
from schemas.limits import MAX_ID_CHARS
from schemas.records import AutomationEvent

SHORT = 4_096
"""Texts up to this size (characters) are worth remembering what they say."""


class Action(NamedTuple):
    """An action as its event carries it. The last three are its own limits, ``None`` = the settings' ones."""

    id: str
    action_type: str
    config: Mapping[str, Any]
    max_attempts: int | None = None
    max_age_ms: int | None = None
    timeout_ms: int | None = None


class Source(NamedTuple):
    """The record that a delivery came in: where it lies, and its bytes, which later records of it repeat.

    ``topic`` is named without prefix. ``generation`` tells assignments of one partition apart. ``log_ms`` is
    the record's append time.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    log_ms: int = 0
    generation: int = 0


class Delivery(NamedTuple):
    """One action of one event, about to be tried for the ``attempt``-th time (from 1).

    ``place`` is its number among the deliveries of its source, of which it has been tried ``tries`` times.
    ``recipients_left`` and ``redriven_at_ms`` are those of its headers, ``http_status`` is what the last attempt
    was answered. A ``test`` is sent once, whatever comes of it. ``order`` is its place in its lane, if it was put off
    and never tried.
    """

    id: str
    event: AutomationEvent
    action: Action
    source: Source
    place: int = 0
    attempt: int = 1
    recipients_left: tuple[int, ...] | None = None
    redriven_at_ms: int | None = None
    test: bool = False
    tries: int = 0
    http_status: int | None = None
    order: Order | None = None

    @property
    def asked_at_ms(self) -> int:
        """When it was decided that this is to be delivered: its age counts from then."""
        return max(self.event.detected_at, self.redriven_at_ms or 0)


class Unreadable(NamedTuple):
    """Why a record's deliveries can't be read."""

    reason: str
    detail: str


def deliveries(event: AutomationEvent, source: Source, *, test: bool = False) -> list[Delivery] | Unreadable:
    """The deliveries of an event, in the automation's order; an action that is listed twice is one."""
    listed = _listed(event.actions)
    if isinstance(listed, Unreadable):
        return listed
    return [
        Delivery(delivery_id(event.id, action.id), event, action, source, place=place, test=test)
        for place, action in enumerate(listed)
    ]


def _listed(actions: str) -> tuple[Action, ...] | Unreadable:
    """The actions that an event carries, each once."""
    return _remembered(actions) if len(actions) <= SHORT else _parsed(actions)


# Events of one automation carry the same text.
@lru_cache(maxsize=512)
def _remembered(actions: str) -> tuple[Action, ...] | Unreadable:
    return _parsed(actions)


def _parsed(actions: str) -> tuple[Action, ...] | Unreadable:
    try:
        listed = json.loads(actions)
    except (ValueError, RecursionError):
        return Unreadable("impossible_field", "actions is no JSON")
    if not isinstance(listed, list):
        return Unreadable("impossible_field", "actions is no JSON array")
    found: dict[str, Action] = {}
    for number, entry in enumerate(listed):
        action = _action(entry)
        if action is None:
            return Unreadable("impossible_field", f"actions[{number}] has no id, action_type or config")
        found.setdefault(action.id, action)
    return tuple(found.values())


def retried(event: AutomationEvent, headers: DeliveryHeaders | None, source: Source) -> Delivery | Unreadable:
    """The one delivery that a retry record is about, as its headers say."""
    if headers is None:
        return Unreadable("impossible_field", "the headers are not those of a delivery")
    found = deliveries(event, source)
    if isinstance(found, Unreadable):
        return found
    for delivery in found:
        if delivery.action.id == headers.action_id:
            return delivery._replace(
                place=0,
                attempt=headers.attempt + 1,
                recipients_left=headers.recipients_left,
                redriven_at_ms=headers.redriven_at_ms,
                http_status=headers.http_status,
                order=told_order(headers.order, source.log_ms),
            )
    return Unreadable("impossible_field", "the event has no action with the header's action-id")


def subject(event: AutomationEvent) -> str:
    """What the event is about: deliveries of one subject to one destination keep their order."""
    return f"{event.tenant_id}/{event.flow_run_id or event.agent_config_id or event.id}"


def _action(entry: Any) -> Action | None:
    if not isinstance(entry, dict):
        return None
    action_id, action_type, config = entry.get("id"), entry.get("action_type"), entry.get("config")
    if not (isinstance(action_id, str) and action_id and isinstance(action_type, str)):
        return None
    if not (_encodable(action_id) and _encodable(action_type)) or len(action_id) > MAX_ID_CHARS:
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


def _encodable(text: str) -> bool:
    """Whether it can be written: half of a surrogate pair, which JSON can hold, has no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _thousandfold(value: int | None) -> int | None:
    return None if value is None else value * 1000
