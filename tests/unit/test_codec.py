"""Records come back as they were written; what can't be read is refused for a named reason."""

import io
from typing import Any, NamedTuple

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro_schemas import FLOW_RUN_STATE, RECORD_KINDS, RecordKind, Schema, load_schema, plain
from schemas.codec import Codec, RegistryUnavailable, Rejected, UnknownSchemaId
from schemas.limits import MAX_VALUE_BYTES
from schemas.records import AgentHeartbeat, AutomationEvent, FlowRunState
from tests.unit.records_strategies import records

CODEC = Codec()
STATE = FlowRunState(
    "tenant",
    "acme",
    "flow",
    "etl",
    "group",
    "run",
    "brave-otter",
    3,
    "Running",
    None,
    1_700_000_000_000,
    None,
    None,
)
HEARTBEAT = AgentHeartbeat("tenant", "acme", "config", "agent", None, 1_700_000_000_000, "ACTIVE")
DECODE = {
    "FlowRunState": Codec.decode_state,
    "AgentHeartbeat": Codec.decode_heartbeat,
    "AutomationEvent": Codec.decode_event,
    "ActionResult": Codec.decode_result,
}
ENCODE: dict[str, Any] = {
    "FlowRunState": Codec.encode_state,
    "AgentHeartbeat": Codec.encode_heartbeat,
    "AutomationEvent": Codec.encode_event,
    "ActionResult": Codec.encode_result,
}
each_kind = pytest.mark.parametrize("kind", RECORD_KINDS, ids=lambda kind: kind.name)
some_kind = st.sampled_from(RECORD_KINDS).flatmap(lambda kind: st.tuples(st.just(kind), records(kind)))


class Registry(NamedTuple):
    """A registry as a dict; ``None`` as a schema is an id that it doesn't answer for."""

    schemas: dict[int, Schema | None]
    subjects: dict[str, int]

    def by_id(self, schema_id: int) -> Schema:
        if schema_id not in self.schemas:
            raise UnknownSchemaId(f"no schema {schema_id}")
        schema = self.schemas[schema_id]
        if schema is None:
            raise RegistryUnavailable("no answer")
        return schema

    def id_of(self, subject: str, schema: Schema) -> int:
        return self.subjects[subject]


def encoded(record: Any, schema: Schema | None = None, schema_id: int | None = None) -> bytes:
    """``record`` (a tuple or dict) as fastavro writes it, limits unchecked."""
    values = record if isinstance(record, dict) else record._asdict()
    own = load_schema(type(record).__name__) if schema is None else schema
    kind = next((kind for kind in RECORD_KINDS if kind.name == own["name"]), FLOW_RUN_STATE)
    out = io.BytesIO()
    out.write(b"\0" + (schema_id or kind.fixed_id).to_bytes(4, "big"))
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain(own)), values)
    return out.getvalue()


def with_field(schema: Schema, field: dict[str, Any]) -> Schema:
    return {**schema, "fields": [*schema["fields"], field]}


@given(some_kind)
def test_every_record_comes_back_as_it_was_written(made: tuple[RecordKind, Any]) -> None:
    kind, record = made
    back = DECODE[kind.name](CODEC, ENCODE[kind.name](CODEC, record))
    assert back == record
    assert type(back) is kind.record


@given(some_kind)
def test_the_generated_decoder_reads_what_fastavro_reads(made: tuple[RecordKind, Any]) -> None:
    kind, record = made
    value = encoded(record)
    reader = fastavro.parse_schema(plain(load_schema(kind.name)))
    reference = fastavro.schemaless_reader(io.BytesIO(value[5:]), reader)
    assert DECODE[kind.name](CODEC, value)._asdict() == reference


@given(some_kind, st.data())
def test_every_cut_of_a_record_is_truncated(made: tuple[RecordKind, Any], data: st.DataObject) -> None:
    kind, record = made
    value = encoded(record)
    length = data.draw(st.integers(0, len(value) - 1))
    rejected = DECODE[kind.name](CODEC, value[:length])
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "truncated"


@given(some_kind, st.binary(min_size=1, max_size=9))
def test_bytes_after_a_record_are_trailing(made: tuple[RecordKind, Any], extra: bytes) -> None:
    kind, record = made
    rejected = DECODE[kind.name](CODEC, encoded(record) + extra)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "trailing_bytes"


@given(some_kind, st.data())
def test_any_flipped_byte_gives_a_record_or_a_reason_and_never_raises(
    made: tuple[RecordKind, Any], data: st.DataObject
) -> None:
    kind, record = made
    value = bytearray(encoded(record))
    at = data.draw(st.integers(5, len(value) - 1))
    value[at] = data.draw(st.integers(0, 255))
    own, foreign = CODEC, Codec(_foreign_registry(kind))
    read = DECODE[kind.name](own, bytes(value))
    assert isinstance(read, kind.record | Rejected)
    if not isinstance(read, Rejected):
        assert DECODE[kind.name](own, ENCODE[kind.name](own, read)) == read
    assert isinstance(DECODE[kind.name](foreign, bytes(value)), kind.record | Rejected)


