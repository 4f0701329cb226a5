"""The action runner with its waits between attempts multiplied: ``python -m tests.kafka.quick_runner FACTOR``."""

import os
import sys

from actions.schedule import Schedule
from actions.service import Tuning, run
from topology.settings import Settings

if __name__ == "__main__":
    sys.exit(run(Settings.from_env(os.environ), Tuning(Schedule().scaled(float(sys.argv[1])))))
