"""What a script or a person at the command line can rely on without a Kafka."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import run
from cli.tail_lines import event_json, event_parts, result_parts
from schemas.records import FLOW_SLA_FAILED, ActionResult, AutomationEvent

COMMANDS = [
    "demo", "simulate", "consumer", "actions", "apply", "validate", "export", "delete",
    "topology apply", "topology check", "events tail", "results tail", "dlq list", "dlq redrive", "test-action",
]  # fmt: skip

GOOD = """\
tenant: {id: t, slug: acme}
actions:
  - {name: page, type: SlackNotificationAction, config: {webhook_url_secret: SLACK}}
automations:
  - {name: failures, when: {event: FlowRunStateChangedEvent, states: [Failed]}, then: [page]}
"""


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOOTSTRAP_SERVERS", raising=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_teaches_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command.split(), "--help"]) == 0
    assert "Example:" in capsys.readouterr().out


def test_a_missing_setting_is_one_clear_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: BOOTSTRAP_SERVERS is not set")
    assert len(error.splitlines()) == 1


def test_a_wrong_setting_is_named_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRACE_MS", "soon")
    assert run(["topology", "check", "--bootstrap-servers", "localhost:1"]) == 2
    assert "GRACE_MS=soon" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["frobnicate"], ["apply"], ["delete", "action"], ["delete", "cow", "x"], ["simulate", "--rate", "x"]],
)
def test_wrong_use_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err


def test_validate_counts_what_is_in_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    assert run(["validate", "-f", str(file)]) == 0
    assert capsys.readouterr().out == "valid: 1 action, 1 automation\n"


def test_validate_takes_the_files_that_a_shell_makes_of_a_pattern(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    actions, automations = GOOD.split("automations:")
    (tmp_path / "a.yaml").write_text(actions)
    (tmp_path / "b.yaml").write_text("tenant: {id: t, slug: acme}\nautomations:" + automations)
    assert run(["validate", "-f", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]) == 0
    assert "1 action, 1 automation" in capsys.readouterr().out


def test_validate_names_file_line_and_column_of_each_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(GOOD.replace("then: [page]", "then: [pager]"))
    assert run(["validate", "-f", str(file)]) == 1
    error = capsys.readouterr().err
    assert re.match(rf"error: {re.escape(str(file))}:5:\d+: .*pager", error)


def test_a_file_that_is_not_there_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "-f", "/nowhere/x.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: /nowhere/x.yaml: No such file")


def test_a_kafka_that_does_not_answer_is_one_line_without_a_traceback() -> None:
    """As a person would see it: from a real process, with all that the Kafka client prints."""
    ended = subprocess.run(
        [sys.executable, "-m", "cli", "topology", "check", "--bootstrap-servers", "127.0.0.1:1"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "127.0.0.1:1" in ended.stderr


EVENT = AutomationEvent(
    id="e", event_name=FLOW_SLA_FAILED, message="Run x\nfailed\x1b[31m", tenant_id="t", tenant_slug="acme",
    timestamp=1_700_000_000_123, automation_id="a", automation_name="etl late", flow_id="f", flow_name="etl",
    flow_group_id="g", flow_link=None, flow_run_id="r", flow_run_name="amber-fox", state="Running",
    state_message=None, flow_run_link=None, flow_sla_config_id="s", kind="STARTED_NOT_FINISHED",
    duration_seconds=60, agent_config_id=None, sla_min_healthy=None, healthy_agent_ids=None,
    unhealthy_agent_ids=None, detected_at=1_700_000_010_000, actions='[{"id":"x"}]',
)  # fmt: skip


def test_an_event_is_a_line_of_time_kind_automation_subject_and_message() -> None:
    line = " ".join(text for text, _ in event_parts(EVENT))
    assert line.startswith("2023-11-14T22:13:20.123Z started-not-finished etl late etl/amber-fox (r) Run x failed")


def test_nothing_in_an_event_can_break_the_line_or_colour_it() -> None:
    assert all(text.isprintable() for text, _ in event_parts(EVENT))


def test_json_has_every_field_with_times_that_people_and_programs_read() -> None:
    fields = event_json(EVENT)
    assert fields.keys() == set(EVENT._fields)
    assert fields["detected_at"] == "2023-11-14T22:13:30.000Z"
    assert fields["actions"] == [{"id": "x"}]


def test_a_result_tells_what_failed_and_when_it_is_tried_again() -> None:
    result = ActionResult("d", "e", "x", "WebhookAction", "a", "t", "retrying", 2, "HTTP 500", 500, 0, 1,
                          destination="example.com", next_attempt_at=1_700_000_000_000)  # fmt: skip
    line = " ".join(text for text, _ in result_parts(result))
    assert "retrying attempt 2 WebhookAction to example.com" in line
    assert "next at 2023-11-14T22:13:20.000Z" in line
