"""What people write into actions is checked where they write it, in words that say what to do instead."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from schemas.action_configs import checked_config
from schemas.phone_numbers import e164
from schemas.problems import NestedProblems

TWILIO = {"account_sid": "AC1", "auth_token_secret": "T", "messaging_service_sid": "MG1", "phone_numbers": []}


def config(action_type: str, fields: dict[str, Any]) -> dict[str, Any]:
    return checked_config(action_type, fields)


def refusal(action_type: str, fields: dict[str, Any]) -> str:
    with pytest.raises(NestedProblems) as refused:
        checked_config(action_type, fields)
    return str(refused.value)


def numbers(*written: str) -> list[str]:
    found: list[str] = config("TwilioNotificationAction", TWILIO | {"phone_numbers": list(written)})["phone_numbers"]
    return found


def emails(*written: str) -> list[str]:
    found: list[str] = config("EmailNotificationAction", {"to_emails": list(written)})["to_emails"]
    return found


class TestPhoneNumbers:
    """Numbers as the product took them, and as people write them, are stored in E.164."""

    @pytest.mark.parametrize(
        ("written", "stored"),
        [
            ("+15551234567", "+15551234567"),
            ("+1 555-123-4567", "+15551234567"),
            ("555-123-4567", "+15551234567"),
            ("(555) 123-4567", "+15551234567"),
            ("555.123.4567", "+15551234567"),
            ("1 555 123 4567", "+15551234567"),
            ("+44 7911 123456", "+447911123456"),
            ("+44 (0)20 7946 0958", "+442079460958"),
            ("0049 30 901820", "+4930901820"),
            ("+49-30/901820", "+4930901820"),
        ],
    )
    def test_a_number_is_stored_in_its_one_form(self, written: str, stored: str) -> None:
        assert numbers(written) == [stored]

    @pytest.mark.parametrize(
        "written",
        ["", "555-1234", "07911 123456", "447911123456", "+0 555 123 4567", "+1234567890123456", "call me", "+",
         "055 512 3456", "+1 555 123 4567 ext 9", "+1555١٢٣٤٥٦٧", "++15551234567", "+1 555+123 4567"],
    )  # fmt: skip
    def test_what_is_no_number_or_lacks_its_country_is_refused_with_a_remedy(self, written: str) -> None:
        said = refusal("TwilioNotificationAction", TWILIO | {"phone_numbers": ["+15551234567", written]})
        assert "phone_numbers[1]: must be a phone number with its country code, such as +44" in said

    def test_a_number_written_twice_is_texted_once(self) -> None:
        assert numbers("+15551234567", "555-123-4567", "+447911123456") == ["+15551234567", "+447911123456"]

    @given(st.text(alphabet="+0123456789 ()-./x", max_size=24))
    def test_a_stored_number_is_e164_and_stays_the_same(self, written: str) -> None:
        number = e164(written)
        if number is not None:
            assert number[0] == "+"
            assert number[1:].isdecimal()
            assert 7 <= len(number[1:]) <= 15
            assert e164(number) == number


class TestEmails:
    """Addresses that a mail server could refuse for their form alone never get to one."""

    @pytest.mark.parametrize("written", ["ops@example.com", "a.b+c_d@mail.example.co.uk", "root@localhost", "o'x@ü.de"])
    def test_addresses_are_taken_as_they_are(self, written: str) -> None:
        assert emails(written) == [written]

    @pytest.mark.parametrize(
        "written",
        ["", "ops", "@example.com", "ops@", "a@b@c", "a b@example.com", "a@exa mple.com", "Ops <ops@example.com>",
         "a@x,b@y", "a@.com", "a@b..c", ".a@b.c", "a..b@c", "a@-b.c", "a@b-.c", "a@b\r\nBcc: x@y", "a\x00@b.c",
         "a@" + "b" * 64 + ".c", "a" * 65 + "@b.c", "a@[127.0.0.1]", '"a"@b.c'],
    )  # fmt: skip
    def test_what_is_no_address_is_refused(self, written: str) -> None:
        said = refusal("EmailNotificationAction", {"to_emails": [written]})
        assert said == "to_emails[0]: must be an e-mail address such as ops@example.com"

    def test_an_address_written_twice_counts_once(self) -> None:
        assert emails("a@b.c", "d@e.f", "a@b.c") == ["a@b.c", "d@e.f"]


class TestAddresses:
    """Where a webhook goes is an http or https address that anybody may see."""

    @pytest.mark.parametrize(
        "url",
        [
            "https://example.com",
            "HTTP://x:8080/a?b=c#d",
            "http://[::1]:80/",
            "https://münchen.de/ü",
            "http://127.0.0.1/",
        ],
    )
    def test_addresses_are_taken_as_they_are(self, url: str) -> None:
        assert config("WebhookAction", {"url": url}) == {"url": url}

    @pytest.mark.parametrize(
        "url",
        ["https://", "https://:80/", "http://x:99999", "http://x:0", "http://[::1", "http://x:port", "http://a\x00b"],
    )
    def test_what_nobody_can_connect_to_is_refused(self, url: str) -> None:
        assert refusal("WebhookAction", {"url": url}).startswith("url: must be an address")

    def test_a_password_in_an_address_is_refused_and_not_repeated(self) -> None:
        said = refusal("WebhookAction", {"url": "https://me:hunter2@example.com/"})
        assert "store the address as a secret and name that in url_secret" in said
        assert "hunter2" not in said

    @pytest.mark.parametrize("name", ["Host", "content-length", "X Y", "X:Y", "Connection"])
    def test_a_header_that_can_not_be_set_is_refused(self, name: str) -> None:
        said = refusal("WebhookAction", {"url": "https://x", "headers": {"X-Fine": "1", name: "2"}})
        assert said == f"headers: {name!r} is no header that can be set: rename it, or leave it out"

    def test_a_header_named_by_an_attribute_is_known_at_delivery_alone(self) -> None:
        fields = {"url": "https://x", "headers": {"X-{state}": "1"}}
        assert config("WebhookAction", fields) == fields


@pytest.mark.parametrize("written", ["Info", "WARNING", "error", "cRiTiCaL"])
def test_severities_are_stored_in_lower_case(written: str) -> None:
    stored = config("PagerDutyNotificationAction", {"routing_key": "k", "severity": written, "api_token_secret": None})
    assert stored["severity"] == written.lower()


@pytest.mark.parametrize(
    ("action_type", "fields", "said"),
    [
        ("PagerDutyNotificationAction", {"routing_key": "", "severity": "info"}, "routing_key: must be an integration"),
        ("PagerDutyNotificationAction", {"routing_key": "a b", "severity": "info"}, "routing_key: must be an integ"),
        (
            "PagerDutyNotificationAction",
            {"routing_key": "k", "severity": "high"},
            "severity: must be 'info', 'warning'",
        ),
        ("TwilioNotificationAction", TWILIO, "phone_numbers: must not be empty"),
        (
            "TwilioNotificationAction",
            TWILIO | {"phone_numbers": [f"+1555000{number:04}" for number in range(101)]},
            "phone_numbers: must have at most 100, not 101",
        ),
        (
            "EmailNotificationAction",
            {"to_emails": [f"r{number}@x.test" for number in range(101)]},
            "to_emails: must have at most 100, not 101",
        ),
        ("TwilioNotificationAction", TWILIO | {"account_sid": "../x"}, "account_sid: must be a SID"),
        ("TwilioNotificationAction", TWILIO | {"messaging_service_sid": ""}, "messaging_service_sid: must be a SID"),
        ("TeamsWebhookNotificationAction", {"webhook_url_secret": "https://x/hunter2"}, "is the name of a secret, not"),
        (
            "TwilioNotificationAction",
            TWILIO | {"auth_token_secret": "HTTP://x/hunter2"},
            "is the name of a secret, not",
        ),
        ("WebhookAction", {"url_secret": "https://x/hunter2"}, "is the name of a secret, not"),
        ("WebhookAction", {"url": "https://x", "signing_secret": "whsec_hunter2"}, "not the secret itself"),
        ("WebhookAction", {"url": "https://x", "signing_secret": "a/hunter2"}, "must be the name of a secret"),
    ],
)
def test_what_does_not_fit_its_service_is_refused_without_being_repeated(
    action_type: str, fields: dict[str, Any], said: str
) -> None:
    problem = refusal(action_type, fields)
    assert said in problem
    assert "hunter2" not in problem


def documented() -> list[dict[str, Any]]:
    """The actions in the page about actions."""
    page = (Path(__file__).parents[2] / "docs/actions.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)]
    return [action for block in blocks for action in block.get("actions", [])]


@pytest.mark.parametrize("action", documented(), ids=lambda action: action["name"])
def test_what_the_page_about_actions_shows_can_be_written_like_that(action: dict[str, Any]) -> None:
    checked_config(action["type"], action["config"], unknown_too=True)
