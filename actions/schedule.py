"""When a delivery is tried again, and where it waits until then: pure arithmetic, milliseconds."""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from topology.names import RETRY_1H, RETRY_1M, RETRY_10M

JITTER = 0.2
"""A delay varies by this share up and down, so that what failed together doesn't come back together."""

_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")


class Tier(NamedTuple):
    """A retry topic. A record stays in it until it is due, but ``stay_ms`` at most.

    What isn't due by then is written anew, at the end of the tier that fits what remains. So whatever waits
    in front of a record has left by the time that the record's own stay is over.
    """

    topic: str
    stay_ms: int


class Schedule(NamedTuple):
    """``delays_ms[i]`` is the delay after attempt ``i + 1``; there is one attempt more than delays.

    Delays up to ``in_memory_ms`` are waited for in memory, longer ones in ``tiers`` (by growing stay). A
    receiver that asks for patience gets at most ``retry_after_max_ms``. What finds its destination closed or
    overloaded waits half of its age, within ``parked_ms``.
    """

    delays_ms: tuple[int, ...] = (
        1_000, 5_000, 30_000, 120_000, 600_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 28_800_000, 28_800_000
    )  # fmt: skip
    in_memory_ms: int = 10_000
    retry_after_max_ms: int = 3_600_000
    parked_ms: tuple[int, int] = (15_000, 3_600_000)
    tiers: tuple[Tier, ...] = (Tier(RETRY_1M, 60_000), Tier(RETRY_10M, 600_000), Tier(RETRY_1H, 3_600_000))

    @property
    def attempts(self) -> int:
        """How many attempts the schedule has in all."""
        return len(self.delays_ms) + 1

    def scaled(self, factor: float) -> "Schedule":
        """The same schedule, ``factor`` times as slow; what is waited for in memory stays so."""
        return Schedule(
            tuple(round(delay * factor) for delay in self.delays_ms),
            round(self.in_memory_ms * factor),
            round(self.retry_after_max_ms * factor),
            (round(self.parked_ms[0] * factor), round(self.parked_ms[1] * factor)),
            tuple(Tier(tier.topic, round(tier.stay_ms * factor)) for tier in self.tiers),
        )

    def tier(self, delay_ms: int) -> Tier:
        """Where a record waits that is due in ``delay_ms``: the longest stay that isn't longer, but for jitter."""
        fitting = [tier for tier in self.tiers if tier.stay_ms * (1 - JITTER) <= delay_ms]
        return fitting[-1] if fitting else self.tiers[0]

    def topics_within(self, most_ms: int) -> list[str]:
        """All topics in which something waits that is due in ``most_ms`` or less."""
        longest_ms = self.tier(most_ms).stay_ms
        return [tier.topic for tier in self.tiers if tier.stay_ms <= longest_ms]


def next_delay_ms(
    schedule: Schedule, attempt: int, max_attempts: int, retry_after_ms: int | None, roll: float
) -> int | None:
    """The delay after attempt number ``attempt`` (from 1) failed, or ``None`` if no other follows.

    ``roll`` is a random number in [0, 1). What the receiver asked for lengthens the delay, within the
    schedule's bound; it never shortens it.
    """
    if attempt >= min(max_attempts, schedule.attempts):
        return None
    delay = spread(schedule.delays_ms[attempt - 1], roll)
    if retry_after_ms is None:
        return delay
    return max(delay, min(retry_after_ms, schedule.retry_after_max_ms))


def parked_delay_ms(schedule: Schedule, age_ms: int, closed_ms: int, roll: float) -> int:
    """How long a delivery waits whose destination takes nothing for ``closed_ms``.

    No attempt is made and none is counted. Half of its age grows exponentially, as retries do.
    """
    shortest, longest = schedule.parked_ms
    delay = spread(min(max(age_ms // 2, shortest), longest), roll)
    return max(delay, min(closed_ms, longest))


def spread(delay_ms: int, roll: float) -> int:
    """``delay_ms`` with its jitter; ``roll`` is a random number in [0, 1)."""
    return round(delay_ms * (1 - JITTER + 2 * JITTER * roll))


def retry_after_ms(value: str | None, now_ms: int) -> int | None:
    """A ``Retry-After`` header as a delay: whole seconds or an HTTP date; ``None`` if it is neither."""
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return round(float(text) * 1000)
    try:
        at = parsedate_to_datetime(text)
        # HTTP's dates are GMT, also where they don't say so; the host's zone plays no part.
        at_ms = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError, TypeError):
        return None
    return max(0, at_ms - now_ms)
