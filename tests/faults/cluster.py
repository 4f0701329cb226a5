"""Everything that runs in a campaign: three brokers behind proxies, consumers and runners, watched and restarted.

The laws:

* a process that ends by itself is started again, as a supervisor does, and what it ended with is kept;
* a refusal (exit code 2) is never an answer to a fault: it is kept as a violation;
* when the world is left, nothing that it started is left behind.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from subprocess import TimeoutExpired
from types import TracebackType
from typing import Self
from urllib.error import HTTPError

from tests.faults.proxy import Proxies
from tests.kafka.actions_world import RunnerProcess
from tests.kafka.consumer_process import GRACE_MS, SESSION_MS, ConsumerProcess
from topology.embedded import EmbeddedKafka
from topology.kafka_config import admin
from topology.settings import Settings

TRANSACTION_MS = 10_000
FACTOR = 0.3
"""The action runners' waits between attempts are that much shorter than users'."""
REFUSED = 2

Process = ConsumerProcess | RunnerProcess


@dataclass
class Service:
    """One place in a fleet, and the process that fills it now. ``wanted``: whether it is to be filled."""

    name: str
    start: Callable[[], Process]
    process: Process | None = None
    wanted: bool = False
    paused: bool = False

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.running

    def up(self) -> None:
        """Starts it, if it does not run."""
        self.wanted = True
        if not self.running:
            self.process = self.start()

    def kill(self) -> None:
        """Ends it with SIGKILL; it stays away until ``up``."""
        self.wanted = self.paused = False
        if self.process is not None and self.process.running:
            self.process.kill()

    def pause(self) -> None:
        """Freezes it (SIGSTOP)."""
        if self.process is not None and self.process.running:
            self.paused = True
            self.process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on (SIGCONT)."""
        self.paused = False
        if self.process is not None and self.process.running:
            self.process.signal(signal.SIGCONT)

    def leave(self) -> int:
        """Asks it to leave (SIGTERM) and waits for that; its exit code."""
        self.wanted = False
        if self.process is None or not self.process.running:
            return 0
        return self.process.terminate()[0]


class Cluster:
    """Three brokers with a proxy in front of each; a context manager.

    ``direct`` reaches the brokers themselves: the load and the checker are no part of what is tested.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kafka = EmbeddedKafka(folder / "kafka", nodes=3, fronted=True, say=lambda _: None)
        self.proxies: Proxies | None = None

    def __enter__(self) -> Self:
        self.kafka.start()
        try:
            self.proxies = Proxies(self.kafka.fronts)
        except BaseException:
            self.kafka.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.kafka.pids:
            self.kafka.kill(node)
        if self.proxies is not None:
            self.proxies.stop()
        self.kafka.stop()

    @property
    def fronted(self) -> str:
        """The bootstrap servers of clients behind the proxies."""
        return ",".join(f"127.0.0.1:{front}" for front, _ in self.kafka.fronts.values())

    @property
    def net(self) -> Proxies:
        assert self.proxies is not None
        return self.proxies

    @property
    def nodes(self) -> list[int]:
        return sorted(self.kafka.fronts)

    def coordinator(self, settings: Settings, group: str) -> int | None:
        """The node that coordinates a group, if it can be told."""
        with suppress(Exception):
            found = admin(settings).describe_consumer_groups([group], request_timeout=10)[group].result(15)
            return int(found.coordinator.id)
        return None


class Fleets:
    """The consumers and action runners of a campaign."""

    def __init__(self, direct: Settings, cluster: Cluster, consumers: int, runners: int, module: Sequence[str]) -> None:
        fronted = direct.model_copy(update={"bootstrap_servers": cluster.fronted})
        folder = cluster.folder
        more = {"TRANSACTION_TIMEOUT_MS": str(TRANSACTION_MS)}

        # Each process has a log of its own: it tells the port of that process.
        number = count(1)

        def consumer(name: str) -> Callable[[], Process]:
            return lambda: ConsumerProcess(fronted, folder / f"{name}-{next(number)}.log", (*module,), more)

        def runner(name: str) -> Callable[[], Process]:
            return lambda: RunnerProcess(fronted, folder / f"{name}-{next(number)}.log", factor=FACTOR, **more)

        self.consumers = [Service(f"consumer-{n}", consumer(f"consumer-{n}")) for n in range(6)]
        self.runners = [Service(f"runner-{n}", runner(f"runner-{n}")) for n in range(runners)]
        self.usual = consumers
        self.exits: list[str] = []
        """Processes that ended by themselves: which, and with what."""
        self.refusals: list[str] = []
        self.peak_kb: dict[str, int] = {}
        self._ended: set[int] = set()

    @property
    def all(self) -> list[Service]:
        return [*self.consumers, *self.runners]

    @property
    def alive(self) -> list[Service]:
        """The consumers that run."""
        return [service for service in self.consumers if service.running]

    def start(self) -> None:
        for service in [*self.consumers[: self.usual], *self.runners]:
            service.up()

    def tend(self) -> None:
        """Notes what has ended by itself and starts it again; measures memory."""
        for service in self.all:
            process = service.process
            if process is None:
                continue
            if process.running:
                self._measure(service.name.partition("-")[0], process.pid)
            elif service.wanted:
                self._note(service, process)
                service.up()

    def _note(self, service: Service, process: Process) -> None:
        line = f"{service.name} (log {process.log.name}): exit code {process.exit_code}"
        self.exits.append(line)
        if process.exit_code == REFUSED:
            problem = process.last_problem if isinstance(process, ConsumerProcess) else ""
            self.refusals.append(f"{line}: {problem}")

    def _measure(self, kind: str, pid: int) -> None:
        with suppress(OSError, ValueError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.peak_kb[kind] = max(self.peak_kb.get(kind, 0), int(line.split()[1]))

    def ready(self) -> bool:
        """Whether every consumer that is wanted says that it is restored and caught up."""
        self.tend()
        return all(_is_ready(service.process) for service in self.consumers if service.wanted)

    def unready(self) -> str:
        """What the consumers that are not ready say, for whoever wonders."""
        told = {service.name: _ready_says(service.process) for service in self.consumers if service.wanted}
        return ", ".join(f"{name}: {said}" for name, said in told.items())

    def leave(self) -> list[str]:
        """Asks all to leave; those that did not leave well."""
        bad = []
        for service in self.all:
            running = service.running
            try:
                code = service.leave()
            except TimeoutExpired:
                bad.append(f"{service.name} did not leave")
                continue
            if running and code != 0:
                bad.append(f"{service.name} left with exit code {code}")
        return bad

    def kill(self) -> None:
        """Ends all, whatever they do."""
        for service in self.all:
            service.kill()


def _is_ready(process: Process | None) -> bool:
    return _ready_says(process).startswith("ok")


def _ready_says(process: Process | None) -> str:
    if process is None or not process.running:
        return "not running"
    try:
        return process.get("/readyz").strip()
    except HTTPError as error:
        return error.read().decode(errors="replace").strip()
    except OSError as error:
        return f"no answer: {error}"


__all__ = ["FACTOR", "GRACE_MS", "REFUSED", "SESSION_MS", "TRANSACTION_MS", "Cluster", "Fleets", "Service"]
