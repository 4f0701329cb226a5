"""Control records on their topic: bytes to models and back, and whether automations and actions go together.

Reading never raises: a record is a model, a ``Tombstone``, or ``InvalidControl`` with words for a person.
"""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from schemas.action_configs import CONFIGS
from schemas.control_models import (
    CONDITION_FIELDS,
    MODELS,
    Action,
    AgentConfig,
    Automation,
    ControlRecord,
    Delivery,
    FlowSLAConfig,
)
from schemas.problems import nearest, sentence
from schemas.records import AGENT_SLA_FAILED
from schemas.templates import payload_names, unknown_names

__all__ = [
    "Action", "AgentConfig", "Automation", "ControlRecord", "Delivery", "FlowSLAConfig", "InvalidControl",
    "Tombstone", "check_pairing", "parse_control", "to_json",
]  # fmt: skip


MAX_ACTION_BYTES = 64 * 1024
"""An event carries its automation's actions, and has to fit in a record."""


class Tombstone(NamedTuple):
    """The record of this kind and id is deleted."""

    kind: str
    id: str

    @property
    def key(self) -> str:
        """Key of the record on the topic."""
        return f"{self.kind}:{self.id}"


class InvalidControl(NamedTuple):
    """A record that is skipped: its key as text, and what is wrong with it."""

    key: str
    problem: str

    @property
    def message(self) -> str:
        """One line for a person: which record, which field, what is wrong, what to do."""
        return f"control record {self.key or '(no key)'}: {self.problem}"


def parse_control(key: str | bytes | None, value: bytes | None) -> ControlRecord | Tombstone | InvalidControl:
    """The control record of a key and value as they lie on the topic."""
    if key is None:
        return InvalidControl("", "has no key: write it under <kind>:<id>")
    text = key.decode("utf-8", "replace") if isinstance(key, bytes) else key
    kind, colon, record_id = text.partition(":")
    if not colon or not record_id:
        return InvalidControl(text, "the key must be <kind>:<id>, as in automation:0b9c")
    model = MODELS.get(kind)
    if model is None:
        return InvalidControl(text, f"{kind or 'nothing'} is no known kind; {nearest(kind, MODELS)}")
    if value is None:
        return Tombstone(kind, record_id)
    if kind == "action" and len(value) > MAX_ACTION_BYTES:
        return InvalidControl(text, f"is larger than {MAX_ACTION_BYTES} bytes: shorten its texts")
    try:
        fields = from_json(value, allow_inf_nan=False)
    except ValueError as error:
        return InvalidControl(text, f"the value must be JSON: {error}")
    if not isinstance(fields, dict):
        return InvalidControl(text, "the value must be a JSON object")
    try:
        record = model.model_validate(fields)
    except ValidationError as error:
        return InvalidControl(text, sentence(error))
    if record.id != record_id:
        return InvalidControl(text, f"id: must equal the key's, but is {record.id}: write it under {record.key}")
    return record


def to_json(record: ControlRecord) -> bytes:
    """``record`` as its topic has it: one form for equal records, times RFC 3339.

    An automation has only its own condition's fields; what is ``None`` and may be absent is left out.
    """
    fields = record.model_dump(mode="json")
    if isinstance(record, Automation):
        own = CONDITION_FIELDS[record.event_type]
        for names in CONDITION_FIELDS.values():
            for name in names:
                if name not in own:
                    del fields[name]
    elif isinstance(record, Action) and record.delivery is not None:
        fields["delivery"] = record.delivery.model_dump(mode="json", exclude_none=True)
    for name in ("created", "updated", "delivery"):
        if name in fields and fields[name] is None:
            del fields[name]
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def check_pairing(automation: Automation, actions: Iterable[Action]) -> list[str]:
    """Why those of ``actions`` that the automation names don't fit its events; empty if they do.

    Actions that it names but that aren't given are no problem here.
    """
    problems: list[str] = []
    for action in actions:
        if action.id in automation.action_ids:
            problems += [f"action {action.name}: {problem}" for problem in _misfits(automation, action)]
    return problems


def _misfits(automation: Automation, action: Action) -> list[str]:
    event = automation.event_type
    if action.tenant_id != automation.tenant_id:
        return ["it belongs to another tenant than the automation: use an action of the same tenant"]
    if event == AGENT_SLA_FAILED and action.action_type == "CancelFlowRunAction":
        return [f"CancelFlowRunAction needs an event of a run, which {event} is not: choose another action"]
    if (
        event == AGENT_SLA_FAILED
        and action.action_type == "PauseScheduleAction"
        and action.config.get("flow_group_id") is None
    ):
        return [f"PauseScheduleAction needs a flow_group_id in its config, as {event} has none"]
    return [
        f"config.{name}: {problem}"
        for name in CONFIGS[action.action_type].TEMPLATES
        for problem in _template_problems(action.config.get(name), event)
    ]


def _template_problems(template: Any, event: str) -> list[str]:
    return unknown_names(payload_names(template), event)
