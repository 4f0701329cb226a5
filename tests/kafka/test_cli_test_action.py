"""What can be relied on when an action that was applied is tried, on a real Kafka."""

import pytest

from cli.control_changes import apply_manifest
from cli.main import run
from streams.control_writer import read_control
from streams.topic_reader import read_to_end
from tests.kafka.test_cli_control import produce
from topology import apply as topics
from topology.names import ACTION_RESULTS, AUTOMATION_EVENTS, AUTOMATIONS
from topology.settings import Settings

pytestmark = pytest.mark.kafka

YAML = """
tenant: {id: t, slug: acme}
actions: [{name: page, type: SlackNotificationAction, config: {webhook_url_secret: SLACK}}]
---
tenant: {id: u, slug: other}
actions: [{name: page, type: SlackNotificationAction, config: {webhook_url_secret: OTHER}}]
"""


@pytest.fixture
def laid(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose topics and actions are there, in the environment as well, for commands."""
    topics.apply(settings, lambda line: None)
    monkeypatch.setenv("BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    monkeypatch.setenv("TOPIC_PREFIX", settings.topic_prefix)
    apply_manifest(settings, YAML)
    return settings


def test_an_applied_action_is_found_by_name_and_tenant_or_by_id(
    laid: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["test-action", "page", "--tenant", "other", "--dry-run"]) == 0
    assert "POST ***OTHER***" in capsys.readouterr().out
    [one] = [record.id for record in read_control(laid).records.values() if record.tenant_id == "t"]
    assert run(["test-action", one, "--dry-run"]) == 0
    assert "POST ***SLACK***" in capsys.readouterr().out
    assert run(["test-action", "page", "--dry-run"]) == 1
    assert "--tenant" in capsys.readouterr().err
    assert run(["test-action", "pager", "--dry-run"]) == 1
    assert "there is no action 'pager'; there are: page" in capsys.readouterr().err


def test_an_action_that_nobody_can_use_says_what_is_wrong_with_it(
    laid: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    produce(laid, AUTOMATIONS, "action:broken", b'{"id": "broken"}')
    assert run(["test-action", "broken", "--dry-run"]) == 1
    assert "control record action:broken: " in capsys.readouterr().err


def test_a_try_leaves_nothing_on_kafka(laid: Settings) -> None:
    assert run(["test-action", "page", "--tenant", "t"]) == 1  # its secret is missing
    for name in (AUTOMATION_EVENTS, ACTION_RESULTS):
        assert read_to_end(laid, laid.topic(name)) == []
