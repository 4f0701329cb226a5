"""All HTTP that actions do: one request, one answer or the name of what went wrong. Nothing is retried here.

Redirects are not followed, proxies of the environment not used, cookies not kept, and of answers the first
16 KiB read.
"""

import asyncio
import contextlib
from functools import partial
from types import TracebackType
from typing import Self

import aiohttp

from actions.egress import EgressDenied, EgressPolicy, checked_url, guarded_socket
from actions.exchange import Answer, Failure, Request

CONNECT_S = 5.0
TOTAL_S = 15.0
ANSWER_BYTES = 16 * 1024
USER_AGENT = "flow-automations"


class Sender:
    """Sends requests within the egress policy. An asynchronous context manager."""

    def __init__(self, policy: EgressPolicy) -> None:
        self._policy = policy

    async def __aenter__(self) -> Self:
        self._guarded = _session(aiohttp.TCPConnector(limit=0, socket_factory=partial(guarded_socket, self._policy)))
        # Hosts that the policy names have connections of their own, which nothing else can come to use.
        self._allowed = _session(aiohttp.TCPConnector(limit=0))
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
        assert url.host is not None
        session = self._allowed if self._policy.allows_host(url.host) else self._guarded
        total_s = TOTAL_S if timeout_ms is None else timeout_ms / 1000
        timeout = aiohttp.ClientTimeout(total=total_s, connect=min(CONNECT_S, total_s))
        try:
            async with session.request(
                request.method,
                url,
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                timeout=timeout,
            ) as response:
                body = await _first_part(response)
                return Answer(response.status, body, response.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return _failure(error)


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
    )


async def _first_part(response: aiohttp.ClientResponse) -> bytes:
    """What comes of the body, up to the bound. The status stands even if the rest never arrives."""
    body = b""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
        while len(body) < ANSWER_BYTES:
            part = await response.content.read(ANSWER_BYTES - len(body))
            if not part:
                return body
            body += part
    # What is left unread would be read by the next request on this connection.
    response.close()
    return body


def _failure(error: Exception) -> Failure:
    """The name of an error: its text, which may hold the URL, goes no further."""
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, EgressDenied):
        return Failure("egress_denied", final=True)
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
