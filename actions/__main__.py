"""``python -m actions``: the action runner with the settings of the environment."""

import os
import sys

from actions.service import run
from topology.settings import SettingError, Settings


def main() -> int:
    """Run it; the exit code."""
    try:
        settings = Settings.from_env(os.environ)
    except SettingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return run(settings)


if __name__ == "__main__":
    sys.exit(main())
