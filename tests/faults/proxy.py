"""A TCP proxy in front of each broker, whose network can be made to fail for all clients or for some.

The laws:

* without a disturbance, bytes pass unchanged and in order, and the end of one side is the end of the other;
* what a disturbance holds is not lost: when it is over it is delivered, however late and even if its sender has
  given up since, as a network does that was only cut off;
* a disturbance touches the processes that it names alone, if it names some (where ``/proc`` tells whose socket
  a connection is; elsewhere it touches all).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["cut", "slow", "silent_requests", "silent_answers", "reset"]
CHUNK = 65_536


class Disturbance(NamedTuple):
    """What is wrong, with which nodes' network, and for whom.

    ``cut`` holds both directions and ``silent_…`` one of them; ``slow`` delays each chunk by ``delay_s``; ``reset``
    breaks connections off, and each new one. No ``pids`` means everybody.
    """

    kind: Kind
    nodes: frozenset[int]
    pids: frozenset[int] | None = None
    delay_s: float = 0.0


class _Link:
    """A client's connection to a node."""

    def __init__(self, node: int, client_port: int, writer: asyncio.StreamWriter) -> None:
        self.node = node
        self.client_port = client_port
        self.pid: int | None = None
        self.writers = [writer]

    def close(self) -> None:
        """Ends it after what is still to be written."""
        for writer in self.writers:
            writer.close()

    def break_off(self) -> None:
        """Ends it at once, with a reset to both sides."""
        for writer in self.writers:
            with contextlib.suppress(OSError):
                # With no time to linger the kernel resets the connection.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxies:
    """The proxies of all nodes, on a thread of their own; ``fronts`` gives each node's two ports."""

    def __init__(self, fronts: dict[int, tuple[int, int]]) -> None:
        self._fronts = fronts
        self._loop = asyncio.new_event_loop()
        self._links: set[_Link] = set()
        self._disturbance: Disturbance | None = None
        self._calm = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()
        self._await(self._listen())

    def disturb(self, disturbance: Disturbance) -> None:
        """From now on the network is like that, until ``clear``."""
        self._await(self._begin(disturbance))

    def clear(self, reset: bool = False) -> None:
        """The network is well again. What was held is delivered, or with ``reset`` its connections break off."""
        self._await(self._end(reset))

    def stop(self) -> None:
        """Closes every connection."""
        self._await(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _await(self, coroutine: object) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)  # type: ignore[arg-type]
        future.result(30)

    async def _listen(self) -> None:
        self._servers = []
        for node, (front, back) in self._fronts.items():

            async def accept(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, node: int = node, back: int = back
            ) -> None:
                await self._accept(node, back, reader, writer)

            self._servers.append(await asyncio.start_server(accept, "127.0.0.1", front))

    async def _begin(self, disturbance: Disturbance) -> None:
        self._calm = asyncio.Event()
        self._disturbance = disturbance
        for link in self._links:
            link.pid = None
        if disturbance.kind == "reset":
            for link in [link for link in self._links if self._touches(link)]:
                link.break_off()

    async def _end(self, reset: bool) -> None:
        touched = [link for link in self._links if self._touches(link)]
        self._disturbance = None
        if reset:
            for link in touched:
                link.break_off()
        self._calm.set()

    async def _close(self) -> None:
        await self._end(reset=True)
        for server in self._servers:
            server.close()
        for link in list(self._links):
            link.break_off()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, node: int, back: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = _Link(node, writer.get_extra_info("peername")[1], writer)
        self._links.add(link)
        try:
            await self._pass_through(link, back, reader, writer)
        except OSError:
            link.break_off()  # A side broke off, or the node is down: so does the other.
        finally:
            link.close()
            self._links.discard(link)
            self._tasks.discard(task)

    async def _pass_through(
        self, link: _Link, back: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._kind(link) == "reset":
            raise ConnectionResetError
        while self._kind(link) == "cut":
            await self._calm.wait()
        node_reader, node_writer = await asyncio.open_connection("127.0.0.1", back)
        link.writers.append(node_writer)
        await asyncio.gather(
            self._pump(link, reader, node_writer, "silent_requests"),
            self._pump(link, node_reader, writer, "silent_answers"),
        )

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silent: Kind
    ) -> None:
        """Passes on one direction, which ``silent`` holds."""
        while data := await reader.read(CHUNK):
            while (kind := self._kind(link)) in ("cut", silent):
                await self._calm.wait()
            if kind == "slow" and self._disturbance is not None:
                await asyncio.sleep(self._disturbance.delay_s)
            writer.write(data)
            await writer.drain()
        while self._kind(link) in ("cut", silent):
            await self._calm.wait()
        with contextlib.suppress(OSError):
            writer.write_eof()

    def _kind(self, link: _Link) -> Kind | None:
        """What is wrong for a connection now."""
        return self._disturbance.kind if self._disturbance is not None and self._touches(link) else None

    def _touches(self, link: _Link) -> bool:
        disturbance = self._disturbance
        if disturbance is None or link.node not in disturbance.nodes:
            return False
        if disturbance.pids is None:
            return True
        if link.pid is None:
            link.pid = _owner_of(link.client_port, disturbance.pids)
        return link.pid is None or link.pid in disturbance.pids


def _owner_of(port: int, pids: Iterable[int]) -> int | None:
    """Which of these processes has the local port; 0 for none of them, None where that can't be told."""
    try:
        table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return None
    fields = [line.split() for line in table]
    inodes = {row[9] for row in fields if int(row[1].rpartition(":")[2], 16) == port}
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(descriptor.path).removeprefix("socket:[").rstrip("]") in inodes:
                        return pid
    return 0
