"""What becomes of a delivery: decisions as values, each with its reason. No clock, randomness or I/O here.

Before an attempt: send it, or end it unsent. After it: succeeded, retrying or dead.
"""

from typing import NamedTuple

from actions.delivery import Delivery
from actions.exchange import Outcome, Verdict
from actions.schedule import Schedule, next_delay_ms, retry_after_ms

SUCCEEDED = "succeeded"
RETRYING = "retrying"
DEAD = "dead"
EXPIRED = "expired"

UNSUPPORTED = "unsupported"
TOO_OLD = "too_old"


class Limits(NamedTuple):
    """The settings' limits, which an action may lower (attempts) or replace (age)."""

    schedule: Schedule
    max_attempts: int
    max_age_ms: int


class Decision(NamedTuple):
    """``status`` is that of the result record; ``delay_ms`` is how long a retry waits.

    ``attempt`` is the attempt's number, 0 where none was made.
    """

    status: str
    attempt: int
    reason: str | None = None
    http_status: int | None = None
    delay_ms: int | None = None

    @property
    def final(self) -> bool:
        """Whether the delivery has ended."""
        return self.status != RETRYING


def before(delivery: Delivery, now_ms: int, limits: Limits, *, supported: bool) -> Decision | None:
    """``None`` = send it. Else it ends here: too old, or of a type that has no channel."""
    max_age_ms = delivery.action.max_age_ms or limits.max_age_ms
    if now_ms - delivery.event.detected_at > max_age_ms:
        return Decision(EXPIRED, 0, TOO_OLD)
    if not supported:
        return Decision(DEAD, delivery.attempt, UNSUPPORTED)
    return None


def after(delivery: Delivery, outcome: Outcome, now_ms: int, limits: Limits, roll: float) -> Decision:
    """What an attempt's outcome comes to; ``roll`` in [0, 1) spreads the retries."""
    attempt, status = delivery.attempt, outcome.http_status
    if outcome.verdict is Verdict.DONE:
        return Decision(SUCCEEDED, attempt, None, status)
    if outcome.verdict is Verdict.FINAL:
        return Decision(DEAD, attempt, outcome.reason, status)
    max_attempts = min(delivery.action.max_attempts or limits.max_attempts, limits.max_attempts)
    asked_ms = retry_after_ms(outcome.retry_after, now_ms)
    delay_ms = next_delay_ms(limits.schedule, attempt, max_attempts, asked_ms, roll)
    if delay_ms is None:
        return Decision(DEAD, attempt, outcome.reason, status)
    return Decision(RETRYING, attempt, outcome.reason, status, delay_ms)
