"""A decoder for one layout, generated as Python source: several times as fast as walking the schema.

Law: whatever a generated decoder returns, the schema-walking reader returns too; when it raises, it says
nothing about why. So callers ask ``schemas.body`` after a raise: only broken records pay for a diagnosis.
"""

from collections.abc import Callable
from typing import Any

from schemas.avro_schemas import Schema
from schemas.limits import (
    CHOICES,
    ID,
    INT,
    LOWEST_INT,
    MAX_ID_CHARS,
    MAX_INT,
    MAX_TEXT_CHARS,
    MAX_TIME_MS,
    MAX_VALUE_BYTES,
    TEXTS,
    TIME,
    holds,
    is_short_text,
)

HEADER_BYTES = 5
"""Magic byte and schema id before each body."""

DECODE_ERRORS = (IndexError, ValueError)
"""What a generated decoder raises for bytes that it doesn't take."""


def number(data: bytes, at: int) -> tuple[int, int]:
    """Zigzag varint at ``at``, and its end; ``IndexError`` past the data, ``ValueError`` over 64 bits."""
    byte = data[at]
    at += 1
    value = byte & 0x7F
    shift = 7
    while byte & 0x80:
        if shift > 63:
            # Read on, a mebibyte of 0xff would take minutes.
            raise ValueError("a number is longer than 64 bits")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
    if value >> 64:
        raise ValueError("a number is longer than 64 bits")
    return (value >> 1) ^ -(value & 1), at


def _length(data: bytes, at: int) -> tuple[int, int]:
    size, at = number(data, at)
    if size < 0:
        raise ValueError
    return size, at


def _id_length(data: bytes, at: int) -> tuple[int, int]:
    size, at = number(data, at)
    if not 0 < size <= MAX_ID_CHARS:
        raise ValueError
    return size, at


def _texts(data: bytes, at: int) -> tuple[list[str], int]:
    texts: list[str] = []
    while True:
        count, at = number(data, at)
        if count == 0:
            return texts, at
        if count < 0:
            count = -count
            _, at = number(data, at)
        for _ in range(count):
            size, at = _length(data, at)
            data[at]
            texts.append(str(data[at : at + size], "utf-8"))
            at += size


def generate(schema: Schema, record: type[Any]) -> Callable[[bytes], Any]:
    """Decoder of whole values (header skipped, unchecked) of ``schema`` into ``record``, limits applied.

    It raises one of ``DECODE_ERRORS`` for anything else than one good record of at most ``MAX_VALUE_BYTES``.
    """
    source = ["def decode(b):", " i = 5"]
    checks = [f"i != len(b) or i > {MAX_VALUE_BYTES}"]
    for place, field in enumerate(schema["fields"]):
        variable = f"f{place}"
        kind = holds(field)
        read = _read(variable, kind)
        check = _check(schema["name"], field["name"], variable, kind)
        if isinstance(field["type"], list):
            source += [" n = b[i]; i += 1", " if n == 2:", *_indented(read)]
            source += [f"  if {check}: raise ValueError"] if check else []
            source += [" elif n: raise ValueError", f" else: {variable} = None"]
        else:
            source += read
            checks += [check] if check else []
    source.append(f" if {' or '.join(checks)}: raise ValueError")
    source.append(f" return new(record, ({', '.join(f'f{place}' for place in range(len(schema['fields'])))},))")
    names = {
        "number": number, "length": _length, "id_length": _id_length, "texts": _texts,
        "new": tuple.__new__, "record": record,
    }  # fmt: skip
    exec(compile("\n".join(source), f"<decoder of {schema['name']}>", "exec"), names)  # noqa: S102 - our own schema
    decode: Callable[[bytes], Any] = names["decode"]  # type: ignore[assignment]
    return decode


def _indented(lines: list[str]) -> list[str]:
    return [" " + line for line in lines]


def _read(variable: str, kind: str) -> list[str]:
    if kind == TEXTS:
        return [f" {variable}, i = texts(b, i)"]
    if kind == TIME:
        # Times from 1987 to 2527 take six bytes: worth their own line, which skips a call and its loop.
        return [
            " n = b[i]",
            " if n & 129 == 128 and b[i+1] > 127 < b[i+2] and b[i+3] > 127 < b[i+4] and b[i+5] < 128:",
            f"  {variable} = (n & 127 | (b[i+1] & 127) << 7 | (b[i+2] & 127) << 14 | (b[i+3] & 127) << 21"
            " | (b[i+4] & 127) << 28 | b[i+5] << 35) >> 1; i += 6",
            f" else: {variable}, i = number(b, i)",
        ]
    if kind == INT:
        return [
            " n = b[i]; i += 1",
            f" if n > 127: {variable}, i = number(b, i - 1)",
            f" else: {variable} = (n >> 1) ^ -(n & 1)",
        ]
    if kind == ID:
        longer = [" if n & 129: n, i = id_length(b, i - 1)"]
    else:
        # Messages and links need two bytes: worth their own line too.
        longer = [
            " if n & 129:",
            "  if n & 1 or b[i] > 127: n, i = length(b, i - 1)",
            "  else: n = (n & 127 | b[i] << 7) >> 1; i += 1",
        ]
    # One test finds both long (bit 7) and negative (bit 0) lengths.
    return [
        " n = b[i]; i += 1",
        *longer,
        " else: n >>= 1",
        f" j = i + n; {variable} = b[i:j].decode(); i = j",
    ]


def _check(record: str, name: str, variable: str, kind: str) -> str | None:
    if kind == TIME:
        return f"not 0 <= {variable} <= {MAX_TIME_MS}"
    if kind == INT:
        return f"not {LOWEST_INT.get(name, -MAX_INT - 1)} <= {variable} <= {MAX_INT}"
    choices = CHOICES.get((record, name))
    if choices:
        return f"{variable} not in {choices!r}"
    checks = [f"not {variable}"] if kind == ID or name in ("state", "status") else []
    if is_short_text(record, name, kind):
        # The value's own length, asked first, spares the text's where it is short anyway.
        checks.append(f"len(b) > {MAX_TEXT_CHARS} and {variable} is not None and len({variable}) > {MAX_TEXT_CHARS}")
    return " or ".join(checks) or None
