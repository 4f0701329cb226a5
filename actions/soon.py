"""Deliveries that wait in memory for their next attempt: seconds, no longer."""

import asyncio
from collections.abc import Callable

from actions.delivery import Delivery


class Soon:
    """Each has a timer of its own. All methods belong to one event loop."""

    def __init__(self, again: Callable[[Delivery], None]) -> None:
        """``again`` is given each delivery whose wait is over."""
        self._again = again
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, tuple[asyncio.TimerHandle, Delivery]] = {}
        self._numbers = 0

    def add(self, delivery: Delivery, delay_ms: int) -> None:
        """Let it wait."""
        self._numbers += 1
        self._waiting[self._numbers] = (self._loop.call_later(delay_ms / 1000, self._over, self._numbers), delivery)

    def drop(self, unwanted: Callable[[Delivery], bool]) -> None:
        """Forget those."""
        for number, (timer, delivery) in list(self._waiting.items()):
            if unwanted(delivery):
                timer.cancel()
                del self._waiting[number]

    def _over(self, number: int) -> None:
        self._again(self._waiting.pop(number)[1])
