"""``python -m actions``: the action runner with the settings of the environment."""

import os
import sys

from streams.early_signals import leave_at_once_on_signals


def main() -> int:
    """Run it; the exit code."""
    leave_at_once_on_signals()
    # Takes a second: signals are heeded before.
    from actions.service import run  # noqa: PLC0415
    from topology.settings import SettingError, Settings  # noqa: PLC0415

    try:
        settings = Settings.from_env(os.environ)
    except SettingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return run(settings)


if __name__ == "__main__":
    sys.exit(main())
