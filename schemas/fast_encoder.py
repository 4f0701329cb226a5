"""An encoder for one layout, generated as Python source: faster than walking the schema.

Law: whatever a generated encoder returns, fastavro writes too, byte for byte; when it raises, it says nothing
about why. So callers ask fastavro after a raise: only odd values pay for that.
"""

from collections.abc import Callable
from typing import Any

from schemas.avro_schemas import Schema
from schemas.limits import INT, MAX_INT, TEXTS, TIME, holds

ENCODE_ERRORS = (AttributeError, TypeError, ValueError)
"""What a generated encoder raises for values that it doesn't take."""

Encoder = Callable[[bytes, Any], bytes]


def number(value: int) -> bytes:
    """Zigzag varint of ``value``; ``ValueError`` over 64 bits, ``TypeError`` for what is not just an ``int``."""
    if type(value) is not int:
        raise TypeError
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("a number is longer than 64 bits")
    rest = (value << 1) ^ (value >> 63)
    out = bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


SMALL = tuple(number(value) for value in range(1024))
"""Lengths, attempts and statuses are nearly always among these."""


def _int(value: int) -> bytes:
    if not -MAX_INT - 1 <= value <= MAX_INT:
        raise ValueError("a number is longer than 32 bits")
    return number(value)


def _texts(values: list[str]) -> bytes:
    if type(values) is not list:
        raise TypeError
    if not values:
        return b"\0"
    pieces = [number(len(values))]
    for value in values:
        text = value.encode()
        pieces += (number(len(text)), text)
    pieces.append(b"\0")
    return b"".join(pieces)


def generate(schema: Schema) -> Encoder:
    """Encoder of records of ``schema``: the given header, then the fields; the limits are not looked at.

    It raises one of ``ENCODE_ERRORS`` for a record that has anything else in it than its types say.
    """
    places = range(len(schema["fields"]))
    source = ["def encode(header, record):", f" {', '.join(f'f{place}' for place in places)}, = record"]
    pieces = ["header"]
    for place, field in enumerate(schema["fields"]):
        variable, optional = f"f{place}", isinstance(field["type"], list)
        lines, written = _write(variable, holds(field), optional)
        if optional:
            lines = [f" if {variable} is None: {variable} = b'\\0'", " else:", *[" " + line for line in lines]]
            lines.append(f"  {variable} = {' + '.join(written)}")
            written = [variable]
        source += lines
        pieces += written
    source.append(f" return join(({', '.join(pieces)},))")
    names = {
        "number": number, "integer": _int, "texts": _texts, "small": SMALL, "join": b"".join, "whole": bytes,
    }  # fmt: skip
    exec(compile("\n".join(source), f"<encoder of {schema['name']}>", "exec"), names)  # noqa: S102 - our own schema
    encode: Encoder = names["encode"]  # type: ignore[assignment]
    return encode


def _write(variable: str, kind: str, optional: bool) -> tuple[list[str], list[str]]:
    """Lines that prepare a field, and the expressions of the bytes that it then consists of."""
    branch = ["b'\\2'"] if optional else []
    if kind == TEXTS:
        return [f" {variable} = texts({variable})"], [*branch, variable]
    if kind == INT:
        small = f"small[{variable}] if type({variable}) is int and 0 <= {variable} < {len(SMALL)}"
        return [f" {variable} = {small} else integer({variable})"], [*branch, variable]
    if kind == TIME:
        # Times from 1987 to 2527 take six bytes: worth their own line, which skips a call and its loop.
        return [
            f" if {1 << 34} <= {variable} < {1 << 41}:",
            f"  n = {variable} << 1",
            f"  {variable} = whole((n & 127 | 128, n >> 7 & 127 | 128, n >> 14 & 127 | 128,"
            " n >> 21 & 127 | 128, n >> 28 & 127 | 128, n >> 35))",
            f" else: {variable} = number({variable})",
        ], [*branch, variable]
    size = f"n{variable[1:]}"
    return [
        f" {variable} = {variable}.encode(); {size} = len({variable})",
        f" {size} = small[{size}] if {size} < {len(SMALL)} else number({size})",
    ], [*branch, size, variable]
