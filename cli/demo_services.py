"""The demo's services: processes of their own, that end with the demo whatever ends it."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread

from cli.errors import Refused

_PR_SET_PDEATHSIG = 1
_PACKAGE_ROOT = Path(__file__).resolve().parent.parent


def _die_with_parent() -> None:
    """In the child, before it becomes the service: the kernel kills it when the demo is gone (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Service:
    """One service process: started, killed and started again by the demo.

    Start it from the main thread: Linux ends a child with the *thread* that made it.
    """

    def __init__(self, command: str, env: Mapping[str, str], log: Path) -> None:
        self.command = command
        self.title = {"consumer": "the consumer", "actions": "the action runner"}[command]
        self._env = {**os.environ, **env}
        self._env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_PACKAGE_ROOT), os.environ.get("PYTHONPATH"))))
        self.log = log
        self._process: subprocess.Popen[str] | None = None
        self._port_known = Event()
        self._port = 0
        self._last_lines: deque[str] = deque(maxlen=12)

    @property
    def pid(self) -> int:
        """Process id of the running service, 0 if there is none."""
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process. Returns at once."""
        self._port_known.clear()
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and command
            [sys.executable, "-m", "cli", self.command],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - it only calls prctl
            start_new_session=True,
        )
        Thread(target=self._read_log, args=(self._process,), name=f"log-{self.command}", daemon=True).start()

    def kill(self) -> None:
        """SIGKILL, as a crashing machine would."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self, wait_s: float = 10) -> None:
        """SIGTERM, and SIGKILL if it does not leave within ``wait_s``."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def ended(self) -> str | None:
        """Why the service is no longer there, in one line with its last words; ``None`` while it runs."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        last = " | ".join(list(self._last_lines)[-3:])
        return f"{self.title} ended with exit code {code}; its last lines: {last or 'none'}"

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until ``/readyz`` answers 200. Raises ``Refused`` when the service ends or takes too long."""
        end = time.monotonic() + timeout_s
        reason = "it has not said its port"
        while time.monotonic() < end:
            if (why := self.ended()) is not None:
                raise Refused(why)
            if self._port_known.wait(0.05):
                reason = self._not_ready() or ""
                if not reason:
                    return
                time.sleep(0.05)
        raise Refused(f"{self.title} was not ready after {timeout_s:.0f} s: {reason}; log: {self.log}")

    def _not_ready(self) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=2):
                return None
        except urllib.error.HTTPError as error:
            return error.read().decode(errors="replace").strip()
        except OSError as error:
            return str(error)

    def _read_log(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        with self.log.open("a") as log:
            for line in process.stderr:
                log.write(line)
                log.flush()
                self._last_lines.append(line.strip())
                self._note_port(line)

    def _note_port(self, line: str) -> None:
        try:
            entry = json.loads(line)
        except ValueError:
            return
        port = entry.get("port", entry.get("http_port")) if isinstance(entry, dict) else None
        if isinstance(port, int) and not self._port_known.is_set():
            self._port = port
            self._port_known.set()
