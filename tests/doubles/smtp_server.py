"""A mail server on loopback: STARTTLS, AUTH, and messages that are refused if RFC 5322 forbids them."""

import asyncio
import ssl
from collections.abc import Mapping
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

REQUIRED = ("From", "To", "Date", "Message-ID", "Subject")


class Taken(NamedTuple):
    """A message that the server took, and how it came."""

    sender: str
    recipients: list[str]
    raw: bytes
    encrypted: bool
    user: str | None
    options: list[str]

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=default)


class SmtpServer:
    """Takes mail for anybody but those in ``refuses`` (address -> the line it says); ``data_says`` refuses all.

    With ``users`` a log-in is required. An asynchronous context manager.
    """

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        *,
        users: Mapping[str, str] | None = None,
        refuses: Mapping[str, str] | None = None,
        implicit: bool = False,
        utf8: bool = True,
    ) -> None:
        self.taken: list[Taken] = []
        self.connections = 0
        self.log_ins = 0
        self.refuses = dict(refuses or {})
        self.data_says: str | None = None
        self._users = users
        self._context = context
        self._implicit = implicit
        self._utf8 = utf8
        self.port = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()

        def session() -> SMTP:
            self.connections += 1
            return SMTP(
                self,
                authenticator=self._authenticate,
                auth_required=self._users is not None,
                auth_require_tls=False,
                tls_context=None if self._implicit else self._context,
                enable_SMTPUTF8=self._utf8,
                hostname="mail.test",
                loop=loop,
            )

        self._server = await loop.create_server(session, "127.0.0.1", 0, ssl=self._context if self._implicit else None)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.log_ins += 1
        known = {} if self._users is None else self._users
        right = isinstance(data, LoginPassword) and known.get(data.login.decode()) == data.password.decode()
        return AuthResult(success=right, handled=False, auth_data=data.login.decode() if right else None)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.data_says is not None:
            return self.data_says
        options = [option.upper() for option in envelope.mail_options]
        problem = _problem(envelope.content, utf8="SMTPUTF8" in options)
        if problem is not None:
            return f"554 5.6.0 {problem}"
        encrypted = self._implicit or session.ssl is not None
        user = session.auth_data if session.authenticated else None
        self.taken.append(
            Taken(envelope.mail_from, list(envelope.rcpt_tos), envelope.content, encrypted, user, options)
        )
        return "250 2.0.0 OK"


def _problem(raw: bytes, *, utf8: bool) -> str | None:
    lines = raw.split(b"\r\n")
    if any(b"\n" in line or b"\r" in line for line in lines):
        return "a line ends with other than CR LF"
    if any(len(line) > 998 for line in lines):
        return "a line is longer than 998 bytes"
    if not utf8 and not raw.isascii():
        return "bytes beyond ASCII without SMTPUTF8"
    message = message_from_bytes(raw, policy=default)
    for name in REQUIRED:
        if len(message.get_all(name, [])) != 1:
            return f"not one {name}"
    return "defects" if message.defects else None
