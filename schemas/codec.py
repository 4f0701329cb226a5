"""Bytes on a topic to records and back: the Confluent wire format, with or without a Schema Registry.

A record that can't be read is a ``Rejected`` value with its reason; only an unreachable registry raises. The
layouts of our own schemas are read and written by generated code; other writers' compatible ones are read by
Avro's rules of schema resolution.
"""

import io
from collections.abc import Callable
from typing import Any, Protocol, overload

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from schemas import body, fast_decoder, fast_encoder
from schemas.avro_schemas import (
    ACTION_RESULT,
    AGENT_HEARTBEAT,
    AUTOMATION_EVENT,
    FLOW_RUN_STATE,
    RECORD_KINDS,
    RecordKind,
    Schema,
    layout,
    load_schema,
    plain,
)
from schemas.body import Rejected
from schemas.limits import MAX_VALUE_BYTES, problem
from schemas.records import ActionResult, AgentHeartbeat, AutomationEvent, FlowRunState

__all__ = [
    "Codec",
    "RegistryError",
    "RegistryRefused",
    "RegistryUnavailable",
    "Rejected",
    "SchemaSource",
    "UnknownSchemaId",
    "cut",
]  # fmt: skip


class RegistryError(Exception):
    """The Schema Registry could not be used."""


class RegistryUnavailable(RegistryError):
    """It gave no usable answer: hold what was to be read or written, and ask again."""


class RegistryRefused(RegistryError):
    """It answered that it won't take one of our schemas; asking again won't help."""


class UnknownSchemaId(LookupError):
    """Its definite answer that there is no Avro schema with an id; the message says which and why."""


class SchemaSource(Protocol):
    """Where ids of schemas come from and lead to. Answers are for ever: implementations may cache them."""

    def by_id(self, schema_id: int) -> Schema:
        """The writer's schema. Raises ``UnknownSchemaId`` or ``RegistryUnavailable``."""

    def id_of(self, subject: str, schema: Schema) -> int:
        """Id of ``schema`` under ``subject``. Raises ``RegistryUnavailable`` or ``RegistryRefused``."""


@overload
def cut(text: str, limit: int) -> str: ...
@overload
def cut(text: None, limit: int) -> None: ...
@overload
def cut(text: str | None, limit: int) -> str | None: ...
def cut(text: str | None, limit: int) -> str | None:
    """``text`` of at most ``limit`` characters; a longer one loses its end and shows so with ``…``."""
    return text if text is None or len(text) <= limit else text[: limit - 1] + "…"


class Codec:
    """Decodes and encodes the four kinds of records.

    Without ``registry`` the ids are 1 to 4 and the layouts version 1. With it, ids are resolved there, and
    records are written under the subjects ``<topic_prefix><topic>-value``.
    """

    def __init__(self, registry: SchemaSource | None = None, topic_prefix: str = "") -> None:
        self._registry = registry
        self._kinds = {kind: _KindCodec(kind, registry, topic_prefix) for kind in RECORD_KINDS}
        self._state = self._kinds[FLOW_RUN_STATE]
        self._heartbeat = self._kinds[AGENT_HEARTBEAT]
        self._event = self._kinds[AUTOMATION_EVENT]
        self._result = self._kinds[ACTION_RESULT]

    def decode_state(self, value: bytes | None) -> FlowRunState | Rejected:
        """The state in ``value``, or why it can't be read. Raises ``RegistryUnavailable``."""
        state: FlowRunState | Rejected = self._state.decode(value)
        return state

    def decode_heartbeat(self, value: bytes | None) -> AgentHeartbeat | Rejected:
        """The heartbeat in ``value``, or why it can't be read. Raises ``RegistryUnavailable``."""
        heartbeat: AgentHeartbeat | Rejected = self._heartbeat.decode(value)
        return heartbeat

    def decode_event(self, value: bytes | None) -> AutomationEvent | Rejected:
        """The event in ``value``, or why it can't be read. Raises ``RegistryUnavailable``."""
        event: AutomationEvent | Rejected = self._event.decode(value)
        return event

    def decode_result(self, value: bytes | None) -> ActionResult | Rejected:
        """The result in ``value``, or why it can't be read. Raises ``RegistryUnavailable``."""
        result: ActionResult | Rejected = self._result.decode(value)
        return result

    def encode_state(self, record: FlowRunState) -> bytes:
        """``record`` as a topic has it. Raises ``RegistryError``."""
        return self._state.encode(record)

    def encode_heartbeat(self, record: AgentHeartbeat) -> bytes:
        """``record`` as a topic has it. Raises ``RegistryError``."""
        return self._heartbeat.encode(record)

    def encode_event(self, record: AutomationEvent) -> bytes:
        """``record`` as a topic has it. Raises ``RegistryError``."""
        return self._event.encode(record)

    def encode_result(self, record: ActionResult) -> bytes:
        """``record`` as a topic has it. Raises ``RegistryError``."""
        return self._result.encode(record)


