"""Records are written by generated code, byte for byte as fastavro writes them."""

import io
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import fast_encoder
from schemas.avro_schemas import ACTION_RESULT, AUTOMATION_EVENT, RECORD_KINDS, RecordKind, load_schema, plain
from schemas.codec import Codec
from schemas.limits import INT, TEXTS, TIME, holds
from tests.unit.records_strategies import records

HEADER = b"\0\0\0\0\7"
ENCODERS = {kind.name: fast_encoder.generate(load_schema(kind.name)) for kind in RECORD_KINDS}
READERS: dict[str, Any] = {kind.name: fastavro.parse_schema(plain(load_schema(kind.name))) for kind in RECORD_KINDS}

# Texts around the lengths where a length takes one byte more, in characters of one to four bytes.
texts = st.text(st.characters(codec="utf-8"), max_size=70) | st.builds(
    lambda piece, count: piece * count,
    st.sampled_from("aé€😀"),
    st.sampled_from([31, 63, 64, 255, 1_023, 1_024, 8_192]),
)
numbers = {
    INT: st.integers(-(2**31), 2**31 - 1) | st.integers(-130, 1_100),
    TIME: st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**34 - 1, 2**34, 2**41 - 1, 2**41, 0, -1]),
}


def values(field: dict[str, Any]) -> st.SearchStrategy[Any]:
    """All values of the field's type, beyond our own limits too."""
    kind = holds(field)
    required = numbers[kind] if kind in numbers else st.lists(texts, max_size=3) if kind == TEXTS else texts
    return st.none() | required if isinstance(field["type"], list) else required


def any_record(kind: RecordKind) -> st.SearchStrategy[Any]:
    return st.builds(kind.record, **{field["name"]: values(field) for field in load_schema(kind.name)["fields"]})


def by_fastavro(record: Any) -> bytes:
    out = io.BytesIO(HEADER)
    out.seek(len(HEADER))
    fastavro.schemaless_writer(out, READERS[type(record).__name__], record._asdict())
    return out.getvalue()


@pytest.mark.parametrize("kind", RECORD_KINDS, ids=lambda kind: kind.name)
@given(st.data())
def test_the_generated_encoder_writes_what_fastavro_writes(kind: RecordKind, data: st.DataObject) -> None:
    record = data.draw(any_record(kind) | records(kind))
    assert ENCODERS[kind.name](HEADER, record) == by_fastavro(record)


RESULT = ACTION_RESULT.record("d", "e", "a", "WebhookAction", "au", "t", "succeeded", 1, None, 200, 0, 9)
EVENT = AUTOMATION_EVENT.record(*["x"] * 5, 0, *["x"] * 2, *[None] * 16, 0, "[]")
ODD: list[Any] = [
    None, True, 1.5, "7", b"bytes", "\ud800", "", 2**31, -(2**31) - 1, 2**63, [], ["x"], ["\ud800"], [1], ("x",), {},
]  # fmt: skip


def said(record: Any, codec: Codec) -> bytes | type[Exception]:
    """What the codec makes of ``record`` after its header."""
    try:
        encoded = codec.encode_result(record) if type(record) is ACTION_RESULT.record else codec.encode_event(record)
    except Exception as error:
        return type(error)
    return encoded[5:]


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("record", [RESULT, EVENT], ids=lambda record: type(record).__name__)
def test_what_a_field_may_not_hold_comes_to_what_fastavro_says(record: Any, odd: Any) -> None:
    codec = Codec()
    for name in record._fields:
        changed = record._replace(**{name: odd})
        try:
            expected: bytes | type[Exception] = by_fastavro(changed)[len(HEADER) :]
        except Exception as error:
            expected = type(error)
        assert said(changed, codec) == expected, name
