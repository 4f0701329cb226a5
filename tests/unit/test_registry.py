"""Schema ids come from a Schema Registry; only its own "no such id" counts, anything else is waited out."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from schemas.avro_schemas import load_schema
from schemas.codec import Codec, RegistryRefused, RegistryUnavailable, Rejected, UnknownSchemaId
from schemas.registry import AWAY_S, RegistrySource
from tests.unit.test_codec import STATE, encoded

SUBJECT = "flow-run-state-value"
SCHEMA = load_schema("FlowRunState")


class FakeRegistry(HTTPServer):
    """Answers each path with what ``answers`` says: a status and a JSON value or text."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.silent = False
        """Hangs up instead of answering."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeRegistry

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = (self.command, self.path.partition("?")[0])
        self.server.asked.append(asked)
        if self.server.silent:
            self.close_connection = True
            return
        status, value = self.server.answers.get(asked, (404, "<html>no such page</html>"))
        body = (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the test tells what matters."""


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    server = FakeRegistry()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def source(registry: FakeRegistry) -> Iterator[RegistrySource]:
    made = RegistrySource(registry.url, timeout_seconds=2)
    yield made
    made.close()


def test_a_schema_is_fetched_once_for_all_its_records(registry: FakeRegistry, source: RegistrySource) -> None:
    registry.answers["GET", "/schemas/ids/7"] = (200, {"schema": json.dumps(SCHEMA)})
    for _ in range(3):
        assert Codec(source).decode_state(encoded(STATE, schema_id=7)) == STATE
    assert registry.asked == [("GET", "/schemas/ids/7")]


def test_its_definite_no_such_id_rejects_the_record_and_is_asked_anew_next_time(
    registry: FakeRegistry, source: RegistrySource
) -> None:
    registry.answers["GET", "/schemas/ids/7"] = (404, {"error_code": 40403, "message": "Schema not found"})
    codec = Codec(source)
    rejected = codec.decode_state(encoded(STATE, schema_id=7))
    assert rejected == Rejected("unknown_schema", "the registry has no schema with id 7")
    registry.answers["GET", "/schemas/ids/7"] = (200, {"schema": json.dumps(SCHEMA)})
    assert codec.decode_state(encoded(STATE, schema_id=7)) == STATE


@pytest.mark.parametrize(
    "answer",
    [
        (404, "<html>a proxy's page</html>"),
        (404, {"error_code": 404, "message": "HTTP 404 Not Found"}),
        (401, {"error_code": 40101, "message": "who are you"}),
        (500, {"error_code": 50001, "message": "store failed"}),
        (200, "<html>a login page</html>"),
        (200, {"schema": "{"}),
    ],
)
def test_any_other_answer_holds_the_partition(
    registry: FakeRegistry, source: RegistrySource, answer: tuple[int, Any]
) -> None:
    registry.answers["GET", "/schemas/ids/7"] = answer
    with pytest.raises(RegistryUnavailable):
        source.by_id(7)


def test_no_answer_at_all_holds_the_partition_and_names_the_registry_without_its_password() -> None:
    source = RegistrySource("http://user:hunter2@127.0.0.1:1", timeout_seconds=1)
    with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.1:1 can't be reached") as raised:
        source.by_id(7)
    assert "hunter2" not in str(raised.value)
    source.close()


def test_a_registry_that_is_away_is_waited_for_once_for_all_partitions(registry: FakeRegistry) -> None:
    """Each wait is seconds long, and all partitions of a process wait one after the other."""
    now_s = 100.0
    source = RegistrySource(registry.url, timeout_seconds=1, clock=lambda: now_s)
    registry.answers["GET", "/schemas/ids/7"] = (200, {"schema": json.dumps(SCHEMA)})
    registry.silent = True
    for _ in range(5):
        with pytest.raises(RegistryUnavailable, match="can't be reached"):
            source.by_id(7)
    tries = len(registry.asked)
    assert tries <= 2, "the client's own second try is all"
    registry.silent = False
    now_s += AWAY_S
    assert source.by_id(7) == SCHEMA
    source.close()


def test_a_bad_answer_about_one_schema_says_nothing_about_another(
    registry: FakeRegistry, source: RegistrySource
) -> None:
    registry.answers["GET", "/schemas/ids/7"] = (500, {"error_code": 50001, "message": "store failed"})
    registry.answers["GET", "/schemas/ids/8"] = (200, {"schema": json.dumps(SCHEMA)})
    with pytest.raises(RegistryUnavailable):
        source.by_id(7)
    assert source.by_id(8) == SCHEMA


@pytest.mark.parametrize("answer", [{"schema": "{}", "schemaType": "JSON"}, {"schema": '"string"'}])
def test_a_schema_that_is_no_avro_record_is_as_if_there_were_none(
    registry: FakeRegistry, source: RegistrySource, answer: dict[str, Any]
) -> None:
    registry.answers["GET", "/schemas/ids/7"] = (200, answer)
    with pytest.raises(UnknownSchemaId):
        source.by_id(7)


def test_a_record_is_written_with_the_id_that_its_subject_has(registry: FakeRegistry, source: RegistrySource) -> None:
    registry.answers["POST", f"/subjects/{SUBJECT}"] = (
        200,
        {"subject": SUBJECT, "version": 1, "id": 9, "schema": "{}"},
    )
    codec = Codec(source)
    assert codec.encode_state(STATE)[:5] == codec.encode_state(STATE)[:5] == b"\0\0\0\0\x09"
    assert registry.asked == [("POST", f"/subjects/{SUBJECT}")]


def test_a_schema_that_its_subject_lacks_is_registered(registry: FakeRegistry, source: RegistrySource) -> None:
    registry.answers["POST", f"/subjects/{SUBJECT}"] = (404, {"error_code": 40401, "message": "no subject"})
    registry.answers["POST", f"/subjects/{SUBJECT}/versions"] = (200, {"id": 10})
    assert source.id_of(SUBJECT, SCHEMA) == 10
    assert source.id_of(SUBJECT, SCHEMA) == 10
    assert len(registry.asked) == 2


def test_a_refusal_to_register_says_what_to_do(registry: FakeRegistry, source: RegistrySource) -> None:
    registry.answers["POST", f"/subjects/{SUBJECT}"] = (404, {"error_code": 40403, "message": "no schema"})
    registry.answers["POST", f"/subjects/{SUBJECT}/versions"] = (
        409,
        {"error_code": 409, "message": "incompatible"},
    )
    with pytest.raises(RegistryRefused, match="register it there by hand"):
        source.id_of(SUBJECT, SCHEMA)


def test_trouble_while_writing_is_waited_out(registry: FakeRegistry, source: RegistrySource) -> None:
    with pytest.raises(RegistryUnavailable, match="SCHEMA_REGISTRY_URL"):
        source.id_of(SUBJECT, SCHEMA)
    registry.answers["POST", f"/subjects/{SUBJECT}"] = (404, {"error_code": 40401, "message": "no subject"})
    registry.answers["POST", f"/subjects/{SUBJECT}/versions"] = (500, {"error_code": 50001, "message": "no"})
    with pytest.raises(RegistryUnavailable):
        source.id_of(SUBJECT, SCHEMA)
