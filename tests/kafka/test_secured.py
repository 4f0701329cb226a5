"""On a Kafka with SASL_SSL, SCRAM-SHA-512 and ACLs: everything works with the rights that are listed, needs each
of them, and says what is wrong."""

import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import trustme

from schemas.codec import Codec
from schemas.records import ActionResult, AgentHeartbeat
from streams.topic_reader import READER_GROUP, read_to_end
from tests.kafka.actions_world import RunnerProcess, receiving, until
from tests.kafka.consumer_process import ConsumerProcess
from tests.kafka.consumer_world import now_ms, put, put_heartbeats, put_states, state
from tests.kafka.secured_world import SecuredWorld, used
from tests.secured_kafka import SecuredKafka, secured_kafka
from topology.names import ACTION_RESULTS, AUTOMATION_EVENTS, FLOW_RUN_STATE
from topology.rights import ROLES, Right, Role
from topology.settings import Settings
from topology.topics import changelog_of

pytestmark = pytest.mark.kafka

Capture = pytest.CaptureFixture[str]


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

AGENTS = """
  - {name: agents, when: {event: AgentSLAFailedEvent, agent_config: prod}, then: []}
agent_configs: [{name: prod}]
"""

LONG_TRANSACTIONS = {"COMMIT_INTERVAL_MS": "2000", "TRANSACTION_TIMEOUT_MS": "60000"}
QUICK = 0.002


def runner_of(world: SecuredWorld, log: Path, **env: str) -> RunnerProcess:
    return RunnerProcess(world.settings("actions"), log, factor=QUICK, **world.env("actions", **env))


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
    world: SecuredWorld, tmp_path: Path, capsys: Capture
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
    draft = tmp_path / "draft.yaml"
    draft.write_text(manifest.read_text() + AGENTS)
    assert world.run("backtest -f", "backtest", "-f", str(draft)) == 0
    assert world.run("backtest", "backtest") == 0
    assert world.run("explain", "explain", "--run", "run-1") == 0
    assert world.run("explain", "explain", "--agent-config", "agents") == 0
    assert world.run("delete", "delete", "-f", str(manifest)) == 0

    for role in ROLES:
        decisions = world.decisions(role)
        assert [one.line for one in decisions if not one.allowed and one.name != READER_GROUP] == []
        assert [str(right) for right in world.rights(role) if not used(right, decisions)] == [], role


def outcome(world: SecuredWorld, role: Role, tmp_path: Path, capsys: Capture, **env: str) -> str:
    """What a service or command says that can't go on; it ends with 2, and no secret is in it."""
    manifest = tmp_path / "automations.yaml"
    manifest.write_text(MANIFEST.format(good="http://127.0.0.1/", failing="http://127.0.0.1/", flows=""))
    arguments = {
        "apply": ["-f", str(manifest)],
        "apply --dry-run": ["-f", str(manifest)],
        "delete": ["automation", "failures"],
        "backtest -f": [str(manifest)],
        "test-action": ["good", "--dry-run"],
        "events tail": ["--from-beginning", "--max", "1"],
        "results tail": ["--from-beginning", "--max", "1"],
        "dlq redrive": ["--all"],
        "simulate": ["--duration", "1"],
    }.get(role, [])
    log = tmp_path / f"{uuid4()}.log"
    if role == "consumer":
        code, said = world.consumer(log, **env).wait(), log.read_text()
    elif role == "actions":
        code, said = runner_of(world, log, **env).wait(30), log.read_text()
    else:
        capsys.readouterr()
        code = world.run(role, *role.split(), *arguments, **env)
        said = "".join(capsys.readouterr())
    assert code == 2, said
    assert not [secret for secret in (world.password, *env.values()) if secret in said and secret.startswith("secret-")]
    return said


@pytest.fixture
def ready(world: SecuredWorld) -> SecuredWorld:
    """Topics that are there, and an automation."""
    assert world.run("topology apply", "topology", "apply") == 0
    return world


