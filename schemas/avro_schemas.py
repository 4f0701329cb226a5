"""The Avro schemas of the records on the topics, from ``schemas/avro/*.avsc``."""

import json
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from schemas.records import ActionResult, AgentHeartbeat, AutomationEvent, FlowRunState

Schema = dict[str, Any]
"""A parsed Avro record schema, as JSON has it."""


class RecordKind(NamedTuple):
    """What ties a record class to the wire: its id without a registry, and the topic that it is known by."""

    record: type[Any]
    fixed_id: int
    topic: str

    @property
    def name(self) -> str:
        """Name of the Avro record, which is the class's."""
        return self.record.__name__


FLOW_RUN_STATE = RecordKind(FlowRunState, 1, "flow-run-state")
AGENT_HEARTBEAT = RecordKind(AgentHeartbeat, 2, "agent-heartbeat")
AUTOMATION_EVENT = RecordKind(AutomationEvent, 3, "automation-events")
ACTION_RESULT = RecordKind(ActionResult, 4, "action-results")

RECORD_KINDS = (FLOW_RUN_STATE, AGENT_HEARTBEAT, AUTOMATION_EVENT, ACTION_RESULT)


@cache
def schema_text(name: str) -> str:
    """Text of the schema file of the record ``name``."""
    return resources.files("schemas").joinpath("avro", f"{name}.avsc").read_text("utf-8")


def load_schema(name: str) -> Schema:
    """The schema of the record ``name``, logical types included; a new object each time."""
    schema: Schema = json.loads(schema_text(name))
    return schema


def plain(schema: Any) -> Any:
    """``schema`` without logical types: times are read and written as plain integers."""
    if isinstance(schema, list):
        return [plain(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: plain(value) if key in _NESTED else value for key, value in schema.items()}
    for key in ("logicalType", "precision", "scale"):
        kept.pop(key, None)
    return kept


_NESTED = frozenset({"type", "fields", "items", "values"})


def layout(schema: Any) -> Any:
    """What decides how ``schema`` lies on the wire: names, order and types, not docs or defaults."""
    if isinstance(schema, list):
        return [layout(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind == "record":
        fields = [(field["name"], layout(field["type"])) for field in schema["fields"]]
        return ("record", schema["name"].rpartition(".")[2], fields)
    if kind == "array":
        return ("array", layout(schema["items"]))
    if set(schema) <= {"type", "logicalType", "precision", "scale"} and isinstance(kind, str):
        return kind
    # Maps, enums, fixed, named types: never part of our own layouts, so any distinct value will do.
    return ("other", repr(schema))
