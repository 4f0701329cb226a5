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
MUTED = "muted"

UNSUPPORTED = "unsupported"
TOO_OLD = "too_old"
AUTOMATION_OFF = "automation_disabled_or_deleted"


class Limits(NamedTuple):
    """The settings' limits, which an action may lower (attempts) or replace (age)."""

    schedule: Schedule
    max_attempts: int
    max_age_ms: int


class Decision(NamedTuple):
    """``status`` is that of the result record; ``delay_ms`` is how long a retry waits.

    ``attempt`` is the attempt's number, 0 where none was made. ``recipients_left`` are those who have not had
    it, for an action that has a list of them.
    """

    status: str
    attempt: int
    reason: str | None = None
    http_status: int | None = None
    delay_ms: int | None = None
    recipients_left: tuple[int, ...] | None = None

    @property
    def final(self) -> bool:
        """Whether the delivery has ended."""
        return self.status != RETRYING


def before(delivery: Delivery, now_ms: int, limits: Limits, *, muted: bool, supported: bool) -> Decision | None:
    """``None`` = send it. Else it ends here: of an automation that is off, too old, or without a channel."""
    if muted:
        return Decision(MUTED, 0, AUTOMATION_OFF)
    if too_old(delivery, now_ms, limits):
        return Decision(EXPIRED, 0, TOO_OLD)
    if not supported:
        return Decision(DEAD, delivery.attempt, UNSUPPORTED, recipients_left=delivery.recipients_left)
    return None


def too_old(delivery: Delivery, now_ms: int, limits: Limits) -> bool:
    """Whether it is older than its action or the settings allow."""
    return now_ms - delivery.asked_at_ms > (delivery.action.max_age_ms or limits.max_age_ms)


def after(delivery: Delivery, outcome: Outcome, now_ms: int, limits: Limits, roll: float) -> Decision:
    """What an attempt's outcome comes to; ``roll`` in [0, 1) spreads the retries."""
    attempt, status = delivery.attempt, outcome.http_status
    # An attempt that asked nobody, for want of a secret, says nothing of them: earlier ones have.
    left = delivery.recipients_left if outcome.recipients_left is None else outcome.recipients_left
    if outcome.verdict is Verdict.DONE:
        return Decision(SUCCEEDED, attempt, outcome.reason, status)
    if outcome.verdict is Verdict.FINAL:
        return Decision(DEAD, attempt, outcome.reason, status, None, left)
    max_attempts = min(delivery.action.max_attempts or limits.max_attempts, limits.max_attempts)
    asked_ms = retry_after_ms(outcome.retry_after, now_ms)
    delay_ms = next_delay_ms(limits.schedule, attempt, 1 if delivery.test else max_attempts, asked_ms, roll)
    if delay_ms is None:
        return Decision(DEAD, attempt, outcome.reason, status, None, left)
    return Decision(RETRYING, attempt, outcome.reason, status, delay_ms, left)
