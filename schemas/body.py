"""Reads the body of a record by walking our own schema, and says what is wrong with one that can't be read.

The slow twin of ``schemas.fast_decoder``: asked only about what that one refused.
"""

from typing import Any, NamedTuple

from schemas.avro_schemas import Schema
from schemas.fast_decoder import HEADER_BYTES, number
from schemas.limits import problem


class Rejected(NamedTuple):
    """A record that can't be read, as a value.

    ``reason`` is one of ``bad_magic unknown_schema truncated trailing_bytes null_value impossible_field
    too_large``; ``detail`` says in words what and where, never the record's own text.
    """

    reason: str
    detail: str


class _Impossible(ValueError):
    """A field can't hold what the bytes say."""


def read(schema: Schema, value: bytes) -> dict[str, Any] | Rejected:
    """The fields of ``value`` (header skipped, unchecked) within their limits, or why there are none."""
    values: dict[str, Any] = {}
    at = HEADER_BYTES
    for field in schema["fields"]:
        name = field["name"]
        try:
            values[name], at = _read(field["type"], value, at)
        except IndexError:
            return Rejected("truncated", f"the value ends after {len(value)} bytes, within {name}")
        except UnicodeDecodeError:
            return Rejected("impossible_field", f"{name} is not valid UTF-8")
        except ValueError as error:
            return Rejected("impossible_field", f"{name}: {error}")
    if at < len(value):
        extra = len(value) - at
        return Rejected("trailing_bytes", f"{extra} bytes follow the last field of {schema['name']}")
    wrong = problem(schema, values)
    return Rejected("impossible_field", wrong) if wrong else values


def _read(avro_type: Any, data: bytes, at: int) -> tuple[Any, int]:
    if isinstance(avro_type, list):
        branch, at = number(data, at)
        if not 0 <= branch < len(avro_type):
            raise _Impossible(f"there is no branch {branch} of its union")
        return _read(avro_type[branch], data, at)
    if isinstance(avro_type, dict):
        if avro_type["type"] == "array":
            return _array(avro_type["items"], data, at)
        avro_type = avro_type["type"]
    if avro_type == "null":
        return None, at
    if avro_type == "string":
        return _string(data, at)
    return number(data, at)


def _string(data: bytes, at: int) -> tuple[str, int]:
    size, at = number(data, at)
    if size < 0:
        raise _Impossible("its length is negative")
    if at + size > len(data):
        raise IndexError
    return str(data[at : at + size], "utf-8"), at + size


def _array(items: Any, data: bytes, at: int) -> tuple[list[Any], int]:
    values: list[Any] = []
    while True:
        count, at = number(data, at)
        if count == 0:
            return values, at
        if count < 0:
            count = -count
            _, at = number(data, at)
        for _ in range(count):
            value, at = _read(items, data, at)
            values.append(value)
