"""A real Apache Kafka in KRaft mode, started and watched by Python alone.

``python -m topology.embedded`` runs one in the foreground and prints its address.

The laws:

* a broker never outlives the process that started it, however that process ends;
* data in a temporary folder goes when the broker stops; data in a given folder stays;
* a start either gives a cluster that answers, or raises ``EmbeddedKafkaError`` and leaves nothing running.
"""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from topology import kafka_jars
from topology.embedded_config import NodePorts, choose_ports, server_properties
from topology.embedded_storage import FormatFailed, format_storage
from topology.java import JavaProcess, java_command, java_path
from topology.temp_folder import TempFolder, sweep

Say = Callable[[str], None]

_START_TIMEOUT_S = 90
"""For each node: on a busy machine they keep each other waiting."""
_STOP_TIMEOUT_S = 20
_LEAVE_TIMEOUT_S = 60


class EmbeddedKafkaError(Exception):
    """The embedded Kafka can't be had; the message says why and what to do."""


class EmbeddedKafka:
    """A Kafka of 1 or 3 nodes on loopback, each both broker and controller; a context manager.

    ``folder`` keeps the data between runs; without it a temporary one is used and removed. ``heap`` is each
    node's Java heap (``256m`` is enough for tests). ``say`` gets a line when something takes time. With
    ``optimise`` Java compiles as well as it can: a slower start, and more throughput after the first minute.
    ``properties`` are further ones of each node's ``server.properties``: see ``server_properties``.
    If ``fronted``, each node has a second listener for clients behind a proxy: see ``fronts``.
    """

    def __init__(
        self,
        folder: Path | None = None,
        nodes: int = 1,
        heap: str = "256m",
        say: Say = print,
        optimise: bool = False,
        properties: Mapping[str, str] | None = None,
        fronted: bool = False,
    ) -> None:
        if nodes not in (1, 3):
            raise EmbeddedKafkaError(f"the embedded Kafka has 1 or 3 nodes, not {nodes}")
        self._given = folder
        self._nodes = nodes
        self._heap = heap
        self._say = say
        self._optimise = optimise
        self._properties = dict(properties or {})
        self._fronted = fronted
        self._temporary: TempFolder | None = None
        self._folder = Path()
        self._classpath = ""
        self._ports: list[NodePorts] = []
        self._processes: dict[int, JavaProcess] = {}

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` of every node, comma-separated."""
        return ",".join(f"127.0.0.1:{ports.client}" for ports in self._ports)

    @property
    def fronts(self) -> dict[int, tuple[int, int]]:
        """Of each fronted node: the port where its clients look for it, and the one where it listens."""
        return {node: (ports.front, ports.back) for node, ports in enumerate(self._ports, start=1) if ports.back}

    @property
    def pids(self) -> dict[int, int]:
        """The process id of each node that runs, by node number from 1."""
        return {node: process.pid for node, process in self._processes.items() if process.running}

    @property
    def folder(self) -> Path:
        """Where the nodes keep their data and logs."""
        return self._folder

    def start(self) -> None:
        """Start all nodes and wait until the cluster answers. Raises ``EmbeddedKafkaError``."""
        try:
            self._classpath = kafka_jars.classpath(kafka_jars.BROKER, self._say)
            java_path()
        except kafka_jars.JarsUnavailable as error:
            raise EmbeddedKafkaError(str(error)) from error
        try:
            self._prepare()
            for node in range(1, self._nodes + 1):
                self._spawn(node)
            self._await_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop every node; a temporary folder goes with its data. Safe to call twice."""
        # Nothing in a temporary folder is worth a clean shutdown, which takes seconds.
        gently = self._temporary is None
        for process in self._processes.values():
            process.send(signal.SIGTERM if gently else signal.SIGKILL)
        for process in self._processes.values():
            if not process.wait(_STOP_TIMEOUT_S):
                process.kill()
        self._processes.clear()
        if self._temporary is not None:
            self._temporary.remove()
            self._temporary = None

    def kill(self, node: int) -> None:
        """End a node with SIGKILL, as a crash does."""
        self._processes[node].kill()

    def shut_down(self, node: int) -> None:
        """Ask a node to leave (SIGTERM) and wait for that: what it leads goes to others first."""
        self._processes[node].send(signal.SIGTERM)
        if not self._processes[node].wait(_LEAVE_TIMEOUT_S):
            self.kill(node)

    def pause(self, node: int) -> None:
        """Freeze a node (SIGSTOP): it holds its connections and answers nothing."""
        self._processes[node].send(signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """Let a frozen node go on (SIGCONT)."""
        self._processes[node].send(signal.SIGCONT)

    def restart(self, node: int) -> None:
        """Start a node that was killed, on its old ports with its data, and wait for the whole cluster."""
        if self._processes[node].running:
            self.kill(node)
        self._spawn(node)
        self._await_ready()

    def running(self) -> bool:
        """Whether every node's process is there."""
        return bool(self._processes) and all(process.running for process in self._processes.values())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> None:
        """Write each node's properties and format its storage (a folder already formatted stays as it is)."""
        if self._given is None:
            sweep()
            self._temporary = TempFolder()
            self._folder = self._temporary.path
        else:
            self._folder = self._given
            self._folder.mkdir(parents=True, exist_ok=True)
        found = len(list(self._folder.glob("node-*")))
        if found not in (0, self._nodes):
            raise EmbeddedKafkaError(
                f"{self._folder} holds the data of a cluster of {found} nodes, not {self._nodes}: "
                "ask for that number, or give another folder"
            )
        self._ports = choose_ports(self._nodes, self._folder / "ports.json", self._fronted)
        for node in range(1, self._nodes + 1):
            home = self._folder / f"node-{node}"
            home.mkdir(exist_ok=True)
            written = server_properties(node, self._ports, home / "data", self._properties)
            (home / "server.properties").write_text(written)
            try:
                format_storage(node, home / "data", self._classpath)
            except FormatFailed as error:
                raise EmbeddedKafkaError(str(error)) from error

    def _spawn(self, node: int) -> None:
        home = self._folder / f"node-{node}"
        arguments = ["kafka.Kafka", str(home / "server.properties")]
        command = java_command(self._classpath, self._heap, arguments, quick=not self._optimise)
        self._processes[node] = JavaProcess(command, home / "broker.log", home)

    def _await_ready(self) -> None:
        """Wait until every node is a broker that the cluster knows."""
        give_up_at = time.monotonic() + _START_TIMEOUT_S * self._nodes
        admin = AdminClient(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 200,
                # Refused connections are part of a start, not news.
                "log_level": 0,
            }
        )
        while True:
            for node, process in self._processes.items():
                if not process.running:
                    log = self._folder / f"node-{node}" / "broker.log"
                    raise EmbeddedKafkaError(f"Kafka's node {node} ended at its start: {_tail(log)}")
            with contextlib.suppress(KafkaException):
                if len(admin.list_topics(timeout=1).brokers) == self._nodes:
                    return
            if time.monotonic() > give_up_at:
                raise EmbeddedKafkaError(
                    f"Kafka doesn't answer on {self.bootstrap_servers} after "
                    f"{_START_TIMEOUT_S * self._nodes} s; "
                    f"its log: {_tail(self._folder / 'node-1' / 'broker.log')}"
                )
            time.sleep(0.05)


def _tail(log: Path, lines: int = 3) -> str:
    """The last lines of a log that hold text, on one line."""
    try:
        found = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "(it wrote no log)"
    return " | ".join(found[-lines:]) or "(its log is empty)"


def main(argv: list[str] | None = None) -> int:
    """Run an embedded Kafka in the foreground until SIGTERM or Ctrl-C. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m topology.embedded", description=main.__doc__)
    parser.add_argument("--folder", type=Path, help="keep the data here (default: a temporary folder)")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    parser.add_argument("--heap", default="256m", help="Java heap of each node (default: 256m)")
    parser.add_argument("--optimise", action="store_true", help="for long runs: a slower start, then faster")
    chosen = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        with EmbeddedKafka(chosen.folder, chosen.nodes, chosen.heap, say, chosen.optimise) as kafka:
            print(kafka.bootstrap_servers, flush=True)
            while kafka.running():
                time.sleep(0.5)
            print("a node has ended by itself", file=sys.stderr)
            return 1
    except EmbeddedKafkaError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
