"""Consumer processes for tests: started, signalled, asked and ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from topology.java import die_with_parent
from topology.settings import Settings

ROOT = Path(__file__).parents[2]
SESSION_MS, GRACE_MS = 6_000, 2_000


CONSUMER = ("cli", "consumer")
"""The module that is run, and what it is told first."""


class ConsumerProcess:
    """``automations consumer`` (or another module) in a process of its own, told everything by its environment.

    It does not outlive this process.
    """

    def __init__(self, settings: Settings, log: Path, command: tuple[str, ...], env: dict[str, str]) -> None:
        self.log = log
        self._port: int | None = None
        variables = {
            **os.environ,
            "BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "TOPIC_PREFIX": settings.topic_prefix,
            "CONSUMER_GROUP": settings.consumer_group,
            "SESSION_TIMEOUT_MS": str(SESSION_MS),
            "GRACE_MS": str(GRACE_MS),
            "FIRST_START": "beginning",
            "HTTP_PORT": "0",
            **env,
        }
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=die_with_parent(),  # noqa: PLW1509 - two system calls, loaded before the fork
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal such as SIGSTOP or SIGCONT."""
        self._process.send_signal(number)

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def terminate(self) -> tuple[int, float]:
        """Ask it to leave; its exit code and how many seconds it took."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=30)
        return code, time.monotonic() - began

    def wait(self, timeout_s: float = 30) -> int:
        """Its exit code, once it has ended by itself."""
        return self._process.wait(timeout_s)

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        found = []
        for line in self.log.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:  # still being written, or no log line
                found.append({"event": line})
        return found

    def logged(self, event: str) -> bool:
        """Whether it has logged such an entry."""
        return any(line.get("event") == event for line in self.lines())

    @property
    def last_problem(self) -> str:
        """The problem that it named last."""
        problems = [str(line["problem"]) for line in self.lines() if "problem" in line]
        return problems[-1] if problems else ""

    def get(self, path: str) -> str:
        """What its endpoint answers."""
        with urlopen(self._address(path), timeout=2) as answer:
            text: str = answer.read().decode()
            return text

    def _address(self, path: str) -> str:
        """Of an endpoint; raises ``OSError`` while its port is not known."""
        if self._port is None:
            self._port = next((line["http_port"] for line in self.lines() if "http_port" in line), None)
        if self._port is None:
            raise OSError("its port is not known yet")
        return f"http://127.0.0.1:{self._port}{path}"

    def is_ready(self) -> bool:
        """Whether ``/readyz`` says yes."""
        assert self.running, f"the consumer has ended: {self.log.read_text()[-2000:]}"
        try:
            self.get("/readyz")
        except OSError:
            return False
        return True

    def ready(self, timeout_s: float = 40) -> "ConsumerProcess":
        """Wait until it is."""
        until(self.is_ready, timeout_s, "the consumer is ready")
        return self

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(line.rpartition(" ")[2])
            for line in self.get("/metrics").splitlines()
            if line.partition("{")[0].partition(" ")[0] == name and all(part in line for part in wanted)
        )


class Fleet:
    """The consumer processes of a test; those still running are killed when it is over."""

    def __init__(self, settings: Settings, folder: Path, **env: str) -> None:
        self.processes: list[ConsumerProcess] = []
        self._settings, self._folder, self._env = settings, folder, env

    def start(self, *args: str, **env: str) -> ConsumerProcess:
        return self.run((*CONSUMER, *args), env)

    def run(self, command: tuple[str, ...], env: dict[str, str]) -> ConsumerProcess:
        """Starts a module of a test's own that is a consumer too."""
        log = self._folder / f"consumer-{len(self.processes)}.log"
        process = ConsumerProcess(self._settings, log, command, {**self._env, **env})
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in self.processes:
            if process.running:
                process.kill()


@contextmanager
def consumers(settings: Settings, folder: Path, **env: str) -> Iterator[Fleet]:
    """A fleet, none started yet."""
    fleet = Fleet(settings, folder, **env)
    try:
        yield fleet
    finally:
        fleet.stop()


def until(holds: Callable[[], bool], timeout_s: float = 30, what: str = "it") -> None:
    """Wait until something holds; fail when it doesn't in time."""
    ends = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < ends, f"{what} did not come true within {timeout_s} s"
        time.sleep(0.05)
