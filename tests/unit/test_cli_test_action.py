"""What whoever tries an action can rely on: what is shown, what is sent, and what is never done by accident."""

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.channels import CHANNELS
from actions.exchange import Outcome, Request, Verdict
from cli.action_trial import masked, outcome_lines, step_lines
from cli.main import run
from cli.sample_events import EVENT_NAMES, SampleIds, fitting_event, misfits, sample_event
from schemas.control import Action
from schemas.templates import attributes_of, default_payload
from tests.doubles.http_service import Said
from tests.doubles.slack import Slack

YAML = """
tenant: {id: t, slug: acme}
actions:
  - {name: page, type: SlackNotificationAction, config: {webhook_url_secret: slack.page}}
  - {name: call, type: WebhookAction, config: {url: "https://example.com/x", headers: {X-Run: "{flow_run_name}"}}}
  - {name: signed, type: WebhookAction, config: {url_secret: ADDRESS, signing_secret: SIGNING}}
  - name: text
    type: TwilioNotificationAction
    config: {account_sid: AC1, auth_token_secret: TWILIO, messaging_service_sid: MG1, phone_numbers: ["+15551234567"]}
  - {name: mail, type: EmailNotificationAction, config: {to_emails: [ops@example.com], subject: "Ü {flow_name}"}}
  - {name: agents, type: SlackNotificationAction, config: {webhook_url_secret: S, message: "{agent_ids} are away"}}
  - {name: cancel, type: CancelFlowRunAction, config: {}}
  - {name: pause, type: PauseScheduleAction, config: {}}
  - {name: pause one, type: PauseScheduleAction, config: {flow_group_id: g1}}
  - {name: start, type: CreateFlowRunAction, config: {flow_group_id: g1}}
---
tenant: {id: u, slug: other}
actions:
  - {name: page, type: SlackNotificationAction, config: {webhook_url_secret: S}}
"""
IDS = SampleIds("e", "au", "f", "g", "r", "c")
SECRETS = {
    "SECRET_SLACK_PAGE": "https://hooks.slack.com/services/hush",
    "SECRET_ADDRESS": "https://example.com/hush",
    "SECRET_SIGNING": "hush",
    "SECRET_TWILIO": "hush",
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of actions, and an environment with mail settings but no Kafka."""
    monkeypatch.delenv("BOOTSTRAP_SERVERS", raising=False)
    monkeypatch.setenv("SMTP_HOST", "smtp.example.com")
    monkeypatch.setenv("EMAIL_FROM", "automations@example.com")
    path = tmp_path / "actions.yaml"
    path.write_text(YAML)
    return str(path)


def action(message: str | None = None) -> Action:
    config = {"webhook_url_secret": "S"} | ({} if message is None else {"message": message})
    return Action(
        id="a", tenant_id="t", tenant_slug="acme", name="page", action_type="SlackNotificationAction", config=config
    )


@pytest.mark.parametrize("name", ["page", "call", "signed", "text"])
def test_a_dry_run_shows_the_request_and_holds_no_secret_in_any_form(
    name: str, file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable, value in SECRETS.items():
        monkeypatch.setenv(variable, value)
    assert run(["test-action", "-f", file, "--name", name, "--tenant", "acme", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "POST " in shown
    assert "Test of action" in shown or "Test+of+action" in shown
    assert "hush" not in shown
    assert "nothing was sent" in shown


def test_a_dry_run_shows_the_same_whatever_the_secrets_are(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It needs none of them."""
    shown = []
    for value in ("", "https://hooks.slack.com/services/hush"):
        monkeypatch.setenv("SECRET_SLACK_PAGE", value)
        assert run(["test-action", "page", "-f", file, "--tenant", "t", "--dry-run"]) == 0
        shown.append([line for line in capsys.readouterr().out.splitlines() if not line.startswith("sample ")])
    assert shown[0] == shown[1]
    assert "POST ***slack.page***" in shown[0]


def test_basic_authentication_is_shown_decoded_with_the_secret_masked(
    file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["test-action", "text", "-f", file, "--dry-run"]) == 0
    assert "Authorization: Basic base64(AC1:***TWILIO***)" in capsys.readouterr().out


def test_a_mail_is_shown_as_its_reader_will_see_it(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["test-action", "mail", "-f", file, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "mail from automations@example.com to ops@example.com" in shown
    assert "Subject: Ü test-flow" in shown
    assert "Test of action mail: Run test-run of flow test-flow" in shown


async def _tried(file: str, name: str, slack: Slack, monkeypatch: pytest.MonkeyPatch) -> int:
    async with slack.serving() as address:
        monkeypatch.setenv("EGRESS_ALLOW", "127.0.0.0/8")
        monkeypatch.setenv("SECRET_SLACK_PAGE", address + slack.path)
        return await asyncio.to_thread(run, ["test-action", name, "-f", file, "--tenant", "t"])


async def test_what_is_sent_arrives_once_and_says_that_it_is_a_test(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slack = Slack()
    assert await _tried(file, "page", slack, monkeypatch) == 0
    assert len(slack.texts) == 1
    assert slack.texts[0].startswith("Test of action page: Run test-run of flow test-flow entered state Failed")
    shown = capsys.readouterr().out
    assert "succeeded, HTTP 200, host 127.0.0.1" in shown
    assert "/services/" not in shown


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Said(404, "no_service"), "failed for good: http_404: no_service, HTTP 404"),
        (Said(503), "failed, and would be tried again: http_503, HTTP 503"),
    ],
)
async def test_a_failure_is_exit_code_1_with_its_reason_and_is_not_tried_again(
    answer: Said, told: str, file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slack = Slack()
    slack.tell(answer)
    assert await _tried(file, "page", slack, monkeypatch) == 1
    assert told in capsys.readouterr().out
    assert len(slack.paths) == 1


def test_a_missing_secret_is_named_with_the_variable_that_would_hold_it(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SECRET_SLACK_PAGE", raising=False)
    assert run(["test-action", "page", "-f", file, "--tenant", "t"]) == 1
    shown = capsys.readouterr().out
    assert "secret_missing: slack.page" in shown
    assert "SECRET_SLACK_PAGE" in shown


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("cancel", "--flow-run-id"),
        ("pause", "--flow-group-id"),
        ("pause one", "--yes"),
        ("start", "--yes"),
    ],
)
def test_what_acts_on_runs_is_not_done_by_accident(
    name: str, told: str, file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert run(["test-action", name, "-f", file]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "--dry-run" in error


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["page"], 2, "BOOTSTRAP_SERVERS is not set"),
        ([], 2, "say which action"),
        (["--name", "page"], 2, "say which action"),
        (["-f", "FILE"], 2, "--name: there are agents, call, cancel"),
        (["-f", "FILE", "page", "--name", "page"], 2, "named twice"),
        (["-f", "FILE", "--name", "pager"], 1, "there is no action 'pager'"),
        (["-f", "FILE", "--name", "page"], 1, "--tenant"),
        (["-f", "FILE", "call", "--event", "FlowRunEvent", "--dry-run"], 2, "FlowRunStateChangedEvent"),
        (["-f", "/nowhere.yaml"], 2, "No such file"),
        (["-f", "FILE", "agents", "--event", "FlowSLAFailedEvent", "--dry-run"], 1, "{agent_ids} is no attribute"),
        (["-f", "FILE", "cancel", "--event", "AgentSLAFailedEvent", "--dry-run"], 1, "needs an event of a run"),
    ],
)
def test_wrong_use_says_what_to_do(
    arguments: list[str], code: int, told: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["test-action", *(file if one == "FILE" else one for one in arguments)]) == code
    assert told in capsys.readouterr().err


