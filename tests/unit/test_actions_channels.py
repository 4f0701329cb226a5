"""What receivers see, and what their answers mean."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.channels import CHANNELS, slack, webhook
from actions.exchange import Answer, Failure, Request, Verdict
from schemas.records import AutomationEvent
from tests.unit.actions_events import EVENT

URL = "https://hooks.example.com:8443/in?x=1"


def posted(config: dict[str, Any], event: AutomationEvent = EVENT) -> Request:
    made = webhook.request(event, {"url": URL, **config}, {})
    assert isinstance(made, Request)
    return made


def test_a_webhook_posts_all_of_the_event_by_default() -> None:
    made = posted({})
    body = json.loads(made.body)
    assert made.method == "POST"
    assert made.url == URL
    assert dict(made.headers) == {"Content-Type": "application/json", "X-PREFECT-EVENT-ID": "e1"}
    assert set(body) == set(EVENT._fields) - {"actions"} | {"event_type"}
    assert body["event_type"] == body["event_name"] == "FlowRunStateChangedEvent"
    assert body["timestamp"] == "2026-07-01T12:00:00.123Z"
    assert body["flow_link"] is None


def test_a_webhooks_payload_and_headers_are_templates_in_keys_and_values() -> None:
    made = posted({"payload": {"{state}": ["{flow_run_name}", 1, None]}, "headers": {"X-Run": "{flow_run_id}"}})
    assert json.loads(made.body) == {"Failed": ["r", 1, None]}
    assert dict(made.headers) == {"Content-Type": "application/json", "X-Run": "r1"}


def test_payload_and_headers_may_be_given_as_json_strings() -> None:
    made = posted({"payload": '{"run": "{flow_run_id}"}', "headers": '{"content-type": "text/x"}'})
    assert json.loads(made.body) == {"run": "r1"}
    assert made.headers == (("content-type", "text/x"),)


@given(st.text(max_size=40))
def test_an_events_values_make_neither_headers_nor_lines(value: str) -> None:
    made = webhook.request(EVENT._replace(state=value), {"url": URL, "headers": {"X-State": "{state}"}}, {})
    assert isinstance(made, Request)
    assert [name for name, _ in made.headers] == ["Content-Type", "X-State"]
    assert all(ord(ch) >= 32 and ch != "\x7f" for ch in made.headers[1][1])


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "X Y", "", "X:Y", "X\nY"])
def test_a_header_that_would_change_the_request_itself_is_refused(name: str) -> None:
    made = webhook.request(EVENT, {"url": URL, "headers": {name: "1"}}, {})
    assert made == Failure("invalid_headers", final=True)


def test_a_webhooks_address_may_be_a_secret() -> None:
    config = {"url_secret": "HOOK"}
    assert webhook.secret_names(config) == ("HOOK",)
    made = webhook.request(EVENT, config, {"HOOK": URL})
    assert isinstance(made, Request)
    assert made.url == URL
    assert "hooks.example.com" not in repr(made)
    assert webhook.destination(EVENT, config) == "secret:acme/HOOK"


def test_a_destination_is_scheme_host_and_port() -> None:
    assert webhook.destination(EVENT, {"url": URL}) == "https://hooks.example.com:8443"
    assert webhook.destination(EVENT, {"url": "http://[::1"}) == "invalid"


@pytest.mark.parametrize("config", [{}, {"url": 7}, {"url": ""}, {"url_secret": "GONE"}])
def test_a_config_without_an_address_is_final(config: dict[str, Any]) -> None:
    assert webhook.request(EVENT, config, {}) == Failure("invalid_config", final=True)


def test_a_webhook_that_is_to_be_signed_is_not_sent_unsigned() -> None:
    config = {"url": URL, "signing_secret": "KEY"}
    assert webhook.request(EVENT, config, {}) == Failure("signing_unsupported", final=True)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, Verdict.DONE)]
    + [(status, Verdict.RETRY) for status in (408, 425, 429, 500, 502, 503, 504, 599)]
    + [(status, Verdict.FINAL) for status in (201, 202, 204, 301, 302, 307, 400, 401, 404, 410, 413, 422)],
)
def test_only_200_is_success_and_only_passing_faults_are_tried_again(status: int, verdict: Verdict) -> None:
    outcome = webhook.classify(Answer(status, b"", "7"))
    assert outcome.verdict is verdict
    assert outcome.http_status == status
    assert outcome.reason == (None if status == 200 else f"http_{status}")
    assert slack.classify(Answer(status, b"ok")).verdict is verdict


def said(config: dict[str, Any], event: AutomationEvent = EVENT) -> Any:
    made = slack.request(event, {"webhook_url_secret": "S", **config}, {"S": URL})
    assert isinstance(made, Request)
    assert set(json.loads(made.body)) == {"text"}
    return json.loads(made.body)["text"]


def test_slack_gets_the_events_message_or_the_actions_own() -> None:
    assert said({}) == EVENT.message
    assert said({"message": "<!here> {flow_run_name} is {state}"}) == "<!here> r is Failed"


def test_what_an_event_says_is_no_mention_and_no_link_in_slack() -> None:
    nasty = EVENT._replace(state_message="<!channel> & <http://evil|bank>", message="<@U1>")
    assert said({"message": "{state_message}"}, nasty) == "&lt;!channel&gt; &amp; &lt;http://evil|bank&gt;"
    assert said({}, nasty) == "&lt;@U1&gt;"
    agents = EVENT._replace(unhealthy_agent_ids=["<!here>", "b"])
    assert said({"message": "{agent_ids}"}, agents) == "&lt;!here&gt;, b"


@given(st.text(max_size=60))
def test_no_value_brings_an_angle_bracket_to_slack(value: str) -> None:
    text = said({"message": "{state} {message}"}, EVENT._replace(state=value, message=value))
    assert "<" not in text
    assert ">" not in text


@pytest.mark.parametrize(
    ("status", "body", "verdict", "reason"),
    [
        (200, b"ok", Verdict.DONE, None),
        (200, b'{"ok":true}', Verdict.DONE, None),
        (200, b'{"ok":false,"error":"x"}', Verdict.FINAL, "http_200"),
        (200, b"invalid_token", Verdict.FINAL, "http_200: invalid_token"),
        (400, b"invalid_payload", Verdict.FINAL, "http_400: invalid_payload"),
        (403, b"action_prohibited", Verdict.FINAL, "http_403: action_prohibited"),
        (404, b"channel_not_found", Verdict.FINAL, "http_404: channel_not_found"),
        (404, b"no_service", Verdict.FINAL, "http_404: no_service"),
        (410, b"channel_is_archived", Verdict.FINAL, "http_410: channel_is_archived"),
        (429, b"", Verdict.RETRY, "http_429"),
        (500, b"rollup_error", Verdict.RETRY, "http_500: rollup_error"),
        (503, b"<html>busy at https://hooks.slack.com/services/x</html>", Verdict.RETRY, "http_503"),
    ],
)
def test_slacks_documented_answers(status: int, body: bytes, verdict: Verdict, reason: str | None) -> None:
    outcome = slack.classify(Answer(status, body, "30" if status == 429 else None))
    assert (outcome.verdict, outcome.reason, outcome.http_status) == (verdict, reason, status)
    assert outcome.retry_after == ("30" if status == 429 else None)


def test_no_config_makes_a_channel_raise() -> None:
    """A config comes with a record: whatever it holds, there is a request or a reason."""
    odd: list[dict[str, Any]] = [
        {}, {"url": []}, {"url": URL, "payload": {"a": float("nan")}}, {"url": URL, "headers": "no json"},
        {"url": URL, "headers": ["a"]}, {"url": URL, "headers": {"X": {"y": 1}}}, {"webhook_url_secret": 3},
    ]  # fmt: skip
    for channel in CHANNELS.values():
        for config in odd:
            assert isinstance(channel.secret_names(config), tuple)
            assert isinstance(channel.destination(EVENT, config), str)
            assert isinstance(channel.request(EVENT, config, {}), (Request, Failure))
