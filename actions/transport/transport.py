"""All steps of exchanges go out here, whatever they go by.

Law: ``send`` never raises; what goes wrong is a ``Failure`` whose reason holds no text of a secret or an URL.
"""

import ssl
from types import TracebackType
from typing import Self

import structlog
from aiohttp.abc import AbstractResolver

from actions.exchange import Failure, Reply, Request, Step
from actions.secrets import SecretStore
from actions.transport.egress import EgressPolicy, egress_policy
from actions.transport.sender import Sender
from actions.transport.smtp import Mailer, MailServer
from actions.transport.tls import client_context, tls_files
from topology.settings import SMTPS_PORT, Settings

log = structlog.get_logger()


class Transport:
    """Sends requests and e-mail. An asynchronous context manager; all methods belong to one event loop."""

    def __init__(
        self,
        policy: EgressPolicy,
        mailer: Mailer | None = None,
        context: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._sender = Sender(policy, context, resolver)
        self._mailer = mailer

    async def __aenter__(self) -> Self:
        await self._sender.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sender.__aexit__(kind, error, trace)

    async def send(self, step: Step, timeout_ms: int | None = None) -> Reply:
        """Send one step. ``timeout_ms`` is for the whole of it; ``None`` = the usual time (HTTP 15 s, SMTP 30 s)."""
        try:
            if isinstance(step, Request):
                return await self._sender.send(step, timeout_ms)
            if self._mailer is None:
                return Failure("smtp_host_missing")
            return await self._mailer.send(step, timeout_ms)
        except Exception as error:
            # One delivery's odd input must not end the others'. The error's text may hold a secret.
            log.error("a step could not be sent", step=type(step).__name__, error=type(error).__name__)
            return Failure("not_sent")


def transport_of(settings: Settings, secrets: SecretStore) -> Transport:
    """The transport that the settings ask for. Raises ``SettingError`` for TLS files that can't be used."""
    files = tls_files(settings)
    mailer = None
    if settings.smtp_host is not None:
        server = MailServer(
            settings.smtp_host,
            settings.smtp_port,
            settings.smtp_starttls,
            settings.smtp_username,
            settings.smtp_password_secret,
            implicit=settings.smtp_port == SMTPS_PORT,
        )
        mailer = Mailer(server, secrets.find_operators, client_context(files))
    return Transport(egress_policy(settings.egress_allow), mailer, client_context(files))
