"""What a mail server can and can't do to the runner, over real sockets."""

import asyncio
import ssl
from collections.abc import Mapping

import pytest
import trustme

from actions.exchange import Failure, Mail, MailAnswer
from actions.transport.smtp import Mailer, MailServer
from tests.doubles.smtp_server import SmtpServer

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

MESSAGE = (
    b"From: ops@sender.test\r\nTo: a@x.test\r\nDate: Wed, 01 Jul 2026 12:00:00 +0000\r\n"
    b"Message-ID: <d1@sender.test>\r\nSubject: s\r\n\r\nhello\r\n"
)
MAIL = Mail("ops@sender.test", ("a@x.test", "b@x.test"), MESSAGE)
AUTHORITY = trustme.CA()


def server_context(name: str = "localhost") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    AUTHORITY.issue_cert(name).configure_cert(context)
    return context


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def mailer(
    server: SmtpServer, *, starttls: bool = True, user: str | None = None, secrets: Mapping[str, str] | None = None
) -> Mailer:
    known = {} if secrets is None else secrets
    to = MailServer("localhost", server.port, starttls, user, "SMTP_PASSWORD" if user else None)
    return Mailer(to, known.get, trusting())


async def test_a_message_goes_over_tls_to_a_server_that_is_verified_by_the_given_authority() -> None:
    async with SmtpServer(server_context()) as server:
        assert await mailer(server).send(MAIL) == MailAnswer({})
    [taken] = server.taken
    assert taken.encrypted
    assert (taken.sender, taken.recipients) == ("ops@sender.test", ["a@x.test", "b@x.test"])
    assert taken.raw == MESSAGE


async def test_a_user_logs_in_with_the_secret_as_it_is_at_that_moment() -> None:
    secrets = {"SMTP_PASSWORD": "old"}
    async with SmtpServer(server_context(), users={"lab": "new"}) as server:
        sending = mailer(server, user="lab", secrets=secrets)
        assert await sending.send(MAIL) == Failure("smtp_auth_failed")
        assert server.taken == []
        secrets["SMTP_PASSWORD"] = "new"
        assert await sending.send(MAIL) == MailAnswer({})
    assert server.taken[0].user == "lab"


async def test_a_missing_password_is_waited_for_without_a_connection() -> None:
    async with SmtpServer(server_context(), users={"lab": "x"}) as server:
        assert await mailer(server, user="lab").send(MAIL) == Failure("secret_missing: SMTP_PASSWORD")
    assert server.connections == 0


async def test_without_the_tls_that_is_asked_for_nothing_is_said() -> None:
    """A server, or someone between, that offers no STARTTLS gets neither password nor message."""
    async with SmtpServer(None, users={"lab": "x"}) as server:
        answer = await mailer(server, user="lab", secrets={"SMTP_PASSWORD": "x"}).send(MAIL)
    assert answer == Failure("smtp_starttls_missing")
    assert (server.log_ins, server.taken) == (0, [])


async def test_without_tls_no_password_goes_to_another_host() -> None:
    async with SmtpServer(None, users={"lab": "x"}) as server:
        # Not known as this host by its name: what leaves the machine can't be told from what doesn't.
        to = MailServer("ip6-localhost.localdomain.test", server.port, False, "lab", "SMTP_PASSWORD")
        found = Mailer(to._replace(host="0.0.0.0"), {"SMTP_PASSWORD": "x"}.get, trusting())
        assert await found.send(MAIL) == Failure("smtp_auth_unencrypted")
    assert (server.log_ins, server.taken) == (0, [])


async def test_to_this_host_itself_a_password_may_go_without_tls() -> None:
    async with SmtpServer(None, users={"lab": "x"}) as server:
        sending = mailer(server, starttls=False, user="lab", secrets={"SMTP_PASSWORD": "x"})
        assert await sending.send(MAIL) == MailAnswer({})
    assert not server.taken[0].encrypted


async def test_a_server_with_no_log_in_where_one_is_asked_for_gets_nothing() -> None:
    class NoLogIn(SmtpServer):
        async def handle_EHLO(
            self, server: object, session: object, envelope: object, hostname: str, responses: list[str]
        ) -> list[str]:
            session.host_name = hostname  # type: ignore[attr-defined]
            return [line for line in responses if "AUTH" not in line]

    async with NoLogIn(server_context()) as server:
        answer = await mailer(server, user="lab", secrets={"SMTP_PASSWORD": "x"}).send(MAIL)
    assert answer == Failure("smtp_auth_missing")
    assert server.taken == []


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_certificate_of_another_name_or_authority_is_not_accepted(implicit: bool) -> None:
    async with SmtpServer(server_context("elsewhere.test"), implicit=implicit) as server:
        answer = await mailer(server).send(MAIL) if not implicit else await implicit_mailer(server).send(MAIL)
        assert answer == Failure("smtp_certificate_invalid")
    async with SmtpServer(server_context(), implicit=implicit) as server:
        unknown = Mailer(MailServer("localhost", server.port), lambda _: None, ssl.create_default_context())
        if not implicit:
            assert await unknown.send(MAIL) == Failure("smtp_certificate_invalid")
    assert server.taken == []


