"""What a webhook's receiver sees, how it knows who sent it, and what its answers mean."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.channels import webhook
from actions.channels.channel import Services
from actions.channels.signing import keys_of, signature_headers
from actions.exchange import Answer, Failure, Request, Verdict
from cli.dead_letters import destination_shown
from schemas.records import AutomationEvent
from tests.unit.actions_events import EVENT
from tests.unit.conversations import NOW_MS, event, job

URL = "https://hooks.example.com:8443/in?x=1"
SPEC_KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def posted(config: dict[str, Any], said: AutomationEvent = EVENT, secrets: dict[str, str] | None = None) -> Request:
    made = webhook.request(job({"url": URL, **config}, secrets, event=said))
    assert isinstance(made, Request)
    return made


def refused(config: dict[str, Any], secrets: dict[str, str] | None = None) -> Failure:
    made = webhook.request(job(config, secrets))
    assert isinstance(made, Failure)
    assert made.final
    return made


def test_a_webhook_posts_all_of_the_event_by_default() -> None:
    made = posted({})
    body = json.loads(made.body)
    assert made.method == "POST"
    assert made.url == URL
    assert not made.trusted
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
    made = posted({"headers": {"X-State": "{state}"}}, event(state=value))
    assert [name for name, _ in made.headers] == ["Content-Type", "X-State"]
    assert all(ord(ch) >= 32 and ch != "\x7f" for ch in made.headers[1][1])


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "X Y", "", "X:Y", "X\nY"])
def test_a_header_that_would_change_the_request_itself_is_refused(name: str) -> None:
    assert refused({"url": URL, "headers": {name: "1"}}).reason == "invalid_headers"


def test_a_webhooks_address_may_be_a_secret() -> None:
    config = {"url_secret": "HOOK"}
    assert webhook.secret_names(config, Services()) == ("HOOK",)
    made = webhook.request(job(config, {"HOOK": f"{URL}\n"}))
    assert isinstance(made, Request)
    assert made.url == URL
    assert "hooks.example.com" not in repr(made)
    assert webhook.destination(EVENT, config, Services()) == "secret:acme/HOOK"


def test_a_destination_is_scheme_host_and_port_and_the_tenant() -> None:
    """On a host that many share, a tenant whose own hook is refused holds up no other's."""
    assert webhook.destination(EVENT, {"url": URL}, Services()) == f"https://hooks.example.com:8443/{EVENT.tenant_id}"
    assert webhook.destination(EVENT, {"url": "http://[::1"}, Services()) == f"invalid:{EVENT.tenant_id}"
    other = EVENT._replace(tenant_id="other")
    for config in ({"url": URL}, {"url": "http://[::1"}, {"url_secret": "HOOK"}):
        of_another = webhook.destination(other._replace(tenant_slug="other"), config, Services())
        assert webhook.destination(EVENT, config, Services()) != of_another


@pytest.mark.parametrize("tenant", ["t1", "a@b.test", "x:y/z?q#f", "[::", "a b", ""])
@pytest.mark.parametrize(
    ("url", "host"),
    [(URL, "hooks.example.com"), ("HTTPS://Hooks.test/a", "hooks.test"), ("http://[2001:db8::1]:81/", "2001:db8::1")],
)
def test_people_are_shown_the_host_alone_whatever_a_tenant_is_called(tenant: str, url: str, host: str) -> None:
    found = destination_shown(event(tenant_id=tenant), "WebhookAction", {"url": url}, Services())
    assert found == host


@pytest.mark.parametrize("config", [{}, {"url": 7}, {"url": ""}, {"url_secret": "GONE"}])
def test_a_config_without_an_address_is_final(config: dict[str, Any]) -> None:
    assert refused(config).reason == "invalid_config"


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


class TestSigning:
    """Requests signed as the Standard Webhooks specification has it."""

    def test_the_vector_of_the_specifications_own_libraries_is_met(self) -> None:
        keys = keys_of(SPEC_KEY)
        assert keys is not None
        headers = signature_headers(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330_999, b'{"test": 2432232314}')
        assert headers == (
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        )

    def test_a_receiver_can_verify_what_it_got_by_the_delivery_the_second_and_the_body(self) -> None:
        made = posted({"signing_secret": "KEY"}, secrets={"KEY": SPEC_KEY})
        headers = dict(made.headers)
        assert headers["webhook-id"] == "d1"
        assert headers["webhook-timestamp"] == str(NOW_MS // 1000)
        assert headers["X-PREFECT-EVENT-ID"] == "e1"
        signed = f"d1.{NOW_MS // 1000}.".encode() + made.body
        key = base64.b64decode(SPEC_KEY.removeprefix("whsec_"))
        digest = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{digest}"

    def test_while_keys_rotate_there_is_a_signature_for_each(self) -> None:
        old, new = (
            dict(posted({"signing_secret": "KEY"}, secrets={"KEY": key}).headers)["webhook-signature"]
            for key in ("old-key", SPEC_KEY)
        )
        both = posted({"signing_secret": "KEY"}, secrets={"KEY": f"{SPEC_KEY} old-key\n"})
        assert dict(both.headers)["webhook-signature"] == f"{new} {old}"

    def test_a_key_may_be_any_text_and_base64_may_lack_its_padding(self) -> None:
        assert keys_of("correct-horse") == [b"correct-horse"]
        assert keys_of("whsec_YQ") == keys_of("whsec_YQ==") == [b"a"]

    @pytest.mark.parametrize("secret", ["", " \n", "whsec_", "whsec_***", "fine whsec_*"])
    def test_without_a_usable_key_nothing_is_sent_unsigned(self, secret: str) -> None:
        config = {"url": URL, "signing_secret": "KEY"}
        assert refused(config, {"KEY": secret}).reason == "invalid_signing_secret"
        assert refused(config).reason == "invalid_signing_secret"

    def test_an_actions_own_headers_never_stand_in_for_the_signature(self) -> None:
        own = {"Webhook-Id": "x", "WEBHOOK-SIGNATURE": "v1,forged", "webhook-timestamp": "0", "X-Own": "1"}
        names = [name for name, _ in posted({"signing_secret": "K", "headers": own}, secrets={"K": "k"}).headers]
        assert names == ["Content-Type", "X-Own", "webhook-id", "webhook-timestamp", "webhook-signature"]

    def test_both_secrets_are_asked_for_once(self) -> None:
        assert webhook.secret_names({"url_secret": "A", "signing_secret": "B"}, Services()) == ("A", "B")
        assert webhook.secret_names({"url_secret": "A", "signing_secret": "A"}, Services()) == ("A",)
