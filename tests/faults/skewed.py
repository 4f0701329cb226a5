"""A consumer on a host whose wall clock is wrong: ``python -m tests.faults.skewed``.

``CLOCK_FILE`` names a file that holds by how many seconds it is wrong; whoever writes another number there makes
the clock jump.
"""

import os
import sys
import time
from pathlib import Path

_time_ns = time.time_ns
_file = Path(os.environ["CLOCK_FILE"])


def wrong_ns() -> int:
    """What this host takes for the time."""
    return _time_ns() + round(float(_file.read_text()) * 1_000_000_000)


# Before anything else is imported: whoever takes the functions by name gets these.
time.time_ns = wrong_ns
time.time = lambda: wrong_ns() / 1_000_000_000

from consumer.service import run  # noqa: E402
from topology.settings import Settings  # noqa: E402

if __name__ == "__main__":
    sys.exit(run(Settings.from_env(os.environ)))
