"""What one attempt may use, and what it remembers when it is cut short."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from actions.attempt import ATTEMPT_S, Attempt, Attempts
from actions.channels import CHANNELS
from actions.channels.channel import Channel, Services
from actions.clock import Clock
from actions.delivery import Delivery, Source, deliveries
from actions.exchange import Answer, Exchange, Failure, Mail, MailAnswer, Outcome, Reply, Request, Step, Verdict
from actions.secrets import SecretStore
from tests.unit.actions_events import fired

OPERATORS = Services(
    prefect_api_url="https://prefect.test/api",
    prefect_api_key_secret="prefect-key",
    smtp_host="mail.test",
    email_from="a@b.test",
    operators_secrets=frozenset({"smtp-password", "prefect-key"}),
)
RUN = "0b6ff1e6-6e1c-4a51-9d3a-5d8e5a9f4b11"
NUMBERS = ["+15550000001", "+15550000002", "+15550000003"]
TWILIO = {"account_sid": "AC1", "auth_token_secret": "TOKEN", "messaging_service_sid": "MG1", "phone_numbers": NUMBERS}
ENVIRONMENT = {
    "SMTP_PASSWORD": SecretStr("hunter2"), "PREFECT_KEY": SecretStr("key"), "TOKEN": SecretStr("t"),
}  # fmt: skip


def one(action_type: str, config: dict[str, Any]) -> Delivery:
    event = fired("e1", {"id": "a", "action_type": action_type, "config": config}, run=RUN)
    found = deliveries(event, Source("t", 0, 0, b"k", b"v"), test=False)
    assert isinstance(found, list)
    return found[0]


class Service:
    """Answers each step by ``reply``; from the step ``silent_from`` on it keeps silent."""

    def __init__(self, reply: Callable[[Step], Reply], silent_from: int = 1_000) -> None:
        self.reply = reply
        self.silent_from = silent_from
        self.asked: list[Step] = []
        self.silent = asyncio.Event()

    async def send(self, step: Step, timeout_ms: int | None) -> Reply:
        self.asked.append(step)
        if len(self.asked) > self.silent_from:
            self.silent.set()
            await asyncio.Event().wait()
        return self.reply(step)


def attempts(service: Service, folder: Path | None = None, now_s: Callable[[], float] | None = None) -> Attempts:
    secrets = SecretStore(None if folder is None else str(folder), ENVIRONMENT)
    if now_s is None:
        return Attempts(service.send, secrets, OPERATORS, Clock())
    return Attempts(service.send, secrets, OPERATORS, Clock(), now_s)


async def made(action_type: str, config: dict[str, Any], service: Service, folder: Path | None = None) -> Attempt:
    return await attempts(service, folder).make(CHANNELS[action_type], one(action_type, config))


async def cut_short(channel: Channel, delivery: Delivery, service: Service) -> Attempt:
    """An attempt that is cancelled while its service is silent."""
    task = asyncio.create_task(attempts(service).make(channel, delivery))
    await service.silent.wait()
    task.cancel()
    return await task


@pytest.mark.parametrize("name", ["smtp-password", "SMTP_PASSWORD", "smtp.password", "Smtp-Password", "PREFECT.KEY"])
@pytest.mark.parametrize("field", ["url_secret", "signing_secret"])
async def test_an_operators_secret_is_not_an_actions_however_it_is_spelled(name: str, field: str) -> None:
    service = Service(lambda _: Answer(200))
    config = {field: name} if field == "url_secret" else {field: name, "url": "https://x.test"}
    attempt = await made("WebhookAction", config, service)
    assert attempt == Attempt(Outcome(Verdict.FINAL, f"secret_reserved: {name}"), None, None)
    assert not service.asked


@pytest.mark.parametrize("name", ["smtp-password", "SMTP_PASSWORD"])
async def test_a_tenants_own_file_of_an_operators_name_is_the_tenants(name: str, tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / name).write_text("https://own.test/hook")
    service = Service(lambda _: Answer(200))
    attempt = await made("WebhookAction", {"url_secret": name}, service, tmp_path)
    assert attempt.outcome.verdict is Verdict.DONE
    [asked] = service.asked
    assert isinstance(asked, Request)
    assert asked.url == "https://own.test/hook"


async def test_the_operators_service_gets_the_operators_secret_and_no_tenants(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "prefect-key").write_text("the tenant's")
    service = Service(lambda _: Failure("enough", final=True))
    # What an action's own text says is no name of a secret.
    await made("CancelFlowRunAction", {"message": "prefect-key"}, service, tmp_path)
    [asked] = service.asked
    assert isinstance(asked, Request)
    assert dict(asked.headers)["Authorization"] == "Bearer key"


async def test_cut_short_who_has_had_the_message_is_remembered() -> None:
    service = Service(lambda _: Answer(201), silent_from=2)
    attempt = await cut_short(CHANNELS["TwilioNotificationAction"], one("TwilioNotificationAction", TWILIO), service)
    assert attempt.interrupted
    assert attempt.fault is None, "it says nothing of the service"
    assert attempt.outcome == Outcome(Verdict.RETRY, "interrupted", recipients_left=(2,))


async def test_cut_short_between_two_mails_the_first_is_remembered() -> None:
    service = Service(lambda _: MailAnswer({}), silent_from=1)
    config = {"to_emails": ["jörg@x.test", "a@x.test"]}
    attempt = await cut_short(CHANNELS["EmailNotificationAction"], one("EmailNotificationAction", config), service)
    assert [step.recipients for step in service.asked if isinstance(step, Mail)] == [("a@x.test",), ("jörg@x.test",)]
    assert (attempt.interrupted, attempt.outcome.recipients_left) == (True, (0,))


@pytest.mark.parametrize(
    ("action_type", "config"),
    [
        ("WebhookAction", {"url": "https://x.test"}), ("TwilioNotificationAction", TWILIO),
        ("EmailNotificationAction", {"to_emails": ["a@x.test"]}),
    ],
)  # fmt: skip
async def test_cut_short_before_anybody_has_had_it_no_attempt_was_made(
    action_type: str, config: dict[str, Any]
) -> None:
    service = Service(lambda _: Answer(200), silent_from=0)
    with pytest.raises(asyncio.CancelledError):
        await cut_short(CHANNELS[action_type], one(action_type, config), service)


async def test_cut_short_an_exchange_is_asked_nothing_more() -> None:
    ended = []

    def stubborn(_: object) -> Exchange:
        try:
            while True:
                yield Request("https://x.test", (), b"")
        finally:
            ended.append(True)

    service = Service(lambda _: Answer(200), silent_from=2)
    channel = Channel(lambda _, __: (), lambda _, __, ___: "to", stubborn)
    with pytest.raises(asyncio.CancelledError):
        await cut_short(channel, one("WebhookAction", {"url": "https://x.test"}), service)
    assert len(service.asked) == 3
    assert ended == [True]


async def test_an_attempt_ends_in_time_and_the_next_one_goes_on_with_who_is_left() -> None:
    """A list of any length, of a service that takes its time."""
    seconds = 0.0

    def slowly(_: Step) -> Reply:
        nonlocal seconds
        seconds += ATTEMPT_S * 0.6
        return Answer(201)

    service = Service(slowly)
    makes = attempts(service, now_s=lambda: seconds)
    delivery = one("TwilioNotificationAction", TWILIO)
    attempt = await makes.make(CHANNELS["TwilioNotificationAction"], delivery)
    assert attempt.outcome == Outcome(Verdict.RETRY, "attempt_too_long", recipients_left=(2,))
    assert (attempt.interrupted, attempt.fault, attempt.host) == (False, False, "api.twilio.com")
    again = await makes.make(CHANNELS["TwilioNotificationAction"], delivery._replace(recipients_left=(2,)))
    assert again.outcome.verdict is Verdict.DONE
    assert len(service.asked) == 3
