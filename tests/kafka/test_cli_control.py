"""What can be relied on when control records are changed on a real Kafka."""

import os
from datetime import datetime
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer

from cli.control_changes import apply_manifest, apply_records
from cli.main import run
from schemas.control import to_json
from schemas.manifest import Manifest, load
from streams.control_plan import ControlTable, Plan, plan
from streams.control_writer import FencedByAnother, read_control, write_control
from streams.topic_reader import read_to_end
from topology import apply as topics
from topology.names import AUTOMATION_CATALOG, AUTOMATIONS
from topology.settings import Settings

pytestmark = pytest.mark.kafka

YAML = """
tenant: {id: t, slug: acme}
actions:
  - name: page
    type: SlackNotificationAction
    config: {webhook_url_secret: SLACK, message: "{flow_run_name} – ü"}
  - {name: call, type: WebhookAction, config: {url: "https://example.com", payload: {"{message}": [1, null]}}}
agent_configs: [{name: prod}]
automations:
  - name: late
    enabled: false
    when: {event: FlowSLAFailedEvent, kind: STARTED_NOT_FINISHED, duration_seconds: 60, flow_group_ids: [g]}
    then: [page, call]
  - {name: failures, when: {event: FlowRunStateChangedEvent, states: [Failed]}, then: [page]}
  - {name: agents, when: {event: AgentSLAFailedEvent, agent_config: prod}, then: [call]}
---
tenant: {id: u, slug: other}
actions:
  - {name: page, type: SlackNotificationAction, config: {webhook_url_secret: SLACK}}
"""


@pytest.fixture
def laid(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose topics are there, in the environment as well, for commands."""
    topics.apply(settings, lambda line: None)
    monkeypatch.setenv("BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    monkeypatch.setenv("TOPIC_PREFIX", settings.topic_prefix)
    return settings


def produce(settings: Settings, topic: str, key: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    producer.produce(settings.topic(topic), key=key.encode(), value=value)
    assert producer.flush(15) == 0


def test_what_export_prints_apply_takes_back_unchanged(
    laid: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "automations.yaml"
    file.write_text(YAML)
    assert run(["apply", "-f", str(file)]) == 0
    assert capsys.readouterr().out.endswith("8 added\n")
    written = len(read_to_end(laid, laid.topic(AUTOMATIONS)))
    before = read_control(laid)
    assert run(["export"]) == 0
    exported = capsys.readouterr().out
    file.write_text(exported)
    assert run(["apply", "-f", str(file)]) == 0
    assert capsys.readouterr().out.endswith("8 unchanged\n")
    assert len(read_to_end(laid, laid.topic(AUTOMATIONS))) == written
    assert run(["delete", "-f", str(file)]) == 0
    assert read_control(laid).records == {}
    assert run(["apply", "-f", str(file)]) == 0
    after = read_control(laid)
    assert {key: _content(laid, key, after) for key in after.records} == {
        key: _content(laid, key, before) for key in before.records
    }


def _content(settings: Settings, key: str, table: ControlTable) -> bytes:
    fields = {"created": None, "updated": None} if key.startswith(("action:", "automation:")) else {}
    fields = {k: v for k, v in fields.items() if k == "created" or key.startswith("automation:")}
    return to_json(table.records[key].model_copy(update=fields))


def test_a_writer_that_is_overtaken_writes_nothing_and_says_so(laid: Settings) -> None:
    manifest = load([("a.yaml", YAML)])
    assert isinstance(manifest, Manifest)

    def decide(table: ControlTable, now: datetime) -> Plan:
        # Another one comes in between this one's reading and writing.
        apply_manifest(laid, YAML.replace("name: failures", "name: crashes"))
        return plan(table.records, manifest.records(), now=now)

    with pytest.raises(FencedByAnother, match="run it again"):
        write_control(laid, decide)
    names = {getattr(record, "name", None) for record in read_control(laid).records.values()}
    assert "crashes" in names
    assert "failures" not in names


def test_a_writer_that_died_with_a_transaction_open_stands_in_nobodys_way(laid: Settings) -> None:
    dead = Producer(
        {
            "bootstrap.servers": laid.bootstrap_servers,
            "transactional.id": f"{laid.topic_prefix}automations-control-writer",
            "transaction.timeout.ms": 60_000,
        }
    )
    dead.init_transactions(15)
    dead.begin_transaction()
    dead.produce(laid.topic(AUTOMATIONS), key=b"action:x", value=b"{}")
    dead.flush(15)
    assert {change.outcome for change in apply_manifest(laid, YAML)} == {"added"}
    assert read_control(laid).invalid == ()
    with pytest.raises(KafkaException):
        dead.commit_transaction(15)


def test_records_that_nobody_can_use_are_shown_and_do_not_stop_anything(
    laid: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    produce(laid, AUTOMATIONS, "automation:broken", b'{"id": "broken"')
    produce(laid, AUTOMATIONS, "cow:1", b"{}")
    apply_manifest(laid, YAML)
    assert run(["export"]) == 0
    shown = capsys.readouterr()
    assert "failures" in shown.out
    assert "skipped: control record automation:broken" in shown.err
    assert "cow" in shown.err
    assert run(["delete", "automation", "broken"]) == 0
    assert [one.key for one in read_control(laid).invalid] == ["cow:1"]


def test_flows_given_by_name_are_those_that_the_consumer_has_seen(
    laid: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(YAML.replace("states: [Failed]", "states: [Failed], flows: [etl]"))
    assert run(["apply", "-f", str(file)]) == 1
    assert "no flow called etl has been seen" in capsys.readouterr().err
    produce(laid, AUTOMATION_CATALOG, "flow_group:t/g7", b'{"id": "g7", "tenant_id": "t", "name": "etl"}')
    produce(laid, AUTOMATION_CATALOG, "flow_group:u/g8", b'{"id": "g8", "tenant_id": "u", "name": "etl"}')
    assert run(["apply", "-f", str(file)]) == 0
    made = [getattr(record, "flow_group_ids", None) for record in read_control(laid).records.values()]
    assert ["g7"] in made
    capsys.readouterr()
    produce(laid, AUTOMATION_CATALOG, "flow_group:t/g9", b'{"id": "g9", "tenant_id": "t", "name": "etl"}')
    assert run(["apply", "-f", str(file)]) == 1
    assert "several flow groups are called 'etl'" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(laid: Settings) -> None:
    manifest = load([("a.yaml", YAML)])
    assert isinstance(manifest, Manifest)
    assert {c.outcome for c in apply_records(laid, manifest.records(), dry_run=True)} == {"added"}
    assert read_control(laid).records == {}


def test_without_topics_the_commands_say_how_to_make_them(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    assert run(["export", "--topic-prefix", settings.topic_prefix]) == 1
    assert "automations topology apply" in capsys.readouterr().err
    assert run(["topology", "check", "--topic-prefix", settings.topic_prefix]) == 1
    assert run(["topology", "apply", "--topic-prefix", settings.topic_prefix]) == 0
    assert run(["topology", "check", "--topic-prefix", settings.topic_prefix]) == 0
