"""What can be relied on when looking at what happens, and when making something happen, on a real Kafka."""

import json

import pytest
from confluent_kafka import Producer

from cli.main import run
from schemas.codec import Codec
from schemas.records import (
    FLOW_RUN_STATE_CHANGED,
    ActionResult,
    AgentHeartbeat,
    AutomationEvent,
    FlowRunState,
)
from streams.topic_reader import read_to_end
from topology import apply as topics
from topology.names import ACTION_RESULTS, AGENT_HEARTBEAT, AUTOMATION_EVENTS, FLOW_RUN_STATE
from topology.partitioner import Partitioner, partition_of
from topology.settings import Settings

pytestmark = pytest.mark.kafka


@pytest.fixture
def laid(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose topics are there, in the environment as well, for commands."""
    topics.apply(settings, lambda line: None)
    monkeypatch.setenv("BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    monkeypatch.setenv("TOPIC_PREFIX", settings.topic_prefix)
    return settings


def event(number: int) -> AutomationEvent:
    return AutomationEvent(
        f"event-{number}", FLOW_RUN_STATE_CHANGED, "Run failed", "t", "acme", 1000 + number, "a", "failures",
        "f", "etl", "g", None, "r", "amber-fox", "Failed",
        None, None, None, None, None, None, None, None, None, 2000, "[]",
    )  # fmt: skip


def test_tail_shows_committed_events_only_and_ends_after_max(
    laid: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    producer = Producer({"bootstrap.servers": laid.bootstrap_servers, "transactional.id": laid.topic_prefix})
    producer.init_transactions(15)
    for number, commit in enumerate((True, False, True)):
        producer.begin_transaction()
        producer.produce(laid.topic(AUTOMATION_EVENTS), key=b"r", value=Codec().encode_event(event(number)))
        if commit:
            producer.commit_transaction(15)
        else:
            producer.flush(15)
            producer.abort_transaction(15)
    assert run(["events", "tail", "--from-beginning", "--max", "2", "--json"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["id"] for one in shown] == ["event-0", "event-2"]
    assert run(["events", "tail", "--from-beginning", "--max", "1"]) == 0
    assert "entered-Failed failures etl/amber-fox (r) Run failed" in capsys.readouterr().out


def test_results_are_shown_and_what_cannot_be_read_is_named_and_passed_over(
    laid: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    result = ActionResult("d", "e", "x", "WebhookAction", "a", "t", "dead", 5, "HTTP 410", 410, 1000, 2000)
    producer = Producer({"bootstrap.servers": laid.bootstrap_servers})
    producer.produce(laid.topic(ACTION_RESULTS), key=b"d", value=b"rubbish", partition=0)
    producer.produce(laid.topic(ACTION_RESULTS), key=b"d", value=Codec().encode_result(result), partition=0)
    producer.flush(15)
    assert run(["results", "tail", "--from-beginning", "--max", "1"]) == 0
    shown = capsys.readouterr()
    assert "dead attempt 5 WebhookAction" in shown.out
    assert "action-results[0]@0: not readable: bad_magic" in shown.err


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32"])
def test_a_simulated_fleet_is_keyed_and_placed_as_a_backend_service_does_it(
    laid: Settings,
    partitioner: Partitioner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PARTITIONER", partitioner)
    assert run(["simulate", "--rate", "200", "--duration", "2", "--deadline", "1"]) == 0
    codec = Codec()
    states = read_to_end(laid, laid.topic(FLOW_RUN_STATE))
    beats = read_to_end(laid, laid.topic(AGENT_HEARTBEAT))
    assert f"produced {len(states) + len(beats)} records" in capsys.readouterr().out
    assert len(states) > 100
    assert {read.partition for read in states} == {0, 1}
    for read in states:
        state = codec.decode_state(read.value)
        assert isinstance(state, FlowRunState)
        assert (read.key or b"").decode() == state.flow_run_id
        assert read.partition == partition_of(partitioner, read.key or b"", 2)
    for read in beats:
        beat = codec.decode_heartbeat(read.value)
        assert isinstance(beat, AgentHeartbeat)
        assert (read.key or b"").decode() == beat.agent_config_id
