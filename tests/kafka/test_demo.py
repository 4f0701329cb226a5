"""The demo, as a newcomer runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.kafka


@pytest.mark.timeout(180)
def test_the_demo_ends_by_itself_and_what_was_notified_is_what_was_injected(kafka: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "cli", "demo", "--duration", "30", "--bootstrap-servers", kafka],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    assert "They agree" in said
    for kind in ("run failed", "late start", "run stuck", "agents lost"):
        counts = re.search(rf"{kind} +webhook +(\d+) +(\d+) +0 +0 +0", said)
        assert counts, said
        assert int(counts[1]) == int(counts[2]) > 0
    assert "kill -9" in said
