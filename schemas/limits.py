"""What the fields of a readable record may hold; a record beyond that is ``impossible_field``.

Strings named ``id`` or ``…_id`` that can't be null are 1 to 256 characters; names, slugs and states of inputs
at most 4096; times lie in the years 1970 to 9999; Avro ints fit in 32 bits; ``version`` is at least 1,
``attempt`` at least 0, ``state`` and ``status`` not empty, and ``status`` of a heartbeat one of two.
"""

from typing import Any

from schemas.avro_schemas import Schema
from schemas.records import ACTIVE, STOPPED

MAX_VALUE_BYTES = 1024 * 1024
MAX_ID_CHARS = 256
MAX_TEXT_CHARS = 4_096
"""Of an input's names and slugs, which an event repeats in its links and message: it has to fit in a record."""
MAX_TIME_MS = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z, the last instant that RFC 3339 can write."""
MAX_INT = 2**31 - 1

LOWEST_INT = {"version": 1, "attempt": 0}
"""Least value of the ints that have one."""

CHOICES = {("AgentHeartbeat", "status"): (ACTIVE, STOPPED)}
"""Fields of which only some values mean something."""

ID, TEXT, INT, TIME, TEXTS = "id", "text", "int", "time", "texts"
"""What a field holds, as its limits see it."""


def bare_type(avro_type: Any) -> Any:
    """``avro_type`` without its null branch."""
    return avro_type[1] if isinstance(avro_type, list) else avro_type


def holds(field: dict[str, Any]) -> str:
    """Which of ``ID TEXT INT TIME TEXTS`` the field of one of our schemas is."""
    bare = bare_type(field["type"])
    if isinstance(bare, dict):
        return TIME if bare["type"] == "long" else TEXTS
    if bare == "int":
        return INT
    required = not isinstance(field["type"], list)
    name: str = field["name"]
    return ID if required and (name == "id" or name.endswith("_id")) else TEXT


def is_short_text(record: str, name: str, kind: str) -> bool:
    """Whether a field holds a text that may have `MAX_TEXT_CHARS` at most."""
    return kind == TEXT and record in ("FlowRunState", "AgentHeartbeat") and name != "state_message"


def problem(schema: Schema, values: dict[str, Any]) -> str | None:
    """What is impossible in ``values``, read by our own ``schema``, or ``None``; never the field's text."""
    for field in schema["fields"]:
        name = field["name"]
        value = values[name]
        if value is None:
            continue
        wrong = _wrong(schema["name"], name, holds(field), value)
        if wrong:
            return f"{name} {wrong}"
    return None


def _wrong(record: str, name: str, kind: str, value: Any) -> str | None:
    if kind == TIME:
        return None if 0 <= value <= MAX_TIME_MS else "is outside the years 1970 to 9999 (milliseconds since 1970)"
    if kind == INT:
        least = LOWEST_INT.get(name, -MAX_INT - 1)
        return None if least <= value <= MAX_INT else f"must be from {least} to {MAX_INT}"
    if kind == ID and len(value) > MAX_ID_CHARS:
        return f"is longer than {MAX_ID_CHARS} characters"
    if is_short_text(record, name, kind) and len(value) > MAX_TEXT_CHARS:
        return f"is longer than {MAX_TEXT_CHARS} characters"
    if (kind == ID or name in ("state", "status")) and not value:
        return "is empty"
    choices = CHOICES.get((record, name))
    return f"must be {' or '.join(choices)}" if choices and value not in choices else None
