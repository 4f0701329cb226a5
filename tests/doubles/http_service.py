"""What doubles of HTTP services have in common: a real server on loopback, which can be told what to answer."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web


class Said(NamedTuple):
    """An answer."""

    status: int
    body: str = ""
    headers: dict[str, str] = {}  # noqa: RUF012 - never written to


def said_json(status: int, value: Any, **headers: str) -> Said:
    """An answer in JSON."""
    return Said(status, json.dumps(value), {"Content-Type": "application/json"} | headers)


class HttpService:
    """A service that answers by ``answer``, which checks the documented protocol, unless told otherwise.

    ``tell`` queues answers that the next requests get whatever they say. ``paths`` are those of all requests.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._told: list[Said] = []

    def tell(self, *answers: Said) -> None:
        """The next requests get these answers, one each."""
        self._told += answers

    async def answer(self, request: web.Request, body: bytes) -> Said:
        """What the real service would say."""
        raise NotImplementedError

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port; the value is the address, ``http://127.0.0.1:<port>``."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        self.paths.append(request.path_qs)
        body = await request.read()
        said = self._told.pop(0) if self._told else await self.answer(request, body)
        return web.Response(status=said.status, body=said.body.encode(), headers=said.headers)


def json_body(body: bytes) -> Any:
    """The JSON in a body; ``None`` if it is none."""
    try:
        return json.loads(body)
    except ValueError:
        return None


def is_json(request: web.Request) -> bool:
    """Whether the request says that its body is JSON."""
    return request.content_type == "application/json"
