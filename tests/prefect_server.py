"""A real Prefect 3 server, in an environment of its own, that tests act upon."""

import fcntl
import json
import os
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from topology.java import die_with_parent

ROOT = Path(__file__).parents[1]
INSTALLED = ROOT / ".venv-prefect" / ".installed"
INSTALL_S, START_S = 240, 180
KEY = "admin:prefect-pass"
"""What opens its API, as the secret holds it."""


class PrefectServer:
    """The server's API at ``url`` (``http://127.0.0.1:<port>/api``), and what tests do and see there."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that it answers; raises ``OSError`` if it doesn't, or with an error."""
        credentials = f"Basic {b64encode(KEY.encode()).decode()}"
        headers = {"Content-Type": "application/json", "Authorization": credentials}
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.url}/{path}", data, headers, method=method), timeout=30) as answer:
            return json.loads(answer.read())

    def deployment(self, name: str, **more: Any) -> str:
        """The id of a new deployment of a flow ``name``."""
        flow: str = self.call("POST", "flows/", {"name": name})["id"]
        made: str = self.call("POST", "deployments/", {"name": name, "flow_id": flow, **more})["id"]
        return made

    def run(self, deployment: str, state: str) -> str:
        """The id of a new run of a deployment, in a state such as ``RUNNING``."""
        made: str = self.call("POST", f"deployments/{deployment}/create_flow_run", {"state": {"type": state}})["id"]
        return made

    def set_state(self, run: str, state: str) -> None:
        """Put a run into a state, as its process does."""
        self.call("POST", f"flow_runs/{run}/set_state", {"state": {"type": state}, "force": True})

    def state(self, run: str) -> tuple[str, str | None]:
        """The type and the message of the state that a run is in."""
        state = self.call("GET", f"flow_runs/{run}")["state"]
        return state["type"], state["message"]

    def runs_of(self, deployment: str) -> list[dict[str, Any]]:
        """All runs of a deployment."""
        found: list[dict[str, Any]] = self.call(
            "POST", "flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}}
        )
        return found

    @property
    def healthy(self) -> bool:
        """Whether it answers."""
        try:
            return self.call("GET", "health") is True
        except (HTTPError, OSError):
            return False


@contextmanager
def prefect_server(folder: Path) -> Iterator[PrefectServer]:
    """A server that keeps its data in ``folder``, stopped at the end. Fails the test, aloud, if there can't be one."""
    _installed()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    log = folder / "prefect.log"
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PYTHON"))}
    with log.open("ab") as out:
        process = subprocess.Popen(
            # No services: they schedule and clean up, which no test here waits for.
            [INSTALLED.parent / "bin" / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port),
             "--no-services", "--no-ui"],
            cwd=folder,
            env={
                **ours,
                "PREFECT_HOME": str(folder / "home"),
                "PREFECT_SERVER_API_AUTH_STRING": KEY,
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - two system calls, loaded before the fork
        )  # fmt: skip
    try:
        server, ends = PrefectServer(port), time.monotonic() + START_S
        while not server.healthy:
            if process.poll() is not None or time.monotonic() > ends:
                pytest.fail(f"the Prefect server doesn't start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _installed() -> None:
    """Installs it if it isn't; of several test processes one does."""
    with (ROOT / ".venv" / ".prefect.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            done = subprocess.run(
                ["make", "setup-prefect"], cwd=ROOT, capture_output=True, text=True, timeout=INSTALL_S, check=False
            )
            problem = "" if done.returncode == 0 else (done.stdout + done.stderr)[-2000:]
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = str(error)
    if problem:
        pytest.fail(f"these tests need a Prefect server, which `make setup-prefect` can't install: {problem}")
