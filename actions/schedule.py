"""When a failed delivery is tried again: pure arithmetic, milliseconds."""

import re
from email.utils import parsedate_to_datetime
from typing import NamedTuple

JITTER = 0.2
"""A delay varies by this share up and down, so that what failed together doesn't come back together."""

RETRY_AFTER_MAX_MS = 60_000
"""More patience than this is not given to a receiver that asks for it: what waits is held in memory."""

_SECONDS = re.compile(r"[0-9]{1,9}")


class Schedule(NamedTuple):
    """``delays_ms[i]`` is the delay after attempt ``i + 1``; there is one attempt more than delays."""

    delays_ms: tuple[int, ...] = (1_000, 3_000, 8_000, 18_000)
    retry_after_max_ms: int = RETRY_AFTER_MAX_MS

    @property
    def attempts(self) -> int:
        """How many attempts the schedule has in all."""
        return len(self.delays_ms) + 1

    def scaled(self, factor: float) -> "Schedule":
        """The same schedule, ``factor`` times as slow."""
        delays = tuple(round(delay * factor) for delay in self.delays_ms)
        return Schedule(delays, round(self.retry_after_max_ms * factor))


def next_delay_ms(
    schedule: Schedule, attempt: int, max_attempts: int, retry_after_ms: int | None, roll: float
) -> int | None:
    """The delay after attempt number ``attempt`` (from 1) failed, or ``None`` if no other follows.

    ``roll`` is a random number in [0, 1). What the receiver asked for lengthens the delay, within the
    schedule's bound; it never shortens it.
    """
    if attempt >= min(max_attempts, schedule.attempts):
        return None
    delay = round(schedule.delays_ms[attempt - 1] * (1 - JITTER + 2 * JITTER * roll))
    if retry_after_ms is None:
        return delay
    return max(delay, min(retry_after_ms, schedule.retry_after_max_ms))


def retry_after_ms(value: str | None, now_ms: int) -> int | None:
    """A ``Retry-After`` header as a delay: whole seconds or an HTTP date; ``None`` if it is neither."""
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return int(text) * 1000
    try:
        at_ms = int(parsedate_to_datetime(text).timestamp() * 1000)
    except (ValueError, OverflowError, TypeError):
        return None
    return max(0, at_ms - now_ms)
