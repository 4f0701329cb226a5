"""Control records are read leniently, refused with words that help, and written in one form."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.action_configs import CONFIGS
from schemas.control import (
    Action,
    AgentConfig,
    Automation,
    FlowSLAConfig,
    InvalidControl,
    Tombstone,
    check_pairing,
    parse_control,
    to_json,
)

ACTION: dict[str, Any] = {
    "id": "a1",
    "tenant_id": "t1",
    "tenant_slug": "acme",
    "name": "page",
    "action_type": "SlackNotificationAction",
    "config": {"webhook_url_secret": "SLACK"},
    "created": "2026-07-01T12:00:00Z",
}
AUTOMATION: dict[str, Any] = {
    "id": "m1",
    "tenant_id": "t1",
    "tenant_slug": "acme",
    "name": "failures",
    "enabled": True,
    "event_type": "FlowRunStateChangedEvent",
    "states": ["Failed"],
    "flow_group_ids": None,
    "action_ids": ["a1"],
    "created": "2026-07-01T12:00:00Z",
    "updated": "2026-07-01T12:00:00.5+02:00",
    "revision": 3,
}
AGENTS: dict[str, Any] = {
    **{name: AUTOMATION[name] for name in ("id", "tenant_id", "tenant_slug", "name", "action_ids")},
    "event_type": "AgentSLAFailedEvent",
    "agent_config_id": "c1",
}
SLA: dict[str, Any] = {
    "id": "s1",
    "tenant_id": "t1",
    "kind": "STARTED_NOT_FINISHED",
    "duration_seconds": 60,
    "flow_group_ids": ["g"],
}
CONFIG: dict[str, Any] = {"id": "c1", "tenant_id": "t1", "name": None}

GOOD_CONFIGS: dict[str, dict[str, Any]] = {
    "WebhookAction": {
        "url": "https://example.com/hook",
        "payload": {"{state}": "{id}"},
        "headers": {"X": "{id}"},
    },
    "SlackNotificationAction": {"webhook_url_secret": "SLACK", "message": "{state}"},
    "TeamsWebhookNotificationAction": {"webhook_url_secret": "TEAMS", "title": "{automation_name}"},
    "EmailNotificationAction": {"to_emails": ["ops@example.com"], "subject": "{event_name}"},
    "TwilioNotificationAction": {
        "account_sid": "AC1",
        "auth_token_secret": "TWILIO",
        "messaging_service_sid": "MG1",
        "phone_numbers": ["+15551234567", "+447911123456"],
    },
    "PagerDutyNotificationAction": {"routing_key": "R1", "severity": "critical"},
    "CancelFlowRunAction": {},
    "PauseScheduleAction": {"flow_group_id": "g1"},
    "CreateFlowRunAction": {"flow_group_id": "g1"},
}


def parse(kind: str, fields: dict[str, Any]) -> Any:
    return parse_control(f"{kind}:{fields.get('id', 'x')}", json.dumps(fields).encode())


def action(action_type: str, config: Any, **more: Any) -> Any:
    return parse("action", {**ACTION, "action_type": action_type, "config": config, **more})


@pytest.mark.parametrize(
    ("kind", "fields", "model"),
    [
        ("action", ACTION, Action),
        ("automation", AUTOMATION, Automation),
        ("automation", AGENTS, Automation),
        ("flow_sla_config", SLA, FlowSLAConfig),
        ("agent_config", CONFIG, AgentConfig),
    ],
)
def test_each_kind_is_read_and_comes_back_from_its_json(kind: str, fields: dict[str, Any], model: Any) -> None:
    record = parse(kind, fields)
    assert isinstance(record, model)
    assert record.key == f"{kind}:{fields['id']}"
    assert parse_control(record.key.encode(), to_json(record)) == record
    assert to_json(parse(kind, dict(reversed(fields.items())))) == to_json(record)


def test_times_are_written_in_utc_with_milliseconds() -> None:
    written = json.loads(to_json(parse("automation", AUTOMATION)))
    assert written["created"] == "2026-07-01T12:00:00.000Z"
    assert written["updated"] == "2026-07-01T10:00:00.500Z"


def test_an_automation_is_written_with_its_own_conditions_fields_alone() -> None:
    assert "agent_config_id" not in json.loads(to_json(parse("automation", AUTOMATION)))
    assert "states" not in json.loads(to_json(parse("automation", AGENTS)))


def test_defaults_are_those_of_the_reference() -> None:
    record = parse("automation", AGENTS)
    assert (record.sla_min_healthy, record.unhealthy_after_seconds, record.enabled) == (1, 300, True)
    without = {name: value for name, value in AUTOMATION.items() if name != "flow_group_ids"}
    assert parse("automation", without).flow_group_ids is None


def test_repeats_count_once_and_states_without_case() -> None:
    record = parse(
        "automation",
        {**AUTOMATION, "states": ["Failed", "failed", "TimedOut"], "action_ids": ["b", "a", "b"],
         "flow_group_ids": ["g", "g"]},
    )  # fmt: skip
    assert record.states == ["Failed", "TimedOut"]
    assert record.action_ids == ["b", "a"]
    assert record.flow_group_ids == ["g"]


def test_an_sla_config_may_have_no_flow_yet_or_all() -> None:
    assert parse("flow_sla_config", {**SLA, "flow_group_ids": []}).flow_group_ids == []
    assert parse("flow_sla_config", {**SLA, "flow_group_ids": None}).flow_group_ids is None


def test_fields_of_a_later_version_are_kept_when_a_record_is_rewritten() -> None:
    later = action("SlackNotificationAction", {"webhook_url_secret": "S", "emoji": "!"}, priority=2)
    written = json.loads(to_json(later))
    assert written["priority"] == 2
    assert written["config"]["emoji"] == "!"


def test_a_record_without_value_is_a_tombstone() -> None:
    assert parse_control(b"automation:m1", None) == Tombstone("automation", "m1")
    assert Tombstone("automation", "m1").key == "automation:m1"


@pytest.mark.parametrize("action_type", GOOD_CONFIGS)
def test_each_type_of_action_takes_its_config(action_type: str) -> None:
    assert set(GOOD_CONFIGS) == set(CONFIGS)
    assert action(action_type, GOOD_CONFIGS[action_type]).config == GOOD_CONFIGS[action_type]


def test_severity_is_read_without_case_and_headers_also_as_a_json_string() -> None:
    assert action("PagerDutyNotificationAction", {"routing_key": "r", "severity": "Info"}).config == {
        "routing_key": "r",
        "severity": "info",
    }
    read = action("WebhookAction", {"url_secret": "HOOK", "headers": '{"A": "{id}"}', "payload": '{"a": 1}'})
    assert read.config == {"url_secret": "HOOK", "headers": {"A": "{id}"}, "payload": '{"a": 1}'}


SLACK, WEBHOOK, PAGER = "SlackNotificationAction", "WebhookAction", "PagerDutyNotificationAction"
BROKEN_ACTIONS = [
    ({"action_type": "SlackAction"}, "action_type: is no known type of action; did you mean"),
    ({"config": None}, "config: must not be null"),
    ({"config": {}}, "config.webhook_url_secret: is missing"),
    (
        {"config": {"webhook_url_secret": "https://hooks.slack.com/x"}},
        "is the name of a secret, not an address",
    ),
    ({"config": {"webhook_url_secret": "a/b"}}, "config.webhook_url_secret: must be the name of a secret"),
    ({"config": {"webhook_url_secret": "-a"}}, "must be the name of a secret"),
    ({"config": {"webhook_url_secret": "a" * 129}}, "must be the name of a secret"),
    ({"action_type": WEBHOOK, "config": {}}, "config: give url or url_secret, one of them: neither"),
    ({"action_type": WEBHOOK, "config": {"url": "http://x", "url_secret": "X"}}, "one of them: both"),
    (
        {"action_type": WEBHOOK, "config": {"url": "example.com"}},
        "config.url: must be an address beginning with",
    ),
    ({"action_type": WEBHOOK, "config": {"url": "ftp://x"}}, "config.url: must be an address"),
    (
        {"action_type": WEBHOOK, "config": {"url": "http://x", "payload": '{"a": {id}}'}},
        "quote its placeholders",
    ),
    (
        {"action_type": WEBHOOK, "config": {"url": "http://x", "headers": {"A": 1}}},
        "config.headers.A: must be text",
    ),
    (
        {"action_type": PAGER, "config": {"routing_key": "r", "severity": "bad"}},
        "config.severity: must be 'info'",
    ),
    (
        {"action_type": "EmailNotificationAction", "config": {"to_emails": []}},
        "config.to_emails: must not be empty",
    ),
    (
        {"action_type": "EmailNotificationAction", "config": {"to_emails": ["x"]}},
        "to_emails[0]: must be an e-mail",
    ),
    ({"action_type": "CreateFlowRunAction", "config": {}}, "config.flow_group_id: is missing"),
    ({"delivery": {"max_attempts": 0}}, "delivery.max_attempts: must be at least 1"),
    ({"delivery": {"timeout_seconds": 9999}}, "delivery.timeout_seconds: must be at most 300"),
    ({"delivery": {"max_age_seconds": "60"}}, "delivery.max_age_seconds: must be a whole number"),
    ({"created": "yesterday"}, "created: must be an RFC 3339 time"),
    ({"tenant_id": ""}, "tenant_id: must not be empty"),
    ({"tenant_slug": None}, "tenant_slug: must not be null"),
    ({"name": 5}, "name: must be text: put it in quotes"),
    ({"id": "other"}, "id: must equal the key's, but is other: write it under action:other"),
]


@pytest.mark.parametrize(("change", "problem"), BROKEN_ACTIONS)
def test_a_broken_action_is_refused_in_words_that_name_the_field(change: dict[str, Any], problem: str) -> None:
    invalid = parse_control("action:a1", json.dumps({**ACTION, **change}).encode())
    assert isinstance(invalid, InvalidControl)
    assert problem in invalid.message
    assert invalid.message.startswith("control record action:a1: ")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"states": []}, "states: must not be empty"),
        ({"states": None}, "states: is missing"),
        ({"states": "Failed"}, "states: must be a list"),
        ({"states": [""]}, "states[0]: must not be empty"),
        ({"flow_group_ids": []}, "flow_group_ids: must not be empty: leave it out for all flows"),
        ({"event_type": "FlowRunFailed"}, "event_type: must be 'FlowRunStateChangedEvent'"),
        ({"event_type": "FlowSLAFailedEvent"}, "flow_sla_config_id: is missing: FlowSLAFailedEvent needs it"),
        ({"event_type": "AgentSLAFailedEvent"}, "agent_config_id: is missing: AgentSLAFailedEvent needs it"),
        ({**AGENTS, "sla_min_healthy": 0}, "sla_min_healthy: must be at least 1"),
        ({**AGENTS, "unhealthy_after_seconds": 0}, "unhealthy_after_seconds: must be at least 1"),
        ({"action_ids": "a1"}, "action_ids: must be a list"),
        ({"enabled": "yes"}, "enabled: must be true or false"),
        ({"revision": -1}, "revision: must be at least 0"),
        ({"id": "x" * 257}, "id: must have at most 256 characters"),
    ],
)
def test_a_broken_automation_is_refused(change: dict[str, Any], problem: str) -> None:
    invalid = parse_control("automation:m1", json.dumps({**AUTOMATION, **change}).encode())
    assert isinstance(invalid, InvalidControl)
    assert problem in invalid.problem


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"duration_seconds": 0}, "duration_seconds: must be at least 1"),
        ({"duration_seconds": 1.5}, "duration_seconds: must be a whole number"),
        ({"duration_seconds": 2**31}, "duration_seconds: must be at most"),
        ({"kind": "LATE"}, "kind: must be 'SCHEDULED_NOT_STARTED' or 'STARTED_NOT_FINISHED'"),
    ],
)
def test_a_broken_sla_config_is_refused(change: dict[str, Any], problem: str) -> None:
    invalid = parse("flow_sla_config", {**SLA, **change})
    assert isinstance(invalid, InvalidControl)
    assert problem in invalid.problem


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        (None, b"{}", "has no key"),
        ("m1", b"{}", "the key must be <kind>:<id>"),
        ("automation:", b"{}", "the key must be <kind>:<id>"),
        ("automatoin:m1", b"{}", "did you mean automation?"),
        (b"\xff:m1", None, "is no known kind"),
        ("automation:m1", b"", "the value must be JSON"),
        ("automation:m1", b"{", "the value must be JSON"),
        ("automation:m1", b"\xff", "the value must be JSON"),
        ("automation:m1", b'{"id": NaN}', "the value must be JSON"),
        ("automation:m1", b'{"id": "\\ud800"}', "the value must be JSON"),
        ("automation:m1", b"[" * 100_000, "the value must be JSON"),
        ("automation:m1", b"[]", "the value must be a JSON object"),
        ("automation:m1", b"{}", "tenant_id: is missing"),
    ],
)
def test_what_is_no_control_record_is_refused(key: Any, value: bytes | None, problem: str) -> None:
    invalid = parse_control(key, value)
    assert isinstance(invalid, InvalidControl)
    assert problem in invalid.message


def test_a_problem_never_shows_a_value_that_may_be_a_secret() -> None:
    secret = "https://hooks.slack.com/services/hunter2"
    for config in ({"webhook_url_secret": secret}, {"webhook_url_secret": f"x {secret}"}):
        assert "hunter2" not in action(SLACK, config).message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([("action", ACTION), ("automation", AUTOMATION), ("flow_sla_config", SLA)]), st.data())
def test_no_value_in_any_field_makes_reading_or_writing_raise(
    base: tuple[str, dict[str, Any]], data: st.DataObject
) -> None:
    kind, fields = base
    name = data.draw(st.sampled_from(sorted(fields)))
    read = parse_control(f"{kind}:{fields['id']}", json.dumps({**fields, name: data.draw(json_values)}).encode())
    if not isinstance(read, InvalidControl | Tombstone):
        assert parse_control(read.key, to_json(read)) == read


class TestPairing:
    """Whether an automation's actions can do anything with its events."""

    STATE = parse("automation", AUTOMATION)
    AGENT = parse("automation", AGENTS)

    @pytest.mark.parametrize("action_type", GOOD_CONFIGS)
    def test_every_good_action_goes_with_a_state_change(self, action_type: str) -> None:
        assert check_pairing(self.STATE, [action(action_type, GOOD_CONFIGS[action_type])]) == []

    @pytest.mark.parametrize(
        ("action_type", "config", "problem"),
        [
            ("CancelFlowRunAction", {}, "CancelFlowRunAction needs an event of a run"),
            ("PauseScheduleAction", {}, "PauseScheduleAction needs a flow_group_id in its config"),
            (
                SLACK,
                {"webhook_url_secret": "S", "message": "{flow_name}"},
                "config.message: {flow_name} is no",
            ),
            (
                WEBHOOK,
                {"url": "http://x", "payload": '{"{kind}": 1}'},
                "config.payload: {kind} is no attribute",
            ),
            (
                WEBHOOK,
                {"url": "http://x", "headers": {"A": "{state}"}},
                "config.headers: {state} is no attribute",
            ),
        ],
    )
    def test_agent_events_refuse_what_needs_a_run(self, action_type: str, config: Any, problem: str) -> None:
        found = check_pairing(self.AGENT, [action(action_type, config)])
        assert len(found) == 1
        assert problem in found[0]
        assert "page" in found[0]

    def test_actions_that_do_not_need_a_run_go_with_agent_events(self) -> None:
        good = action(SLACK, {"webhook_url_secret": "S", "message": "{agent_ids}"})
        pause = action("PauseScheduleAction", {"flow_group_id": "g"})
        assert check_pairing(self.AGENT, [good, pause]) == []

    def test_another_tenants_action_is_refused(self) -> None:
        other = action(SLACK, {"webhook_url_secret": "S"}, tenant_id="t2")
        assert "another tenant" in check_pairing(self.STATE, [other])[0]

    def test_actions_that_the_automation_does_not_name_do_not_matter(self) -> None:
        other = parse("action", {**ACTION, "id": "a9", "tenant_id": "t2"})
        assert check_pairing(self.STATE, [other]) == []