def implicit_mailer(server: SmtpServer) -> Mailer:
    return Mailer(MailServer("localhost", server.port, implicit=True), lambda _: None, trusting())


async def test_a_port_that_is_encrypted_from_the_first_byte_is_spoken_to_so() -> None:
    async with SmtpServer(server_context(), implicit=True) as server:
        assert await implicit_mailer(server).send(MAIL) == MailAnswer({})
    assert server.taken[0].encrypted


async def test_recipients_that_are_refused_are_told_by_their_place_and_the_others_have_it() -> None:
    refuses = {"b@x.test": "550 5.1.1 no such user", "d@x.test": "451 4.7.1 later"}
    mail = MAIL._replace(recipients=("a@x.test", "b@x.test", "c@x.test", "d@x.test"))
    async with SmtpServer(server_context(), refuses=refuses) as server:
        assert await mailer(server).send(mail) == MailAnswer({1: 550, 3: 451})
    assert server.taken[0].recipients == ["a@x.test", "c@x.test"]


async def test_where_all_are_refused_each_has_a_code_of_its_own() -> None:
    refuses = {"a@x.test": "550 5.1.1 no such user", "b@x.test": "451 4.7.1 later"}
    async with SmtpServer(server_context(), refuses=refuses) as server:
        assert await mailer(server).send(MAIL) == MailAnswer({0: 550, 1: 451})


@pytest.mark.parametrize("code", [451, 552, 554])
async def test_a_message_that_is_refused_is_refused_for_all(code: int) -> None:
    async with SmtpServer(server_context()) as server:
        server.data_says = f"{code} no"
        assert await mailer(server).send(MAIL) == MailAnswer({0: code, 1: code})


async def test_an_address_beyond_ascii_needs_a_server_that_knows_such() -> None:
    mail = MAIL._replace(recipients=("jörg@x.test",))
    async with SmtpServer(server_context()) as server:
        assert await mailer(server).send(mail) == MailAnswer({})
        assert server.taken[0].recipients == ["jörg@x.test"]
    async with SmtpServer(server_context(), utf8=False) as server:
        assert await mailer(server).send(mail) == Failure("smtp_utf8_unsupported", final=True)


async def test_nobody_there_is_a_connection_that_failed() -> None:
    nobody = Mailer(MailServer("127.0.0.1", 1), lambda _: None)
    assert await nobody.send(MAIL) == Failure("smtp_connect_failed")
    nowhere = Mailer(MailServer("nobody.invalid", 25), lambda _: None)
    assert await nowhere.send(MAIL) == Failure("smtp_connect_failed")


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (b"", "smtp_connect_failed"),
        (b"421 4.3.2 busy\r\n", "smtp_421"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "smtp_answer_unreadable"),
        (b"220 hello\r\n", "smtp_disconnected"),
    ],
)
async def test_an_answer_that_is_none_has_a_name(says: bytes, reason: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        if says.startswith(b"220"):
            await reader.readline()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    assert await Mailer(MailServer("127.0.0.1", port), lambda _: None).send(MAIL, 2_000) == Failure(reason)
    server.close()


@pytest.mark.parametrize(("says", "reason"), [(b"", "smtp_connect_timeout"), (b"220 hello\r\n", "smtp_timeout")])
async def test_a_server_that_falls_silent_costs_no_more_than_the_timeout(says: bytes, reason: str) -> None:
    silent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    answer = await Mailer(MailServer("127.0.0.1", port), lambda _: None).send(MAIL, 200)
    silent.set()
    server.close()
    assert answer in (Failure(reason), Failure("smtp_timeout"))


async def test_a_message_that_was_taken_stays_taken_whatever_the_server_does_then() -> None:
    class Vanishing(SmtpServer):
        async def handle_QUIT(self, server: object, session: object, envelope: object) -> str:
            raise AssertionError

    async with Vanishing(server_context()) as server:
        assert await mailer(server).send(MAIL) == MailAnswer({})
    assert len(server.taken) == 1
