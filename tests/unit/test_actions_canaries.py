"""No value of a secret gets out: not by a log, a result, a destination, an error or a value that is printed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

from actions.channels import CHANNELS
from actions.channels.channel import Job, Services
from actions.exchange import Outcome, Request
from actions.secrets import SecretStore
from actions.transport.egress import egress_policy
from actions.transport.smtp import Mailer, MailServer
from actions.transport.transport import Transport
from tests.unit.actions_events import AT_MS, EVENT

CANARY = "canary7f3a"

CONFIGS: dict[str, dict[str, Any]] = {
    "WebhookAction": {"url_secret": "URL", "signing_secret": "KEY"},
    "SlackNotificationAction": {"webhook_url_secret": "URL"},
    "TeamsWebhookNotificationAction": {"webhook_url_secret": "URL"},
    "EmailNotificationAction": {"to_emails": ["a@x.test"]},
    "TwilioNotificationAction": {
        "account_sid": "AC0123456789abcdef0123456789abcdef", "auth_token_secret": "TOKEN",
        "messaging_service_sid": "MG0123456789abcdef0123456789abcdef", "phone_numbers": ["+15550001111"],
    },
    "PagerDutyNotificationAction": {
        "api_token_secret": "TOKEN", "routing_key": "0123456789abcdef0123456789abcdef", "severity": "error",
    },
    "CancelFlowRunAction": {},
    "PauseScheduleAction": {},
    "CreateFlowRunAction": {"flow_group_id": "g1"},
}  # fmt: skip

# What may become of a secret that is an address: each a way of its own to fail.
ADDRESSES = [
    "http://127.0.0.1:{port}/services/{canary}", "https://127.0.0.1:{port}/{canary}", "http://127.0.0.1:1/{canary}",
    "http://{canary}.invalid/", "http://user:{canary}@127.0.0.1:{port}/", "http://[{canary}", "ftp://x/{canary}",
    "http://10.0.0.1/{canary}", "http://127.0.0.1:{port}/{canary}\r\nX: y", "{canary}", "http://x:{canary}/",
    "http://127.0.0.1:{port}/{canary}\ud800",
]  # fmt: skip
TOKENS = [CANARY, f"{CANARY}\r\nX: y", f"{CANARY}\u00fc", f"{CANARY}\ud800", f"whsec_{CANARY}"]

ANSWERS = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 201 Created", b"HTTP/1.1 302 Found", b"HTTP/1.1 400 Bad Request",
    b"HTTP/1.1 401 Unauthorized", b"HTTP/1.1 404 Not Found", b"HTTP/1.1 429 Too Many", b"HTTP/1.1 503 Away",
    b"no HTTP", b"",
]  # fmt: skip


class Echo:
    """A server that says back all that it was sent, in its headers and its body: HTTP, and in its way SMTP."""

    def __init__(self) -> None:
        self.answer = ANSWERS[0]
        self.heard = b""
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard = await reader.read(65_536)
            self.heard += heard
            said = b" ".join(heard.split())
            if self.answer:
                writer.write(self.answer + b"\r\nX-Said: " + said[:4_000] + b"\r\nLocation: /" + said[:1_000])
                writer.write(b"\r\nRetry-After: " + said[:100] + b"\r\n\r\n" + heard)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    one = Echo()
    server = await asyncio.start_server(one.serve, "127.0.0.1")
    one.port = server.sockets[0].getsockname()[1]
    yield one
    server.close()


@contextmanager
def all_that_is_logged() -> Iterator[list[str]]:
    """Every line of every logger, at its most talkative, with tracebacks."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(logging.Formatter().format(record) + repr(record.__dict__))

    root, handler = logging.getLogger(), Keep(0)
    before = root.level
    root.addHandler(handler)
    root.setLevel(0)
    with structlog.testing.capture_logs() as events:
        yield lines
    root.removeHandler(handler)
    root.setLevel(before)
    lines += [repr(event) for event in events]


async def attempt(job: Job, action_type: str, transport: Transport, said: list[str]) -> Outcome:
    """Hold the whole exchange; ``said`` gets all values that it goes through, as they print."""
    exchange = CHANNELS[action_type].exchange(job)
    said.append(repr(job))
    try:
        step = next(exchange)
        while True:
            reply = await transport.send(step, 2_000 if isinstance(step, Request) else 100)
            said += [repr(step), repr(reply)]
            step = exchange.send(reply)
    except StopIteration as end:
        outcome: Outcome = end.value
        said.append(repr(outcome))
        return outcome
    except Exception as error:
        said += [repr(error), str(error), repr(error.__cause__), repr(error.__context__)]
        raise


