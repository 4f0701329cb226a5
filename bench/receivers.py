"""Many HTTP receivers in a process of their own, as cheap as Python has them, and the handle on that process.

``python -m bench.receivers COUNT`` opens that many ports on 127.0.0.1 and prints them. Each line on stdin is a
command, answered by one line of JSON: ``behave {"<place>": "<behaviour>"}`` for those receivers that are not
healthy, ``count`` = requests received, ``take`` = forgets and tells them: place, event id, microseconds since
1970.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from topology.java import die_with_parent

HEALTHY, SILENT, SLOW, LIMITED, FLAPPING = "healthy", "silent", "slow", "limited", "flapping"
SLOW_S = 5.0
LIMIT_PER_S = 1.0
RETRY_AFTER_S = 2
FLAPS_EVERY_S = 5.0
"""So long it fails, then answers as long."""

_ROOT = Path(__file__).resolve().parent.parent
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
_TOO_MANY = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nRetry-After: %d\r\n\r\n" % RETRY_AFTER_S
_LENGTH, _EVENT = b"\r\nContent-Length: ", b"\r\nX-PREFECT-EVENT-ID: "


class Arrival(NamedTuple):
    """A request that a receiver got."""

    place: int
    event_id: str
    at_us: int


class Receivers:
    """The process; a context manager that ends it."""

    def __init__(self, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.receivers", str(count)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - it only calls prctl
        )
        self.urls = [f"http://127.0.0.1:{port}/hooks/runs" for port in self._answer()]

    def __enter__(self) -> Receivers:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def behave(self, behaviours: Mapping[int, str]) -> None:
        """From now on these receivers behave so; all others are healthy."""
        self._ask("behave " + json.dumps(behaviours))

    def count(self) -> int:
        """How many requests came since the last ``take``."""
        return int(self._ask("count"))

    def take(self) -> list[Arrival]:
        """The requests that came since the last ``take``."""
        return [Arrival(*one) for one in self._ask("take")]

    def _ask(self, command: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the receivers have ended")
        return json.loads(line)


class _Receiver:
    """One port's behaviour."""

    def __init__(self, place: int, arrivals: list[tuple[int, str, int]]) -> None:
        self.behaviour = HEALTHY
        self._place = place
        self._arrivals = arrivals
        self._taken_at_s = 0.0

    def received(self, event_id: str, transport: asyncio.Transport) -> None:
        """Keep it, and answer as the behaviour has it."""
        self._arrivals.append((self._place, event_id, time.time_ns() // 1000))
        if self.behaviour == HEALTHY:
            transport.write(_OK)
        elif self.behaviour == SLOW:
            asyncio.get_running_loop().call_later(SLOW_S, transport.write, _OK)
        elif self.behaviour == LIMITED:
            transport.write(_OK if self._within_limit() else _TOO_MANY)
        elif self.behaviour == FLAPPING:
            fails = int(time.monotonic() / FLAPS_EVERY_S) % 2 == 0
            transport.write(_UNAVAILABLE if fails else _OK)

    def _within_limit(self) -> bool:
        now_s = time.monotonic()
        if now_s - self._taken_at_s < 1 / LIMIT_PER_S:
            return False
        self._taken_at_s = now_s
        return True


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, of clients that send bodies with their length and wait for each answer."""

    def __init__(self, receiver: _Receiver) -> None:
        self._receiver = receiver
        self._come = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        come = self._come = self._come + data
        ends = come.find(b"\r\n\r\n")
        if ends < 0:
            return
        length = int(_header(come, _LENGTH))
        if len(come) >= ends + 4 + length:
            self._come = come[ends + 4 + length :]
            self._receiver.received(_header(come, _EVENT).decode(), self._transport)


def _header(come: bytes, name: bytes) -> bytes:
    begins = come.index(name) + len(name)
    return come[begins : come.index(b"\r\n", begins)]


async def _serve(count: int) -> None:
    loop = asyncio.get_running_loop()
    arrivals: list[tuple[int, str, int]] = []
    receivers = [_Receiver(place, arrivals) for place in range(count)]
    servers = [
        await loop.create_server(lambda receiver=receiver: _Connection(receiver), "127.0.0.1", 0, backlog=1024)  # type: ignore[misc]
        for receiver in receivers
    ]
    _tell([server.sockets[0].getsockname()[1] for server in servers])
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := (await commands.readline()).decode().strip():
        command, _, rest = line.partition(" ")
        if command == "behave":
            behaviours = json.loads(rest)
            for place, receiver in enumerate(receivers):
                receiver.behaviour = behaviours.get(str(place), HEALTHY)
            _tell(True)
        elif command == "count":
            _tell(len(arrivals))
        else:
            _tell(arrivals)
            arrivals.clear()


def _tell(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
