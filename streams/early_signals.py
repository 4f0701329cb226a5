"""What SIGTERM and Ctrl-C do before a service has begun anything."""

import os
import signal
from types import FrameType


def leave_at_once_on_signals() -> None:
    """End the process with 0 on SIGTERM or SIGINT, until the service has its own way of leaving.

    To be called before anything slow, such as importing the service: an orchestrator may change its mind within the
    first second. There is nothing to end, and an exception might be swallowed wherever the signal hits.
    """

    def leave(_number: int, _frame: FrameType | None) -> None:
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
