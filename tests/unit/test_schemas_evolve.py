"""No schema breaks compatibility: each version ever published reads the others' records, both ways."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.avro_schemas import RECORD_KINDS, RecordKind, Schema, load_schema, plain
from schemas.codec import Codec, Rejected
from tests.unit.records_strategies import records
from tests.unit.test_codec import DECODE, Registry, encoded

FROZEN = Path(__file__).parent / "frozen"
VERSIONS = sorted(FROZEN.glob("*/*.avsc"))
KINDS = {kind.name: kind for kind in RECORD_KINDS}
each_version = pytest.mark.parametrize("path", VERSIONS, ids=lambda path: f"{path.parent.name}-{path.stem}")


def frozen(path: Path) -> Schema:
    schema: Schema = json.loads(path.read_text("utf-8"))
    return schema


def read(value: bytes, writer: Schema, reader: Schema) -> dict[str, Any]:
    found: Any = fastavro.schemaless_reader(
        io.BytesIO(value[5:]), fastavro.parse_schema(plain(writer)), fastavro.parse_schema(plain(reader))
    )
    assert isinstance(found, dict)
    return found


def test_every_record_has_its_first_version_frozen() -> None:
    assert {path.stem for path in VERSIONS if path.parent.name == "v1"} == set(KINDS)


@each_version
def test_fields_of_a_published_version_stay_in_place_and_new_ones_follow_with_defaults(path: Path) -> None:
    old, new = frozen(path)["fields"], load_schema(path.stem)["fields"]
    without_doc = [{key: field[key] for key in field if key != "doc"} for field in new]
    assert without_doc[: len(old)] == [{key: field[key] for key in field if key != "doc"} for field in old]
    assert all("default" in field for field in new[len(old) :])


@each_version
@given(st.data())
@settings(max_examples=20)
def test_the_current_schema_and_each_published_one_read_each_others_records(path: Path, data: st.DataObject) -> None:
    old, new = frozen(path), load_schema(path.stem)
    record = data.draw(records(KINDS[path.stem]))._asdict()
    shared = {field["name"] for field in old["fields"]}
    from_old = read(encoded(record, old), old, new)
    from_new = read(encoded(record, new), new, old)
    assert {name: from_old[name] for name in shared} == {name: record[name] for name in shared}
    assert from_new == {name: record[name] for name in shared}


def next_version(kind: RecordKind) -> Schema:
    """A version that this one doesn't know yet, evolved by the rules."""
    schema = load_schema(kind.name)
    added = [
        {"name": "labels", "type": ["null", {"type": "array", "items": "string"}], "default": None},
        {"name": "priority", "type": "int", "default": 0},
    ]
    return {**schema, "fields": [*schema["fields"], *added]}


@pytest.mark.parametrize("kind", RECORD_KINDS, ids=lambda kind: kind.name)
@given(st.data())
@settings(max_examples=20)
def test_a_process_of_today_reads_what_a_newer_one_writes(kind: RecordKind, data: st.DataObject) -> None:
    newer = next_version(kind)
    record = data.draw(records(kind))
    value = encoded({**record._asdict(), "labels": ["a"], "priority": 7}, newer, 200)
    found = DECODE[kind.name](Codec(Registry({200: newer}, {})), value)
    assert not isinstance(found, Rejected)
    assert found == record
