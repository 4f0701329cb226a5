"""``python -m cli``, and the console command ``automations``."""

import sys

from streams.early_signals import leave_at_once_on_signals

SERVICES = ("consumer", "actions")


def main() -> None:
    """Run the command line; ends the process with the exit code."""
    if sys.argv[1:2] and sys.argv[1] in SERVICES:
        leave_at_once_on_signals()
    # Takes a second: signals are heeded before.
    from cli.main import main as run  # noqa: PLC0415

    run()


if __name__ == "__main__":
    main()