def test_problems_of_a_file_are_told_as_validate_tells_them(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(file).write_text(YAML.replace("SlackNotificationAction", "SlackAction"))
    assert run(["test-action", "call", "-f", file]) == 1
    told = capsys.readouterr().err
    assert run(["validate", "-f", file]) == 1
    assert capsys.readouterr().err == told


def test_a_file_with_one_action_needs_no_name(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["test-action", "-f", file, "--tenant", "other", "--dry-run"]) == 0
    assert "POST ***S***" in capsys.readouterr().out


def test_the_event_is_one_that_the_action_s_texts_fit(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["test-action", "agents", "-f", file, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "sample AgentSLAFailedEvent" in shown
    assert "test-agent-1, test-agent-2 are away" in shown


@pytest.mark.parametrize("event_name", EVENT_NAMES)
def test_a_sample_event_has_all_attributes_of_its_kind_and_no_other(event_name: str) -> None:
    event = sample_event(event_name, action(), IDS, 2_000, "https://ui.example.com")
    has = {name for name, value in event._asdict().items() if value is not None and name != "actions"}
    assert has == attributes_of(event_name)
    assert event.message.startswith("Test of action page: ")
    assert (event.id, event.tenant_id, event.tenant_slug) == ("e", "t", "acme")


def test_a_sample_event_carries_its_action_with_its_limits() -> None:
    made = Action.model_validate(action().model_dump() | {"delivery": {"timeout_seconds": 3}})
    [entry] = json.loads(sample_event(EVENT_NAMES[0], made, IDS, 0).actions)
    assert entry["action_type"] == "SlackNotificationAction"
    assert entry["delivery"] == {"timeout_seconds": 3}


def test_links_are_there_where_their_base_is() -> None:
    event = sample_event(EVENT_NAMES[0], action(), IDS, 0, "https://ui.example.com")
    assert event.flow_run_link == "https://ui.example.com/acme/flow-run/r"
    assert sample_event(EVENT_NAMES[0], action(), IDS, 0).flow_run_link is None


@pytest.mark.parametrize("event_name", EVENT_NAMES)
@given(name=st.text(min_size=1, max_size=30))
def test_every_name_of_an_action_makes_an_event_that_can_be_sent(event_name: str, name: str) -> None:
    event = sample_event(event_name, action().model_copy(update={"name": name}), IDS, 1_000)
    assert name in event.message
    assert default_payload(event)["event_type"] == event_name


def test_an_action_without_templates_is_tried_with_a_state_change() -> None:
    assert fitting_event(action()) == "FlowRunStateChangedEvent"
    assert misfits(action("{kind}"), "FlowRunStateChangedEvent")
    assert fitting_event(action("{kind}")) == "FlowSLAFailedEvent"


def test_no_text_of_a_request_can_fake_lines_or_colours() -> None:
    lines = step_lines(Request("https://x/\x1b[31m", (("A", "b\rc"),), b'"\xff\x1b[0m\x7f"\nnext'))
    assert all(line.isprintable() for line in lines)
    assert lines[-1] == "next"


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome(Verdict.DONE, "already_cancelling", 200), "succeeded: already_cancelling, HTTP 200"),
        (Outcome(Verdict.FINAL, "egress_denied: loopback"), "EGRESS_ALLOW"),
        (Outcome(Verdict.RETRY, "prefect_api_url_missing"), "PREFECT_API_URL"),
        (Outcome(Verdict.FINAL, "http_400", 400, None, (1, 2)), "not had by 2 of the recipients"),
    ],
)
def test_an_outcome_says_why_and_what_may_help(outcome: Outcome, told: str) -> None:
    assert told in "\n".join(line for line, _ in outcome_lines(outcome, "x.example.com"))


def test_what_stands_for_a_secret_names_it() -> None:
    assert masked("SLACK") == "***SLACK***"


def test_every_action_type_that_has_a_channel_can_be_tried_dry(
    file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.internal:4200/api")
    types = {"cancel": "CancelFlowRunAction", "pause": "PauseScheduleAction", "start": "CreateFlowRunAction"}
    for name in [name for name, kind in types.items() if kind in CHANNELS]:
        text = YAML.replace("flow_group_id: g1", "flow_group_id: 0b9c3c1e-6a8e-4f6c-9d3f-2a1b5c7d9e0f")
        Path(file).write_text(text)
        assert run(["test-action", name, "-f", file, "--dry-run"]) == 0, name
        assert "http://prefect.internal:4200/api" in capsys.readouterr().out