def _foreign_registry(kind: RecordKind) -> Registry:
    newer = with_field(load_schema(kind.name), {"name": "added", "type": ["null", "string"], "default": None})
    return Registry({kind.fixed_id: newer}, {})


@given(st.binary(max_size=300))
def test_arbitrary_bytes_give_a_reason_and_never_raise(body: bytes) -> None:
    for kind in RECORD_KINDS:
        value = b"\0" + kind.fixed_id.to_bytes(4, "big") + body
        assert isinstance(DECODE[kind.name](CODEC, value), kind.record | Rejected)


STRING = b"\x02x"
BROKEN = {
    "no value": (None, "null_value", "no value"),
    "an empty value": (b"", "truncated", "empty"),
    "JSON instead of Avro": (b'{"tenant_id": "t"}', "bad_magic", "first byte is 123"),
    "a header cut short": (b"\0\0\0", "truncated", "schema id"),
    "an id that nobody has": (b"\0\0\0\0\x63" + encoded(STATE)[5:], "unknown_schema", "99"),
    "another record's id": (encoded(HEARTBEAT), "unknown_schema", "id 2 is not that of FlowRunState"),
    "a body that ends early": (encoded(STATE)[:-2], "truncated", "scheduled_start_time"),
    "bytes after the body": (encoded(STATE) + b"\0\0", "trailing_bytes", "2 bytes"),
    "more than a mebibyte": (
        encoded(STATE._replace(flow_name="x" * MAX_VALUE_BYTES)),
        "too_large",
        "1048576",
    ),
    "a foreign mebibyte": (b"x" * (MAX_VALUE_BYTES + 1), "too_large", "1048577"),
    "version 0": (encoded(STATE._replace(version=0)), "impossible_field", "version"),
    "a negative version": (encoded(STATE._replace(version=-1)), "impossible_field", "version"),
    "no tenant": (encoded(STATE._replace(tenant_id="")), "impossible_field", "tenant_id is empty"),
    "no run": (encoded(STATE._replace(flow_run_id="")), "impossible_field", "flow_run_id is empty"),
    "no state": (encoded(STATE._replace(state="")), "impossible_field", "state is empty"),
    "an endless id": (encoded(STATE._replace(flow_id="x" * 257)), "impossible_field", "flow_id is longer"),
    "a time before 1970": (encoded(STATE._replace(timestamp=-1)), "impossible_field", "timestamp"),
    "a time after 9999": (
        encoded(STATE._replace(scheduled_start_time=253_402_300_800_000)),
        "impossible_field",
        "scheduled_start_time",
    ),
    "seconds taken for nanoseconds": (
        encoded(STATE._replace(timestamp=2**62)),
        "impossible_field",
        "timestamp",
    ),
    "text that is no UTF-8": (b"\0\0\0\0\1\x02\xff" + encoded(STATE)[12:], "impossible_field", "tenant_id"),
    "a negative length": (b"\0\0\0\0\1\x01" + encoded(STATE)[6:], "impossible_field", "tenant_id"),
    "a number without end": (b"\0\0\0\0\1" + b"\xff" * 30, "impossible_field", "tenant_id"),
    "a third branch of a union": (encoded(STATE)[:-1] + b"\x04", "impossible_field", "agent_id"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_state_has_a_reason_and_a_detail_that_says_where(broken: str) -> None:
    value, reason, detail = BROKEN[broken]
    rejected = CODEC.decode_state(value)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == reason
    assert detail in rejected.detail


def test_a_heartbeat_is_active_or_stopped() -> None:
    rejected = CODEC.decode_heartbeat(encoded(HEARTBEAT._replace(status="active")))
    assert rejected == Rejected("impossible_field", "status must be ACTIVE or STOPPED")


def test_an_id_may_have_256_characters_however_many_bytes_they_take() -> None:
    state = STATE._replace(flow_run_id="ü" * 256)
    assert CODEC.decode_state(encoded(state)) == state


def test_the_detail_never_holds_the_records_own_text() -> None:
    secret = "hunter2"
    rejected = CODEC.decode_heartbeat(encoded(HEARTBEAT._replace(status=secret, agent_name=secret)))
    assert secret not in str(rejected)


def test_arrays_in_several_blocks_with_sizes_are_read() -> None:
    fields: dict[str, Any] = dict.fromkeys(AutomationEvent._fields)
    texts = dict.fromkeys(AutomationEvent._fields[:3], "x") | {"tenant_id": "t", "tenant_slug": "s"}
    event = AutomationEvent(
        **{**fields, **texts, "timestamp": 1, "automation_id": "a", "automation_name": "n", "detected_at": 2,
           "actions": "[]", "healthy_agent_ids": ["a", "b"]}
    )  # fmt: skip
    value = encoded(event)
    one_block, two_blocks = b"\x02\x04\x02a\x02b\x00", b"\x02\x01\x04\x02a\x02\x02b\x00"
    assert one_block in value
    assert CODEC.decode_event(value.replace(one_block, two_blocks)) == event


def test_an_array_that_claims_more_items_than_there_are_bytes_is_truncated_at_once() -> None:
    head = b"\0\0\0\0\3" + STRING * 5 + b"\x02" + STRING * 2 + b"\0" * 14
    rejected = CODEC.decode_event(head + b"\x02" + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01")
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "truncated"


class TestWithARegistry:
    """With a registry, ids mean what it says."""

    def test_records_are_written_under_the_prefixed_topics_subject(self) -> None:
        codec = Codec(Registry({}, {"eu-flow-run-state-value": 70_000}), topic_prefix="eu-")
        assert codec.encode_state(STATE) == b"\0\0\x01\x11\x70" + encoded(STATE)[5:]

    def test_its_id_for_our_layout_is_read_as_ours(self) -> None:
        codec = Codec(Registry({77: load_schema("FlowRunState")}, {}))
        assert codec.decode_state(encoded(STATE, schema_id=77)) == STATE

    def test_our_fixed_ids_mean_nothing_there(self) -> None:
        rejected = Codec(Registry({}, {})).decode_state(encoded(STATE))
        assert rejected == Rejected("unknown_schema", "no schema 1")

    def test_a_writers_newer_compatible_schema_is_read_by_avros_rules(self) -> None:
        newer = with_field(load_schema("FlowRunState"), {"name": "labels", "type": {"type": "map", "values": "int"}})
        newer["fields"].reverse()
        value = encoded({**STATE._asdict(), "labels": {"a": 1}}, newer, 78)
        assert Codec(Registry({78: newer}, {})).decode_state(value) == STATE

    def test_a_writers_older_schema_leaves_what_it_lacks_at_its_default(self) -> None:
        older = load_schema("FlowRunState")
        older["fields"] = older["fields"][:-2]
        assert Codec(Registry({79: older}, {})).decode_state(encoded(STATE._asdict(), older, 79)) == STATE

    def test_limits_hold_for_other_writers_schemas_too(self) -> None:
        newer = with_field(load_schema("FlowRunState"), {"name": "added", "type": "int", "default": 0})
        codec = Codec(Registry({80: newer}, {}))
        good = {**STATE._asdict(), "added": 1}
        for values, change, reason in (
            ({**good, "version": 0}, b"", "impossible_field"),
            (good, b"x", "trailing_bytes"),
            ({**good, "flow_name": "x" * MAX_VALUE_BYTES}, b"", "too_large"),
        ):
            rejected = codec.decode_state(encoded(values, newer, 80) + change)
            assert isinstance(rejected, Rejected)
            assert rejected.reason == reason
        rejected = codec.decode_state(encoded(good, newer, 80)[:-3])
        assert isinstance(rejected, Rejected)
        assert rejected.reason == "truncated"

    @pytest.mark.parametrize(
        "schema",
        [
            load_schema("AgentHeartbeat"),
            {"type": "record", "name": "FlowRunState", "fields": [{"name": "x", "type": "int"}]},
            {"type": "record", "name": "FlowRunState", "fields": [{"name": "x", "type": "Elsewhere"}]},
            {"type": "enum", "name": "FlowRunState", "symbols": ["A"]},
            {"type": "nonsense"},
            {},
        ],
    )
    def test_a_schema_that_is_no_flow_run_state_is_unknown_and_never_raises(self, schema: Schema) -> None:
        rejected = Codec(Registry({81: schema}, {})).decode_state(b"\0\0\0\0\x51\x02\x02\x02\x02")
        assert isinstance(rejected, Rejected)
        assert rejected.reason == "unknown_schema"

    def test_an_unreachable_registry_raises_so_that_the_partition_is_held(self) -> None:
        with pytest.raises(RegistryUnavailable):
            Codec(Registry({82: None}, {})).decode_state(encoded(STATE, schema_id=82))

    def test_an_answer_is_asked_for_once(self) -> None:
        registry = Registry({83: load_schema("FlowRunState")}, {})
        codec = Codec(registry)
        codec.decode_state(encoded(STATE, schema_id=83))
        registry.schemas.clear()
        assert codec.decode_state(encoded(STATE, schema_id=83)) == STATE


def test_an_input_whose_name_is_too_long_for_an_event_is_impossible() -> None:
    """An event repeats names and slugs in its links and message, and has to fit in a record."""
    state = FlowRunState("t", "s", "f", "etl", "g", "r", "run", 1, "Failed", None, 0)
    for name in ("tenant_slug", "flow_name", "flow_run_name", "state"):
        longest = FlowRunState(**{**state._asdict(), name: "x" * 4_096})
        assert CODEC.decode_state(CODEC.encode_state(longest)) == longest
        rejected = CODEC.decode_state(CODEC.encode_state(FlowRunState(**{**state._asdict(), name: "x" * 4_097})))
        assert rejected == Rejected("impossible_field", f"{name} is longer than 4096 characters")
    long_message = state._replace(state_message="x" * 100_000)
    assert CODEC.decode_state(CODEC.encode_state(long_message)) == long_message