async def everything_said(action_type: str, address: str, token: str, answers: list[bytes], echo: Echo) -> list[str]:
    """All that can be seen of one action whose secrets are these, over all answers."""
    services = Services(
        twilio_base_url=f"http://127.0.0.1:{echo.port}", pagerduty_base_url=f"http://127.0.0.1:{echo.port}",
        prefect_api_url=f"http://127.0.0.1:{echo.port}/api", prefect_api_key_secret="TOKEN",
        smtp_host="127.0.0.1", smtp_port=echo.port, email_from="ops@x.test",
    )  # fmt: skip
    channel, config = CHANNELS[action_type], CONFIGS[action_type]
    values = {"URL": address, "KEY": token, "TOKEN": token}
    secrets = {name: values[name] for name in channel.secret_names(config, services)}
    store = SecretStore(None, {})
    said = [channel.destination(EVENT, config, services), repr(vars(store))]
    mailer = Mailer(MailServer("127.0.0.1", echo.port, False, "lab", "TOKEN"), lambda _: token)
    with all_that_is_logged() as lines:
        async with Transport(egress_policy(("127.0.0.0/8",)), mailer) as transport:
            for answer in answers:
                for backend in ("prefect1", "prefect3"):
                    echo.answer = answer
                    job = Job(EVENT, config, secrets, services._replace(prefect_backend=backend), "d1", AT_MS)
                    await attempt(job, action_type, transport, said)
        await asyncio.sleep(0)
    return said + lines


@pytest.mark.parametrize("action_type", sorted(CHANNELS))
async def test_whatever_a_receiver_answers_nobody_sees_a_secret(action_type: str, echo: Echo) -> None:
    """It says back every secret that it was sent, in each status that means something."""
    address = ADDRESSES[0].format(port=echo.port, canary=CANARY)
    said = await everything_said(action_type, address, CANARY, ANSWERS, echo)
    assert [text for text in said if CANARY in text] == []
    if action_type in ("SlackNotificationAction", "CancelFlowRunAction"):
        assert CANARY.encode() in echo.heard, "the double has not been told any secret, so this shows nothing"


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("action_type", ["WebhookAction", "SlackNotificationAction", "TeamsWebhookNotificationAction"])
async def test_an_address_that_fails_is_not_shown(action_type: str, address: str, echo: Echo) -> None:
    said = await everything_said(action_type, address.format(port=echo.port, canary=CANARY), CANARY, ANSWERS[:1], echo)
    assert [text for text in said if CANARY in text] == []


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("action_type", sorted(CHANNELS))
async def test_a_token_that_no_header_can_carry_is_not_shown(action_type: str, token: str, echo: Echo) -> None:
    address = ADDRESSES[0].format(port=echo.port, canary=CANARY)
    said = await everything_said(action_type, address, token, ANSWERS[:1], echo)
    assert [text for text in said if CANARY in text] == []


@pytest.mark.parametrize("token", TOKENS)
async def test_a_mail_password_that_is_refused_is_not_shown(token: str) -> None:
    """Nor what a server says back of it."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            heard.append(line)
            if line.startswith(b"EHLO"):
                writer.write(b"250-mail.test\r\n250 AUTH PLAIN LOGIN\r\n")
            else:
                writer.write(b"535 5.7.8 you said " + CANARY.encode() + b"\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    said: list[str] = []
    mailer = Mailer(MailServer("127.0.0.1", port, False, "lab", "TOKEN"), lambda _: token)
    services = Services(smtp_host="127.0.0.1", smtp_port=port, email_from="ops@x.test")
    with all_that_is_logged() as lines:
        async with Transport(egress_policy(()), mailer) as transport:
            job = Job(EVENT, CONFIGS["EmailNotificationAction"], {}, services, "d1", AT_MS)
            outcome = await attempt(job, "EmailNotificationAction", transport, said)
    server.close()
    assert outcome.reason in ("smtp_auth_failed", "smtp_failed", "not_sent")
    assert [text for text in [*said, *lines] if CANARY in text] == []
