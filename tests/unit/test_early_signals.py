"""A service that is stopped while it starts has left, not failed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOW = ("confluent_kafka", "aiohttp", "pydantic")
"""What takes the time of a start."""


def heeds(pid: int, number: int) -> bool:
    """Whether the process has a handler of its own for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> number - 1 & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells by /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("service", [["actions"], ["cli", "actions"], ["cli", "consumer"]], ids=" ".join)
def test_a_signal_in_the_first_instant_of_a_service_ends_it_with_0(service: list[str], number: signal.Signals) -> None:
    env = {**os.environ, "BOOTSTRAP_SERVERS": "127.0.0.1:1", "HTTP_PORT": "0"}
    process = subprocess.Popen([sys.executable, "-m", *service], cwd=ROOT, env=env, stderr=subprocess.PIPE)
    try:
        # Python itself heeds Ctrl-C from its start; SIGTERM tells that the service does.
        gives_up = time.monotonic() + 30
        while not heeds(process.pid, signal.SIGTERM):
            assert time.monotonic() < gives_up
            assert process.poll() is None
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
        assert (process.returncode, told) == (0, b"")
    finally:
        process.kill()


@pytest.mark.parametrize("entry", ["actions.__main__", "cli.__main__"])
def test_a_service_heeds_signals_before_anything_slow(entry: str) -> None:
    script = f"import sys, {entry}; print([name for name in {SLOW} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
