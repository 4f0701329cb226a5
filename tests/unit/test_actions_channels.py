"""What holds for every channel, whatever its service."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actions.channels import CHANNELS
from actions.channels.channel import Channel, Services
from actions.channels.wording import cut, cut_escaped
from actions.exchange import Answer, Failure, Outcome, Request, Verdict
from tests.examples import examples
from tests.unit.actions_events import EVENT
from tests.unit.conversations import begun, event, held, job

URL = "https://hooks.example.com/in"
SECRETS = {"S": URL, "KEY": "whsec_c2VjcmV0"}
USUAL: dict[str, dict[str, Any]] = {
    "WebhookAction": {"url_secret": "S"},
    "SlackNotificationAction": {"webhook_url_secret": "S"},
    "TeamsWebhookNotificationAction": {"webhook_url_secret": "S"},
    "TwilioNotificationAction": {
        "account_sid": "AC1",
        "auth_token_secret": "KEY",
        "messaging_service_sid": "MG1",
        "phone_numbers": ["+15551234567"],
    },
    "PagerDutyNotificationAction": {"routing_key": "a-key-that-anybody-may-use", "severity": "error"},
}
"""A config of each type that speaks HTTP to a service for notifications."""

each_channel = pytest.mark.parametrize(
    ("channel", "config"), [(CHANNELS[name], config) for name, config in USUAL.items()], ids=list(USUAL)
)


@each_channel
@pytest.mark.parametrize(
    ("reply", "verdict"),
    [(Answer(status), Verdict.RETRY) for status in (408, 425, 429, 500, 502, 503, 504)]
    + [(Answer(status), Verdict.FINAL) for status in (204, 301, 302, 307, 400, 401, 403, 404, 410, 413, 422)]
    + [(Failure("timeout"), Verdict.RETRY), (Failure("egress_denied", final=True), Verdict.FINAL)],
    ids=lambda reply: getattr(reply, "reason", str(getattr(reply, "status", ""))) or None,
)
def test_what_passes_is_tried_again_and_what_does_not_is_final(
    channel: Channel, config: dict[str, Any], reply: Answer | Failure, verdict: Verdict
) -> None:
    asked, outcome = held(channel.exchange(job(config, SECRETS)), reply)
    assert len(asked) == 1
    assert outcome.verdict is verdict
    named = reply.reason if isinstance(reply, Failure) else f"http_{reply.status}"
    assert (outcome.reason, outcome.http_status) == (named, getattr(reply, "status", None))


@each_channel
def test_a_wait_that_the_service_asks_for_is_handed_on(channel: Channel, config: dict[str, Any]) -> None:
    _, outcome = held(channel.exchange(job(config, SECRETS)), Answer(429, b"", "30"))
    assert outcome.retry_after == "30"


@each_channel
@given(
    said=st.binary(max_size=300)
    | st.recursive(st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
@settings(max_examples=examples(40))
def test_no_answer_makes_a_channel_raise_or_repeat_what_it_says(
    channel: Channel, config: dict[str, Any], said: bytes
) -> None:
    for status in (200, 201, 202, 400, 500):
        _, outcome = held(channel.exchange(job(config, SECRETS)), Answer(status, said))
        assert len(outcome.reason or "") < 100


@each_channel
def test_an_answer_nested_deeply_is_only_unreadable(channel: Channel, config: dict[str, Any]) -> None:
    _, outcome = held(channel.exchange(job(config, SECRETS)), Answer(400, b"[" * 16_000))
    assert outcome.reason == "http_400"


@each_channel
def test_secrets_and_keys_stand_in_no_destination_and_no_repr(channel: Channel, config: dict[str, Any]) -> None:
    asked, _ = held(channel.exchange(job(config, SECRETS)), Answer(400))
    seen = channel.destination(EVENT, config, Services()) + repr(asked)
    for secret in (*SECRETS.values(), "a-key-that-anybody-may-use"):
        assert secret not in seen


@pytest.mark.parametrize("channel", CHANNELS.values(), ids=list(CHANNELS))
@pytest.mark.parametrize(
    "config",
    [
        {}, {"url": []}, {"url": URL, "payload": {"a": float("nan")}}, {"url": URL, "headers": "no json"},
        {"url": URL, "headers": ["a"]}, {"url": URL, "headers": {"X": {"y": 1}}}, {"webhook_url_secret": 3},
        {"url": URL, "signing_secret": 7}, {"routing_key": "k", "severity": "loud"}, {"phone_numbers": "+1"},
        USUAL["TwilioNotificationAction"] | {"phone_numbers": [7]},
        USUAL["TwilioNotificationAction"] | {"phone_numbers": []},
    ],
)  # fmt: skip
def test_no_config_makes_a_channel_raise(channel: Channel, config: dict[str, Any]) -> None:
    """A config comes with a record: whatever it holds, there is a request or a reason."""
    assert isinstance(channel.secret_names(config, Services()), tuple)
    assert isinstance(channel.destination(EVENT, config, Services()), str)
    first = begun(channel.exchange(job(config)))
    assert not isinstance(first, Outcome) or first.reason


@each_channel
@given(value=st.text(max_size=60))
def test_no_value_of_an_event_makes_a_channel_raise(channel: Channel, config: dict[str, Any], value: str) -> None:
    said = event(state=value, flow_name=value, message=value, tenant_slug=value, flow_run_link=value)
    asked, _ = held(channel.exchange(job(config | {"message": "{state}{flow_name}"}, SECRETS, event=said)), Answer(400))
    assert isinstance(asked[0], Request)


@given(st.text(), st.integers(1, 50))
def test_a_text_that_is_cut_keeps_its_bound_and_says_so(text: str, length: int) -> None:
    for shown in (cut(text, length), cut_escaped(text, length)):
        assert len(shown) <= length
        assert shown == text or (shown.endswith("…") and text.startswith(shown[:-1]))


def test_no_escape_is_cut_in_two() -> None:
    assert cut_escaped("ab&lt;cd", 5) == "ab…"
    assert cut_escaped("ab\\*cd", 4) == "ab…"
