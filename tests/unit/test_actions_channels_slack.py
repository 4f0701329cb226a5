"""What a Slack channel gets to see, and what Slack's answers mean."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.channels import slack
from actions.exchange import Answer, Request, Verdict
from schemas.records import AutomationEvent
from tests.doubles.http_service import Said
from tests.doubles.slack import Slack
from tests.unit.actions_events import EVENT
from tests.unit.conversations import event, held_with_server, job

CONFIG = {"webhook_url_secret": "S"}


def said(config: dict[str, Any], what: AutomationEvent = EVENT) -> Any:
    made = slack.request(job(CONFIG | config, {"S": "https://hooks.slack.com/services/T/B/x"}, event=what))
    assert isinstance(made, Request)
    assert not made.trusted
    assert set(json.loads(made.body)) == {"text"}
    return json.loads(made.body)["text"]


def test_slack_gets_the_events_message_or_the_actions_own() -> None:
    assert said({}) == EVENT.message
    assert said({"message": "<!here> {flow_run_name} is {state}"}) == "<!here> r is Failed"


def test_what_an_event_says_is_no_mention_and_no_link_in_slack() -> None:
    nasty = event(state_message="<!channel> & <http://evil|bank>", message="<@U1>")
    assert said({"message": "{state_message}"}, nasty) == "&lt;!channel&gt; &amp; &lt;http://evil|bank&gt;"
    assert said({}, nasty) == "&lt;@U1&gt;"
    assert said({"message": "{agent_ids}"}, event(unhealthy_agent_ids=["<!here>", "b"])) == "&lt;!here&gt;, b"


@given(st.text(max_size=60))
def test_no_value_brings_an_angle_bracket_to_slack(value: str) -> None:
    text = said({"message": "{state} {message}"}, event(state=value, message=value))
    assert "<" not in text
    assert ">" not in text


def test_a_message_longer_than_slack_keeps_is_cut_with_a_mark_and_no_escape_in_two() -> None:
    text = said({}, event(message="x" * (slack.MAX_TEXT - 3) + "<" * 10))
    assert text == "x" * (slack.MAX_TEXT - 3) + "…"


@pytest.mark.parametrize(
    ("status", "body", "verdict", "reason"),
    [
        (200, b"ok", Verdict.DONE, None),
        (200, b'{"ok":true}', Verdict.DONE, None),
        (200, b"", Verdict.FINAL, "http_200"),
        (200, b'{"ok":false,"error":"x"}', Verdict.FINAL, "http_200"),
        (200, b"invalid_token", Verdict.FINAL, "http_200: invalid_token"),
        (400, b"invalid_payload", Verdict.FINAL, "http_400: invalid_payload"),
        (400, b"user_not_found", Verdict.FINAL, "http_400: user_not_found"),
        (403, b"action_prohibited", Verdict.FINAL, "http_403: action_prohibited"),
        (404, b"channel_not_found", Verdict.FINAL, "http_404: channel_not_found"),
        (404, b"no_service", Verdict.FINAL, "http_404: no_service"),
        (410, b"channel_is_archived", Verdict.FINAL, "http_410: channel_is_archived"),
        (429, b"rate_limited", Verdict.RETRY, "http_429: rate_limited"),
        (500, b"rollup_error", Verdict.RETRY, "http_500: rollup_error"),
        (503, b"<html>busy at https://hooks.slack.com/services/x</html>", Verdict.RETRY, "http_503"),
    ],
)
def test_slacks_documented_answers(status: int, body: bytes, verdict: Verdict, reason: str | None) -> None:
    outcome = slack.classify(Answer(status, body, "30" if status == 429 else None))
    assert (outcome.verdict, outcome.reason, outcome.http_status) == (verdict, reason, status)
    assert outcome.retry_after == ("30" if status == 429 else None)


async def test_a_message_is_posted_and_a_webhook_that_is_gone_is_told() -> None:
    service = Slack()
    async with service.serving() as url:
        posted = await held_with_server(slack.CHANNEL.exchange(job(CONFIG, {"S": url + Slack.path})))
        gone = await held_with_server(slack.CHANNEL.exchange(job(CONFIG, {"S": f"{url}/services/T/B/old"})))
    assert posted.verdict is Verdict.DONE
    assert service.texts == [EVENT.message]
    assert (gone.verdict, gone.reason) == (Verdict.FINAL, "http_404: no_service")


async def test_a_slack_that_is_busy_gets_it_when_it_says() -> None:
    service = Slack()
    service.tell(Said(429, "rate_limited", {"Retry-After": "30"}), Said(500, "rollup_error"))
    async with service.serving() as url:
        secrets = {"S": url + Slack.path}
        outcomes = [await held_with_server(slack.CHANNEL.exchange(job(CONFIG, secrets))) for _ in range(3)]
    assert [outcome.verdict for outcome in outcomes] == [Verdict.RETRY, Verdict.RETRY, Verdict.DONE]
    assert outcomes[0].retry_after == "30"
    assert len(service.texts) == 1


def test_a_message_that_comes_out_empty_is_the_events_own() -> None:
    assert said({"message": "{state_message}"}) == EVENT.message
    assert said({}, event(message=" ")) == "FlowRunStateChangedEvent: failures"