@pytest.mark.parametrize("role", ["consumer", "actions", "export", "topology apply"])
def test_a_user_or_broker_that_is_not_trusted_ends_services_and_commands_with_the_settings_to_look_at(
    world: SecuredWorld, role: Role, tmp_path: Path, capsys: Capture
) -> None:
    said = outcome(world, role, tmp_path, capsys, KAFKA_CONFIG_SASL_PASSWORD="secret-wrong")
    assert "invalid credentials with SASL mechanism SCRAM-SHA-512: check KAFKA_CONFIG_SASL_MECHANISM" in said
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    said = outcome(world, role, tmp_path, capsys, KAFKA_CONFIG_SSL_CA_LOCATION=str(other))
    assert "certificate verify failed" in said
    assert "check KAFKA_CONFIG_SSL_CA_LOCATION" in said


def refusals(world: SecuredWorld, role: Role, rights: Iterable[Right], tmp_path: Path, capsys: Capture) -> list[str]:
    """The rights without which a role's refusal doesn't name what is missing."""
    unclear = []
    for right in rights:
        with world.without(role, right):
            if right.operation == "Create":
                world.kafka.delete_topic(right.name)
            if str(right) not in outcome(world, role, tmp_path, capsys):
                unclear.append(str(right))
        if right.operation == "Create":
            assert world.run(role, "topology", "apply") == 0
    return unclear


def of_each_kind(role: Role, rights: Iterable[Right]) -> list[Right]:
    """One right to each kind of thing; of the commands, which start sooner, for each operation on it."""
    fewer = role in ("consumer", "actions")
    return list({(right.resource, "" if fewer else right.operation): right for right in rights}.values())


@pytest.mark.parametrize("role", ["consumer", "actions", "apply", "dlq redrive", "topology apply"])
def test_a_missing_right_is_named_and_ends_services_and_commands(
    ready: SecuredWorld, role: Role, tmp_path: Path, capsys: Capture
) -> None:
    """To a topic, a group or a transactional id."""
    assert refusals(ready, role, of_each_kind(role, ready.rights(role)), tmp_path, capsys) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", ROLES)
def test_every_missing_right_is_named_and_ends_services_and_commands(
    ready: SecuredWorld, role: Role, tmp_path: Path, capsys: Capture
) -> None:
    assert refusals(ready, role, ready.rights(role), tmp_path, capsys) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("role", ["consumer", "actions"])
def test_a_right_that_is_taken_away_while_a_service_runs_ends_it_and_is_named(
    ready: SecuredWorld, role: Role, tmp_path: Path
) -> None:
    """Whatever it is at then: reading, committing, or writing what has fired or was sent."""
    manifest = tmp_path / "automations.yaml"
    manifest.write_text(MANIFEST.format(good="http://127.0.0.1:1/", failing="http://127.0.0.1:1/", flows=""))
    assert ready.run("apply", "apply", "-f", str(manifest)) == 0
    rights = [
        Right("Topic", f"{ready.prefix}{AUTOMATION_EVENTS if role == 'consumer' else ACTION_RESULTS}", "Write"),
        Right("Topic", f"{ready.prefix}{FLOW_RUN_STATE if role == 'consumer' else AUTOMATION_EVENTS}", "Read"),
        *(right for right in ready.rights(role) if right.resource != "Topic"),
    ]
    unclear = []
    for number, right in enumerate(rights):
        other = ready.consumer(tmp_path / f"other-{number}.log").ready() if role == "actions" else None
        log = tmp_path / f"{number}.log"
        service = ready.consumer(log) if role == "consumer" else runner_of(ready, log)
        until(lambda service=service: _is_up(service), 60, "the service is ready")  # type: ignore[misc]
        with ready.without(role, right):
            for _ in range(40):
                put_states(ready.settings("simulate"), state(f"run-{uuid4()}", 1, "Failed"))
                if not service.running:
                    break
                time.sleep(0.5)
            code, said = service.wait(30), log.read_text()
        if other is not None:
            other.kill()
        if code != 2 or str(right) not in said:
            unclear.append(f"{right}: exit code {code}: {said[-600:]}")
    assert unclear == []


def _is_up(service: ConsumerProcess | RunnerProcess) -> bool:
    try:
        service.get("/readyz")
    except (OSError, IndexError):
        return False
    return True
