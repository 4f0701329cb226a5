"""What time it is for deliveries: the brokers' time, as far as this process can know it.

An age is the difference of two times, and the other one (an event's ``detected_at``) was told by the brokers'
clocks. A host whose own clock is a day ahead must not end every delivery as too old.
"""

import time

from streams.broker_time import BrokerTime


class Clock:
    """Milliseconds since 1970. Until the brokers have taken a record of ours, it is the host's own guess."""

    def __init__(self) -> None:
        self._broker = BrokerTime()
        self._least = BrokerTime()

    @property
    def confirmed(self) -> bool:
        """Whether it is the brokers' time."""
        return self._broker.at(0) is not None

    def appended(self, append_ms: int) -> None:
        """The brokers have just appended a record of ours at this time. Called on any one thread."""
        self._broker.observe(append_ms, monotonic_ms())

    def seen(self, append_ms: int) -> None:
        """A record was read that was appended then: it can't be earlier now."""
        if not self.confirmed:
            self._least.observe(append_ms, monotonic_ms())

    def now_ms(self) -> int:
        """Now."""
        monotonic = time.monotonic_ns() // 1_000_000
        now_ms = self._broker.at(monotonic)
        return max(time.time_ns() // 1_000_000, self._least.at(monotonic) or 0) if now_ms is None else now_ms


def monotonic_ms() -> int:
    """For durations: it never jumps, and means nothing to another process."""
    return time.monotonic_ns() // 1_000_000
