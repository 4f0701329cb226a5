"""A process under measurement: its CPU time and memory as the kernel counts them, its own metrics over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep, time
from typing import NamedTuple, Self

from topology.java import die_with_parent

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_ROOT = Path(__file__).resolve().parent.parent


class Usage(NamedTuple):
    """What a contender took for the workload."""

    records: int
    seconds: float
    cpu_seconds: float
    peak_rss_mb: float


def run_module(module: str, *arguments: str, env: Mapping[str, str], stdin: str = "", timeout_s: float = 300) -> str:
    """Runs ``python -m module`` to its end; what it printed."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(
        command,
        env={**os.environ, **env},
        cwd=_ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{module} {' '.join(arguments)} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout


class ServiceProcess:
    """``python -m`` a service; a context manager that ends it."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self._port = _free_port()
        self._log = log
        self._began_s = monotonic()
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env={**os.environ, **env, "HTTP_PORT": str(self._port)},
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=die_with_parent(),  # noqa: PLW1509 - it only calls prctl
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self._process.kill()
        self._process.wait()

    def leave(self) -> None:
        """Asks it to leave and waits for its end."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(12)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ready(self) -> bool:
        """Whether it is at work."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=5):
                return True
        except OSError:
            return False

    def counted(self, metric: str) -> int:
        """The sum of a metric over its labels; 0 while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                text: str = answer.read().decode()
        except OSError:
            return 0
        start = metric + "{"
        return sum(int(float(line.rsplit(" ", 1)[1])) for line in text.splitlines() if line.startswith(start))

    def labels(self, metric: str, having: str, label: str) -> list[str]:
        """A label's values in a metric's series that have another; none while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                text: str = answer.read().decode()
        except OSError:
            return []
        start, name = metric + "{", f'{label}="'
        series = [line for line in text.splitlines() if line.startswith(start) and having in line]
        return [line.partition(name)[2].partition('"')[0] for line in series]

    def log_lines(self) -> list[tuple[float, str]]:
        """What it has logged, each entry with its time as `monotonic` has it."""
        ahead_s = time() - monotonic()
        found = []
        for line in self._log.read_text(errors="replace").splitlines():
            with suppress(ValueError, KeyError):
                at_s = datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp()
                found.append((at_s - ahead_s, line))
        return found

    def logged_after_s(self, event: str, timeout_s: float = 30) -> float:
        """Seconds from its start to its first log entry of that name."""
        while True:
            for at_s, line in self.log_lines():
                if json.loads(line).get("event") == event:
                    return at_s - self._began_s
            if monotonic() - self._began_s > timeout_s:
                raise SystemExit(f"it has not logged {event!r}: {self.last_words()}")
            sleep(0.02)

    def cpu_s(self) -> float:
        """User and system time of all its threads."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def peak_rss_mb(self) -> float:
        """The most memory it has had so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace").strip()[-2000:]


class ConsumerProcess(ServiceProcess):
    """One ``automations consumer``."""

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        super().__init__(("cli", "consumer"), env, log)

    def consume(self, total: int, timeout_s: float) -> Usage:
        """Waits until ``total`` records are committed. CPU and time begin with the last look before the first.

        They end with the look that finds all committed, so up to a commit interval of waiting is included.
        """
        give_up_s = monotonic() + timeout_s
        began_s, began_cpu_s = monotonic(), 0.0
        while True:
            sleep(0.1)
            now_s, cpu_s = monotonic(), self.cpu_s()
            consumed = self.counted("automations_records_consumed_total")
            if consumed == 0:
                began_s, began_cpu_s = now_s, cpu_s
            if consumed >= total:
                # The look itself costs the process a little; it is counted as its own.
                return Usage(total, now_s - began_s, cpu_s - began_cpu_s, self.peak_rss_mb())
            if not self.running or now_s > give_up_s:
                raise SystemExit(f"the consumer came to {consumed} of {total} records: {self.last_words()}")


class RunnerProcess(ServiceProcess):
    """One ``automations actions``."""

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        super().__init__(("cli", "actions"), env, log)

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Waits until it has its partitions."""
        give_up_s = monotonic() + timeout_s
        while not self.ready():
            if not self.running or monotonic() > give_up_s:
                raise SystemExit(f"the action runner does not get ready: {self.last_words()}")
            sleep(0.1)


def machine_idle_s() -> float:
    """Seconds that the machine's cores were idle since it started; over a while, what a measurement left of them."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return (int(fields[4]) + int(fields[5])) / _TICKS


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
