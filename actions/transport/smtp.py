"""All e-mail that actions send: one message to the server of the settings, over a connection of its own.

Laws:
- A password is said over TLS only, or to this host itself. Where TLS is asked for, nothing of a message or a
  password is said without it, whatever the server offers.
- Once the server has taken the message, nothing that happens after it makes it untaken.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import NamedTuple

import aiosmtplib

from actions.exchange import Failure, Mail, MailAnswer
from topology.setting_values import this_host

CONNECT_S = 5.0
TOTAL_S = 30.0


class MailServer(NamedTuple):
    """The server that e-mail goes out by.

    ``starttls``: encrypt after connecting, or send nothing. ``password_secret``: the name of the secret that holds
    the password. ``implicit``: the port is encrypted from the first byte (RFC 8314), as 465 is.
    """

    host: str
    port: int = 587
    starttls: bool = True
    username: str | None = None
    password_secret: str | None = None
    implicit: bool = False


class Mailer:
    """Sends messages by one server.

    ``find_secret``: the value of a secret by its name, ``None`` if there is none now. ``context``: how the server
    is trusted.
    """

    def __init__(
        self, server: MailServer, find_secret: Callable[[str], str | None], context: ssl.SSLContext | None = None
    ) -> None:
        self._server = server
        self._find_secret = find_secret
        self._context = context or ssl.create_default_context()

    async def send(self, mail: Mail, timeout_ms: int | None = None) -> MailAnswer | Failure:
        """Hand over one message. ``timeout_ms`` is for the whole of it, 30 s if ``None``; 5 s of it to connect."""
        server = self._server
        password = None
        if server.username is not None:
            password = self._find_secret(server.password_secret or "")
            if password is None:
                return Failure(f"secret_missing: {server.password_secret}")
        total_s = TOTAL_S if timeout_ms is None else timeout_ms / 1000
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            # A name that is valid and says nothing of the machine; looking it up would ask a name server.
            local_hostname="[127.0.0.1]",
            timeout=total_s,
            use_tls=server.implicit,
            start_tls=False,
            tls_context=self._context,
        )
        try:
            async with asyncio.timeout(total_s):
                failure = await self._open(client, password, total_s)
                return failure or await _hand_over(client, mail)
        except TimeoutError:
            return Failure("smtp_timeout")
        except aiosmtplib.SMTPServerDisconnected:
            return Failure("smtp_disconnected")
        except aiosmtplib.SMTPResponseException as error:
            return _said(error)
        except ssl.SSLError as error:
            return _tls_failure(error)
        except (aiosmtplib.SMTPException, OSError, ValueError):
            return Failure("smtp_failed")
        finally:
            client.close()

    async def _open(self, client: aiosmtplib.SMTP, password: str | None, total_s: float) -> Failure | None:
        """Connect, encrypt, log in: what the settings ask for, in this order."""
        try:
            await client.connect(timeout=min(CONNECT_S, total_s))
        except aiosmtplib.SMTPConnectTimeoutError:
            return Failure("smtp_connect_timeout")
        except aiosmtplib.SMTPConnectResponseError as error:
            return _said(error)
        except aiosmtplib.SMTPConnectError as error:
            cause = error.__cause__
            return _tls_failure(cause) if isinstance(cause, ssl.SSLError) else Failure("smtp_connect_failed")
        if self._server.starttls and not self._server.implicit:
            await client.ehlo()
            if not client.supports_extension("starttls"):
                return Failure("smtp_starttls_missing")
            await client.starttls()
        if self._server.username is None or password is None:
            return None
        if client.get_transport_info("sslcontext") is None and not this_host(self._server.host):
            return Failure("smtp_auth_unencrypted")
        await client.ehlo()
        if not client.supported_auth_methods:
            return Failure("smtp_auth_missing")
        try:
            await client.login(self._server.username, password)
        except aiosmtplib.SMTPAuthenticationError:
            # A password that is being rotated is right again soon.
            return Failure("smtp_auth_failed")
        return None


async def _hand_over(client: aiosmtplib.SMTP, mail: Mail) -> MailAnswer | Failure:
    options = []
    if not all(address.isascii() for address in (mail.sender, *mail.recipients)):
        await client.ehlo()
        if not client.supports_extension("smtputf8"):
            return Failure("smtp_utf8_unsupported", final=True)
        options.append("SMTPUTF8")
    try:
        refused, _ = await client.sendmail(mail.sender, mail.recipients, mail.message, mail_options=options)
    except aiosmtplib.SMTPRecipientsRefused as error:
        refused = {one.recipient: aiosmtplib.SMTPResponse(one.code, "") for one in error.recipients}
    except (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError) as error:
        if error.code < 400:
            return _said(error)
        return MailAnswer(dict.fromkeys(range(len(mail.recipients)), error.code))
    return MailAnswer(
        {place: refused[address].code for place, address in enumerate(mail.recipients) if address in refused}
    )


def _said(error: aiosmtplib.SMTPResponseException) -> Failure:
    return Failure(f"smtp_{error.code}" if 200 <= error.code <= 599 else "smtp_answer_unreadable")


def _tls_failure(error: ssl.SSLError) -> Failure:
    invalid = isinstance(error, ssl.SSLCertVerificationError)
    return Failure("smtp_certificate_invalid" if invalid else "smtp_tls_failed")
