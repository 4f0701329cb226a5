"""Texts and payloads with ``{name}`` in them, filled from an event.

Law: one pass, names only. What is put in is never read again as a template; there is no attribute access,
index, call or format spec; a name that no event has stays as it is written. ``{{`` and ``}}`` are braces.
What comes out has a bound, and time and memory grow with the bound, not with what a template would make.
"""

import re
from collections.abc import Callable, Iterable, Iterator
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

MAX_RENDERED = 1024 * 1024
"""The most characters in a rendered text, and in all strings of a rendered payload together."""

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_TIMES = frozenset({"timestamp", "detected_at"})
_PLACE = {name: place for place, name in enumerate(AutomationEvent._fields) if name != "actions"}
_TIME_PLACES = frozenset(_PLACE[name] for name in _TIMES)
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


class TooLarge(ValueError):
    """A payload has more than ``MAX_RENDERED`` characters when it is rendered, or is nested too deeply for it."""


def render_text(
    template: str, event: AutomationEvent, most: int = MAX_RENDERED, escape: Callable[[str], str] | None = None
) -> str:
    """``template`` with the event's attributes: null is empty, arrays join with ``, ``, times RFC 3339.

    ``escape`` is over each text that an attribute holds, not over the template's own. The first ``most``
    characters (1 or more), the last of them ``…`` if there are more.
    """
    pieces: list[str] = []
    length = 0
    for piece in _pieces(template, event, escape):
        pieces.append(piece)
        length += len(piece)
        if length > most:
            return "".join(pieces)[: most - 1] + "…"
    return "".join(pieces)


def render_payload(payload: Any, event: AutomationEvent) -> Any:
    """``payload`` with each string in it, keys included, rendered; its shape stays.

    A payload that is itself a string is parsed as JSON first; one that is no JSON is rendered as a text. A key
    that becomes the same as another of its object gets ``_2``, ``_3`` … after it: no value is lost. Raises
    ``TooLarge``.
    """
    if isinstance(payload, str):
        try:
            payload = parse_payload(payload)
        except ValueError:
            return _Rendering(event).text(payload)
    try:
        return _Rendering(event).value(payload)
    except RecursionError:
        raise TooLarge("nested too deeply") from None


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


def _pieces(template: str, event: AutomationEvent, escape: Callable[[str], str] | None) -> Iterator[str]:
    """What a rendered text consists of, from left to right."""
    at = 0
    for token in _TOKEN.finditer(template):
        name = token.group(1)
        if name is not None and name not in _PLACE:
            continue
        start = token.start()
        if at < start:
            yield template[at:start]
        yield template[start] if name is None else _text(_PLACE[name], event, escape)
        at = token.end()
    yield template[at:]


def _text(place: int, event: AutomationEvent, escape: Callable[[str], str] | None) -> str:
    value = event[place]
    if isinstance(value, str):
        return escape(value) if escape else value
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(map(escape, value) if escape else value)
    return rfc3339(value) if place in _TIME_PLACES else str(value)


class _Rendering:
    """One payload being rendered: what is left of its characters goes down."""

    def __init__(self, event: AutomationEvent) -> None:
        self._event = event
        self._left = MAX_RENDERED

    def value(self, payload: Any) -> Any:
        if isinstance(payload, str):
            return self.text(payload)
        if isinstance(payload, list):
            return [self.value(item) for item in payload]
        if isinstance(payload, dict):
            names = _told_apart([self.text(str(key)) for key in payload], payload)
            return {name: self.value(value) for name, value in zip(names, payload.values(), strict=True)}
        return payload

    def text(self, template: str) -> str:
        if "{" not in template and "}" not in template:
            self._spend(template)
            return template
        pieces = []
        for piece in _pieces(template, self._event, None):
            self._spend(piece)
            pieces.append(piece)
        return "".join(pieces)

    def _spend(self, piece: str) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise TooLarge(f"more than {MAX_RENDERED} characters")


def _told_apart(names: list[str], keys: Iterable[str]) -> list[str]:
    """The rendered names of ``keys``, each unlike the others. Those that hold no attribute come first to theirs."""
    if len(set(names)) == len(names):
        return names
    holding = [not names_in(str(key)).isdisjoint(_PLACE) for key in keys]
    taken: set[str] = set()
    next_number: dict[str, int] = {}
    for place in sorted(range(len(names)), key=holding.__getitem__):
        name = names[place]
        while names[place] in taken:
            # Counting on from where the name was left: from 2 each time, equal keys would take hours.
            number = next_number.get(name, 2)
            next_number[name] = number + 1
            names[place] = f"{name}_{number}"
        taken.add(names[place])
    return names


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
