"""On a Kafka with SASL_SSL, SCRAM-SHA-512 and ACLs: everything works with the rights that are listed, needs each
of them, and says what is wrong."""

import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from schemas.codec import Codec
from schemas.records import ActionResult, AgentHeartbeat
from streams.topic_reader import read_to_end
from tests.kafka.actions_world import RunnerProcess, receiving, until
from tests.kafka.consumer_process import ConsumerProcess
from tests.kafka.consumer_world import now_ms, put, put_heartbeats, put_states, state
from tests.kafka.secured_world import SecuredWorld, used
from tests.secured_kafka import SecuredKafka, secured_kafka
from topology.names import ACTION_RESULTS, FLOW_RUN_STATE
from topology.rights import ROLES
from topology.settings import Settings
from topology.topics import changelog_of

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


@pytest.fixture
def world(broker: SecuredKafka) -> SecuredWorld:
    return SecuredWorld(broker)


MANIFEST = """
tenant: {{id: t, slug: t-slug}}
actions:
  - {{name: good, type: WebhookAction, config: {{url: "{good}"}}}}
  - {{name: failing, type: WebhookAction, config: {{url: "{failing}"}}}}
automations:
  - {{name: failures, when: {{event: FlowRunStateChangedEvent, states: [Failed]{flows}}}, then: [good]}}
  - {{name: timeouts, when: {{event: FlowRunStateChangedEvent, states: [TimedOut]}}, then: [failing]}}
"""

LONG_TRANSACTIONS = {"COMMIT_INTERVAL_MS": "2000", "TRANSACTION_TIMEOUT_MS": "60000"}
QUICK = 0.002


def runner_of(world: SecuredWorld, log: Path) -> RunnerProcess:
    return RunnerProcess(world.settings("actions"), log, factor=QUICK, **world.env("actions"))


def statuses(settings: Settings) -> list[str]:
    """What became of deliveries, as a reader finds it."""
    decoded = [Codec().decode_result(read.value) for read in read_to_end(settings, settings.topic(ACTION_RESULTS))]
    return [one.status for one in decoded if isinstance(one, ActionResult)]


def killed_in_a_transaction(process: ConsumerProcess, world: SecuredWorld) -> bool:
    """Whether the process had a transaction open; then it is no more."""
    settings = world.settings("simulate")
    put_states(settings, state(f"run-{uuid4()}", 1, "Running"))
    process.signal(signal.SIGSTOP)
    if world.kafka.held_back(changelog_of(settings, FLOW_RUN_STATE)):
        process.kill()
        return True
    process.signal(signal.SIGCONT)
    return False


def test_everything_works_with_just_the_rights_that_are_listed_and_needs_each_of_them(
    world: SecuredWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The broker refuses nothing, and has granted every single right for its own sake at least once."""
    assert world.run("topology apply", "topology", "apply") == 0
    world.kafka.spoil(*(one.name for one in world.rights("topology apply")))
    assert world.run("topology check", "topology", "check") == 1
    assert world.run("topology apply", "topology", "apply") == 0
    assert world.run("topology check", "topology", "check") == 0
    reports = world.settings("simulate")
    results = world.settings("results tail")
    with receiving() as receiver, receiving() as broken:
        # Its delivery waits in memory twice, then in each of the retry topics; then it is dead.
        broken.answers["/failing"] = [500, 500, 500, 429, 429, 404]
        broken.patience_s = [2, 7]
        manifest = tmp_path / "automations.yaml"
        urls = {"good": receiver.url("/good"), "failing": broken.url("/failing")}
        manifest.write_text(MANIFEST.format(**urls, flows=""))
        assert world.run("apply", "apply", "-f", str(manifest)) == 0

        first = world.consumer(tmp_path / "first.log", **LONG_TRANSACTIONS).ready()
        runner = runner_of(world, tmp_path / "runner.log")
        put_states(reports, state("run-1", 1, "Failed"), state("run-2", 1, "TimedOut"))
        put_heartbeats(reports, AgentHeartbeat("t", "t-slug", "agents", "agent-1", "agent", now_ms(), "ACTIVE"))
        put(reports, FLOW_RUN_STATE, (b"run-2", b"rubbish"))
        until(lambda: receiver.event_ids("/good") != [], what="the delivery")

        # What it leaves open is ended by its id: its successor's own is another.
        until(lambda: killed_in_a_transaction(first, world), what="a transaction")
        second = world.consumer(tmp_path / "second.log").ready()
        assert second.logged("ending what an earlier owner left open")
        put_states(reports, state("run-3", 1, "Failed"))
        until(lambda: len(set(receiver.event_ids("/good"))) == 2, what="the delivery after the takeover")

        until(lambda: "dead" in statuses(results), 60, "a dead letter")
        capsys.readouterr()
        assert world.run("dlq list", "dlq", "list", "--json") == 0
        assert len(capsys.readouterr().out.splitlines()) == 1
        assert world.run("dlq redrive", "dlq", "redrive", "--all") == 0
        until(lambda: statuses(results)[-1] == "succeeded", what="the redriven delivery")
        runner.kill()
        again = runner_of(world, tmp_path / "again.log")
        put_states(reports, state("run-4", 1, "Failed"))
        until(lambda: len(set(receiver.event_ids("/good"))) == 3, what="the delivery of the second runner")

        manifest.write_text(MANIFEST.format(**urls, flows=", flows: [etl]"))
        assert world.run("apply --dry-run", "apply", "--dry-run", "-f", str(manifest)) == 0
        assert world.run("apply", "apply", "-f", str(manifest)) == 0
        assert again.terminate()[0] == 0
        assert second.terminate()[0] == 0
    assert world.run("events tail", "events", "tail", "--from-beginning", "--max", "3") == 0
    assert world.run("results tail", "results", "tail", "--from-beginning", "--max", "3") == 0
    assert world.run("test-action", "test-action", "good", "--dry-run") == 0
    assert world.run("simulate", "simulate", "--duration", "2") == 0
    assert world.run("export", "export") == 0
    assert world.run("delete", "delete", "-f", str(manifest)) == 0

    for role in ROLES:
        decisions = world.decisions(role)
        assert [one.line for one in decisions if not one.allowed] == []
        assert [str(right) for right in world.rights(role) if not used(right, decisions)] == [], role
