"""An action that can do nothing with its automation's events is refused, on whatever way it comes to it."""

from datetime import UTC, datetime

import pytest

from schemas.control import Action, ControlRecord
from schemas.manifest import Manifest, load
from streams.control_plan import Plan, Refusal, plan

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
STATES = "{event: FlowRunStateChangedEvent, states: [Failed]}"
LATE = "{event: FlowSLAFailedEvent, kind: STARTED_NOT_FINISHED, duration_seconds: 60}"
AGENTS = "{event: AgentSLAFailedEvent, agent_config: prod}"

SLACK = "SlackNotificationAction"
TEAMS = "TeamsWebhookNotificationAction"
TWILIO = "account_sid: AC1, auth_token_secret: T, messaging_service_sid: MG1, phone_numbers: [555-123-4567]"
PAGER = "routing_key: k, severity: Info"

MISFITS = [
    (AGENTS, "CancelFlowRunAction", "", "CancelFlowRunAction needs an event of a run"),
    (AGENTS, "PauseScheduleAction", "", "PauseScheduleAction needs a flow_group_id in its config"),
    (AGENTS, SLACK, "webhook_url_secret: S, message: '{state}'", "config.message: {state} is no attribute"),
    (AGENTS, TEAMS, "webhook_url_secret: S, title: '{flow_name}'", "config.title: {flow_name} is no attribute"),
    (AGENTS, "TwilioNotificationAction", f"{TWILIO}, message: '{{kind}}'", "config.message: {kind} is no attribute"),
    (STATES, "PagerDutyNotificationAction", f"{PAGER}, message: '{{duration}}'", "{duration} is no attribute"),
    (STATES, "EmailNotificationAction", "to_emails: [a@b.c], subject: '{agent_ids}'", "{agent_ids} is no attribute"),
    (LATE, "CancelFlowRunAction", "message: '{flow_run}'", "{flow_run} is no attribute of FlowSLAFailedEvent; did"),
    (LATE, "WebhookAction", "url: 'https://x', headers: {X: '{stat}'}", "config.headers: {stat} is no attribute"),
    (LATE, "WebhookAction", "url: 'https://x', payload: {'{0}': 1}", "config.payload: {0} is no attribute"),
    (STATES, SLACK, "webhook_url_secret: S, message: '{state.__class__}'", "did you mean {state}?"),
]
FITS = [
    (STATES, "CancelFlowRunAction", "message: '{flow_run_name}'"),
    (LATE, "PauseScheduleAction", ""),
    (AGENTS, "PauseScheduleAction", "flow_group_id: g"),
    (AGENTS, "CreateFlowRunAction", "flow_group_id: g"),
    (AGENTS, SLACK, "webhook_url_secret: S, message: '{agent_ids} {{literal}}'"),
    (LATE, SLACK, "webhook_url_secret: S, message: '{flow_sla_type} {duration} {event_id} {event_type}'"),
]


def text(when: str, action_type: str, config: str) -> str:
    return f"""
tenant: {{id: t, slug: acme}}
actions: [{{name: do, type: {action_type}, config: {{{config}}}}}]
agent_configs: [{{name: prod}}]
automations: [{{name: watch, when: {when}, then: [do]}}]
"""


def records(when: str, action_type: str, config: str) -> list[ControlRecord]:
    manifest = load([("a.yaml", text(when, action_type, config))])
    assert isinstance(manifest, Manifest), manifest
    return manifest.records()


def refusal(made: Plan) -> str:
    assert isinstance(made, Refusal)
    return "\n".join(made.problems)


@pytest.mark.parametrize(("when", "action_type", "config", "problem"), MISFITS)
def test_a_file_with_such_a_pair_is_refused_as_a_whole(when: str, action_type: str, config: str, problem: str) -> None:
    found = load([("a.yaml", text(when, action_type, config))])
    assert isinstance(found, list)
    assert [problem in one.message for one in found] == [True]
    assert found[0].message.startswith("automations[0].then: action do: ")


@pytest.mark.parametrize(("when", "action_type", "config", "problem"), MISFITS)
def test_so_is_an_action_rewritten_until_an_automation_that_is_there_can_not_use_it(
    when: str, action_type: str, config: str, problem: str
) -> None:
    before = {record.key: record for record in records(when, SLACK, "webhook_url_secret: S")}
    other = STATES if when == AGENTS else AGENTS
    # The same action beside an automation that it suits, in a file of its own.
    written = load([("a.yaml", text(other, action_type, config).replace("then: [do]", "then: []"))])
    assert isinstance(written, Manifest)
    rewritten = [record for record in written.records() if isinstance(record, Action)]
    assert rewritten[0].key in before
    assert problem in refusal(plan(before, rewritten, now=NOW))


@pytest.mark.parametrize(("when", "action_type", "config"), FITS)
def test_pairs_that_go_together_are_taken(when: str, action_type: str, config: str) -> None:
    changes = plan({}, records(when, action_type, config), now=NOW)
    assert isinstance(changes, list)
    assert any(isinstance(change.record, Action) for change in changes)
