"""All HTTP that actions do: one request, one answer or the name of what went wrong. Nothing is retried here.

Redirects are not followed, proxies of the environment not used, cookies not kept, and of answers the first
16 KiB read.
"""

import asyncio
import re
import ssl
from functools import lru_cache, partial
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver

from actions.exchange import Answer, Failure, Request
from actions.transport.egress import EgressDenied, EgressPolicy, checked_url, guarded_socket

CONNECT_S = 5.0
TOTAL_S = 15.0
ANSWER_BYTES = 16 * 1024
USER_AGENT = "flow-automations"

_DATE = (
    r"[A-Z][a-z]{2,8},? [0-9A-Z][0-9a-z]{1,2}[ -][0-9A-Z][0-9a-z]{1,2}[ -][0-9]{2,4} [0-9]{2}:[0-9]{2}:[0-9]{2}( GMT)?"
)
_RETRY_AFTER = re.compile(rf"[0-9]{{1,12}}(\.[0-9]{{1,9}})?|{_DATE}")


class Sender:
    """Sends requests within the egress policy. An asynchronous context manager.

    ``context``: how far ends are trusted, by default as the system does. ``resolver``: who is asked for the
    addresses of names, by default the system.
    """

    def __init__(
        self, policy: EgressPolicy, context: ssl.SSLContext | None = None, resolver: AbstractResolver | None = None
    ) -> None:
        self._policy = policy
        self._allows = lru_cache(maxsize=4_096)(policy.allows_host)
        self._context = context
        self._resolver = resolver

    async def __aenter__(self) -> Self:
        secure = True if self._context is None else self._context
        self._guarded = _session(
            aiohttp.TCPConnector(
                limit=0,
                ssl=secure,
                resolver=self._resolver,
                socket_factory=partial(guarded_socket, self._policy),
            )
        )
        # Hosts that the policy names have connections of their own, which nothing else can come to use.
        self._allowed = _session(aiohttp.TCPConnector(limit=0, ssl=secure, resolver=self._resolver))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._guarded.close()
        await self._allowed.close()

    async def send(self, request: Request, timeout_ms: int | None = None) -> Answer | Failure:
        """Make one request. ``timeout_ms`` is for the whole of it, 15 s if ``None``; 5 s of it to connect."""
        url = checked_url(request.url)
        if isinstance(url, Failure):
            return url
        allowed = request.trusted or self._allows(url.raw_host or "", url.port or 0)
        session = self._allowed if allowed else self._guarded
        try:
            response = await session.request(
                request.method,
                url,
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                timeout=_timeout(timeout_ms),
            )
            body = await _first_part(response)
            return Answer(response.status, body, _wait(response.headers.get("Retry-After")))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return _failure(error)


@lru_cache(maxsize=256)
def _timeout(timeout_ms: int | None) -> aiohttp.ClientTimeout:
    total_s = TOTAL_S if timeout_ms is None else timeout_ms / 1000
    return aiohttp.ClientTimeout(total=total_s, connect=min(CONNECT_S, total_s))


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
    )


def _wait(header: str | None) -> str | None:
    """A ``Retry-After`` if it is one, in seconds or as a date: any other text goes no further."""
    return header if header is not None and _RETRY_AFTER.fullmatch(header) else None


async def _first_part(response: aiohttp.ClientResponse) -> bytes:
    """What comes of the body, up to the bound. The status stands even if the rest never arrives.

    With the end of the body the connection is free for the next request.
    """
    body, content = b"", response.content
    try:
        while len(body) < ANSWER_BYTES:
            part = await content.read(ANSWER_BYTES - len(body))
            body += part
            if content.at_eof() or not part:
                return body
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass
    except BaseException:
        response.close()
        raise
    # What is left unread would be read by the next request on this connection.
    response.close()
    return body


def _failure(error: Exception) -> Failure:
    """The name of an error: its text, which may hold the URL, goes no further."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, EgressDenied):
        return Failure(f"egress_denied: {error.os_error.reason}", final=True)
    if isinstance(error, aiohttp.ClientOSError) and type(error.__cause__) is ssl.SSLError:
        # A server may refuse the client's certificate, or the lack of one, after the handshake.
        return Failure("tls_failed")
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return Failure(reason, final=kind in _FINAL)
    return Failure("connection_failed")


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.InvalidURL, "invalid_url"),
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (asyncio.TimeoutError, "timeout"),
    (aiohttp.ClientConnectorDNSError, "dns_failed"),
    (aiohttp.ClientConnectorCertificateError, "certificate_invalid"),
    (aiohttp.ClientSSLError, "tls_failed"),
    (aiohttp.ClientConnectorError, "connection_failed"),
    (aiohttp.ServerDisconnectedError, "disconnected"),
    (aiohttp.ClientResponseError, "answer_unreadable"),
    (aiohttp.ClientPayloadError, "answer_unreadable"),
    (OSError, "connection_failed"),
    (ValueError, "invalid_request"),
)
_FINAL = (aiohttp.InvalidURL, ValueError)