class _KindCodec:
    """Codec of one kind of record: a decoder for each writer's header seen so far."""

    def __init__(self, kind: RecordKind, registry: SchemaSource | None, topic_prefix: str) -> None:
        self._kind = kind
        self._registry = registry
        self._subject = f"{topic_prefix}{kind.topic}-value"
        self._schema = load_schema(kind.name)
        self._reader = fastavro.parse_schema(plain(self._schema))
        self._encode = fast_encoder.generate(self._schema)
        self._decoders: dict[bytes, Callable[[bytes], Any]] = {}
        self._header: bytes | None = None
        if registry is None:
            self._header = _header(kind.fixed_id)
            self._decoders[self._header] = self._own_layout()

    def decode(self, value: bytes | None) -> Any:
        try:
            decoder = self._decoders[value[:5]]  # type: ignore[index]
        except (KeyError, TypeError):
            found = self._resolve(value)
            if isinstance(found, Rejected):
                return found
            decoder = found
        return decoder(value)  # type: ignore[arg-type]

    def encode(self, record: Any) -> bytes:
        if self._header is None:
            assert self._registry is not None
            self._header = _header(self._registry.id_of(self._subject, self._schema))
        try:
            return self._encode(self._header, record)
        except fast_encoder.ENCODE_ERRORS:
            # Bytes all the same, or an error that says what is wrong.
            return self._by_schema(self._header, record)

    def _by_schema(self, header: bytes, record: Any) -> bytes:
        out = io.BytesIO()
        out.write(header)
        fastavro.schemaless_writer(out, self._reader, record._asdict())
        return out.getvalue()

    def _resolve(self, value: bytes | None) -> Callable[[bytes], Any] | Rejected:
        if value is None:
            return Rejected("null_value", "the record has no value")
        if len(value) > MAX_VALUE_BYTES:
            return _too_large(value)
        if not value:
            return Rejected("truncated", "the value is empty")
        if value[0] != 0:
            return Rejected("bad_magic", f"the first byte is {value[0]}, not 0: no Confluent wire format")
        if len(value) < fast_decoder.HEADER_BYTES:
            return Rejected("truncated", f"the value ends after {len(value)} bytes, within the schema id")
        schema_id = int.from_bytes(value[1:5], "big")
        if self._registry is None:
            known = ", ".join(f"{kind.fixed_id} {kind.name}" for kind in RECORD_KINDS)
            detail = f"id {schema_id} is not that of {self._kind.name}; without a registry: {known}"
            return Rejected("unknown_schema", detail)
        decoder = self._registered(self._registry, schema_id)
        if not isinstance(decoder, Rejected):
            self._decoders[value[:5]] = decoder
        return decoder

    def _registered(self, registry: SchemaSource, schema_id: int) -> Callable[[bytes], Any] | Rejected:
        try:
            writer = registry.by_id(schema_id)
            name = str(writer.get("name")).rpartition(".")[2]
            if writer.get("type") != "record" or name != self._kind.name:
                detail = f"the registry's schema {schema_id} is no record {self._kind.name}"
                return Rejected("unknown_schema", detail)
            if layout(writer) == layout(self._schema):
                return self._own_layout()
            return self._foreign_layout(fastavro.parse_schema(plain(writer)), schema_id)
        except UnknownSchemaId as error:
            return Rejected("unknown_schema", str(error))
        except (SchemaParseException, UnknownType, KeyError, TypeError, ValueError, AttributeError):
            return Rejected("unknown_schema", f"the registry's schema {schema_id} is not one that can be read")

    def _own_layout(self) -> Callable[[bytes], Any]:
        quick = fast_decoder.generate(self._schema, self._kind.record)
        schema, record = self._schema, self._kind.record

        def decode(value: bytes) -> Any:
            try:
                return quick(value)
            except fast_decoder.DECODE_ERRORS:
                if len(value) > MAX_VALUE_BYTES:
                    return _too_large(value)
                found = body.read(schema, value)
                return found if isinstance(found, Rejected) else record(**found)

        return decode

    def _foreign_layout(self, writer: Any, schema_id: int) -> Callable[[bytes], Any]:
        schema, record, reader = self._schema, self._kind.record, self._reader

        def decode(value: bytes) -> Any:
            if len(value) > MAX_VALUE_BYTES:
                return _too_large(value)
            data = io.BytesIO(value)
            data.seek(fast_decoder.HEADER_BYTES)
            try:
                found: Any = fastavro.schemaless_reader(data, writer, reader)
            except fastavro.read.SchemaResolutionError as error:
                detail = f"schema {schema_id} can't be read as {schema['name']}: {error}"
                return Rejected("unknown_schema", detail)
            except (EOFError, IndexError):
                return Rejected("truncated", f"the value ends after {len(value)} bytes, within a field")
            except (ValueError, OverflowError, KeyError, TypeError, MemoryError) as error:
                return Rejected("impossible_field", f"a field can't be read: {type(error).__name__}")
            if data.tell() != len(value):
                return Rejected("trailing_bytes", f"{len(value) - data.tell()} bytes follow the last field")
            wrong = problem(schema, found)
            return Rejected("impossible_field", wrong) if wrong else record(**found)

        return decode


def _header(schema_id: int) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big")


def _too_large(value: bytes) -> Rejected:
    return Rejected("too_large", f"the value has {len(value)} bytes, more than {MAX_VALUE_BYTES}")
