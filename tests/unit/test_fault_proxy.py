"""The proxy that fault campaigns put in front of brokers: what it holds it delivers, and it spares who is not meant."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Disturbance, Kind, Proxies
from topology.embedded_config import free_ports

QUICK_S, LONG_S = 0.3, 10.0
NODE = 1


class Node:
    """Answers each line with itself, and remembers the lines."""

    def __init__(self, port: int) -> None:
        self.lines: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1024):
                self.lines.append(data)
                connection.sendall(data)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


@pytest.fixture
def ports() -> tuple[int, int]:
    front, back = free_ports(2)
    return front, back


@pytest.fixture
def node(ports: tuple[int, int]) -> Iterator[Node]:
    node = Node(ports[1])
    yield node
    node.close()


@pytest.fixture
def proxies(ports: tuple[int, int], node: Node) -> Iterator[Proxies]:
    proxies = Proxies({NODE: ports})
    yield proxies
    proxies.stop()


@pytest.fixture
def client(ports: tuple[int, int], proxies: Proxies) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", ports[0]), LONG_S) as client:
        assert says(client, b"hello") == b"hello"
        yield client


def says(client: socket.socket, line: bytes, within_s: float = LONG_S) -> bytes | None:
    """Sends a line; what comes back in time."""
    client.sendall(line)
    return hears(client, within_s)


def hears(client: socket.socket, within_s: float = LONG_S) -> bytes | None:
    client.settimeout(within_s)
    try:
        return client.recv(1024)
    except TimeoutError:
        return None


def disturb(proxies: Proxies, kind: Kind, pids: frozenset[int] | None = None) -> None:
    proxies.disturb(Disturbance(kind, frozenset({NODE}), pids, delay_s=0.01))


def test_what_a_cut_network_holds_arrives_when_it_is_well_again(
    client: socket.socket, proxies: Proxies, node: Node
) -> None:
    disturb(proxies, "cut")
    assert says(client, b"held", QUICK_S) is None
    assert node.lines == [b"hello"]
    proxies.clear()
    assert hears(client) == b"held"


def test_a_request_arrives_though_its_sender_has_given_up(
    client: socket.socket, proxies: Proxies, node: Node, ports: tuple[int, int]
) -> None:
    """As a network does that was only cut off: the other side gets it late."""
    disturb(proxies, "silent_requests")
    assert says(client, b"late", QUICK_S) is None
    client.close()
    proxies.clear()
    with socket.create_connection(("127.0.0.1", ports[0]), LONG_S) as other:
        while b"late" not in node.lines:
            assert says(other, b"again") == b"again"


def test_a_network_may_carry_requests_and_no_answers(client: socket.socket, proxies: Proxies, node: Node) -> None:
    disturb(proxies, "silent_answers")
    assert says(client, b"asked", QUICK_S) is None
    assert node.lines == [b"hello", b"asked"]
    proxies.clear()
    assert hears(client) == b"asked"


def test_a_slow_network_carries_everything(client: socket.socket, proxies: Proxies) -> None:
    disturb(proxies, "slow")
    assert says(client, b"slowly") == b"slowly"


def test_a_reset_breaks_connections_off_until_it_is_over(
    client: socket.socket, proxies: Proxies, ports: tuple[int, int]
) -> None:
    disturb(proxies, "reset")
    with pytest.raises(ConnectionResetError):
        client.recv(1024)
    proxies.clear()
    with socket.create_connection(("127.0.0.1", ports[0]), LONG_S) as other:
        assert says(other, b"hello") == b"hello"


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="only Linux tells whose a connection is")
def test_only_the_processes_named_are_touched(client: socket.socket, proxies: Proxies) -> None:
    disturb(proxies, "cut", frozenset({1}))
    assert says(client, b"not me") == b"not me"
    disturb(proxies, "cut", frozenset({os.getpid()}))
    assert says(client, b"me", QUICK_S) is None
    proxies.clear()
