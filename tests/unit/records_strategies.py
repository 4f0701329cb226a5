"""Hypothesis strategies for the records on the topics, made from their schemas."""

from typing import Any

from hypothesis import strategies as st

from schemas.avro_schemas import RecordKind, load_schema
from schemas.limits import ID, INT, LOWEST_INT, MAX_INT, MAX_TIME_MS, TEXTS, TIME, holds

texts = st.text(st.characters(codec="utf-8"), max_size=100)


def records(kind: RecordKind) -> st.SearchStrategy[Any]:
    """Records of ``kind`` that are within the limits."""
    schema = load_schema(kind.name)
    fields = {field["name"]: _values(schema["name"], field) for field in schema["fields"]}
    return st.builds(kind.record, **fields)


def _values(record: str, field: dict[str, Any]) -> st.SearchStrategy[Any]:
    values = _required(record, field["name"], holds(field))
    return st.none() | values if isinstance(field["type"], list) else values


def _required(record: str, name: str, kind: str) -> st.SearchStrategy[Any]:
    if kind == TIME:
        return st.integers(0, MAX_TIME_MS) | st.integers(1_600_000_000_000, 1_900_000_000_000)
    if kind == INT:
        return st.integers(LOWEST_INT.get(name, -MAX_INT - 1), MAX_INT) | st.integers(1, 200)
    if kind == TEXTS:
        return st.lists(texts, max_size=5)
    if (record, name) == ("AgentHeartbeat", "status"):
        return st.sampled_from(["ACTIVE", "STOPPED"])
    if kind == ID or name in ("state", "status"):
        return st.text(st.characters(codec="utf-8"), min_size=1, max_size=256)
    return texts
