"""Which armed deadlines are missed, for which automations, and when to look again.

Law (the reference, "Flow SLA" and "Automations act in log time"), for an automation of duration d:

- *deadline* = ``from_ms`` + d; a miss *by proof* where the records that meet it all occurred after
  ``base_ms`` + d, judged by the automations in force at the earlier of the deadline and their log time;
- a miss *by silence* where no record has met it when progress passes deadline + grace, judged by those in
  force at the deadline (deadlines fire before the next record is applied, so it is one with a later log time
  that would come too late to meet it);
- a miss fires once for each (automation, run, kind, base); an attempt whose STARTED_NOT_FINISHED has fired
  for an automation is done for it, whatever late versions do to its base.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from consumer.attempts import NEVER, NOT_FINISHED, Armed
from consumer.automations import FlowSLA, FlowSLAInForce, InForce
from consumer.run_state import Fired, automation_bytes


class Miss(NamedTuple):
    """A deadline missed: the automation fires, judged as of ``judged_ms`` (log time)."""

    judged_ms: int
    interval: InForce
    sla: FlowSLA
    deadline: Armed

    @property
    def fired(self) -> Fired:
        """What keeps it from firing again."""
        automation = automation_bytes(self.interval.automation_id)
        return Fired(automation, self.deadline.kind, self.deadline.base_ms, self.deadline.version)


class Judgement(NamedTuple):
    """The misses to fire now, in order of their instants, and the log time after which to look again."""

    misses: list[Miss]
    next_due_ms: int | None


class Limits(NamedTuple):
    """What bounds a partition's judgement; log times in ms."""

    grace_ms: int
    started_ms: int
    """No automation counts as in force before this."""
    gap_ms: int
    """Attempts armed before this fire by proof only."""


IN_TIME, IN_GAP, DROPPED, OPEN, SILENT, PROVED = range(6)
"""How a deadline stands for a duration: met in time; armed before a gap; its run is dropped before it counts;
still to be seen; missed by silence; missed by proof.
"""


def standing(deadline: Armed, duration_ms: int, progress_ms: int, until_ms: int, limits: Limits) -> tuple[int, int]:
    """How a deadline stands for a duration, and the instant by whose automations that is judged.

    ``until_ms`` is when the run's state is dropped: nothing is missed by silence from then on.
    """
    due_ms = deadline.from_ms + duration_ms
    if deadline.met_ms != NEVER:
        judged_ms = deadline.met_log_ms if deadline.met_log_ms < due_ms else due_ms
        return (IN_TIME if deadline.met_ms <= deadline.base_ms + duration_ms else PROVED), judged_ms
    if deadline.log_ms < limits.gap_ms:
        return IN_GAP, due_ms
    counts_ms = due_ms + limits.grace_ms
    if counts_ms >= until_ms:
        return DROPPED, due_ms
    return (SILENT if progress_ms > counts_ms else OPEN), due_ms


def judge(
    candidates: Sequence[tuple[Armed, Iterable[FlowSLAInForce]]],
    fired: Sequence[Fired],
    progress_ms: int,
    until_ms: int,
    limits: Limits,
) -> Judgement:
    """Judges each armed deadline by the flow SLAs that cover it; ``until_ms`` as for `standing`."""
    misses: list[Miss] = []
    next_due_ms = NEVER
    for deadline, slas in candidates:
        for interval, sla in slas:
            if deadline.met_ms <= deadline.base_ms + sla.duration_ms:
                continue  # `IN_TIME`, the usual case, without the call
            stands, judged_ms = standing(deadline, sla.duration_ms, progress_ms, until_ms, limits)
            if stands < OPEN or not interval.from_ms <= judged_ms < interval.to_ms or judged_ms < limits.started_ms:
                continue
            if stands != OPEN:
                misses.append(Miss(judged_ms, interval, sla, deadline))
            elif judged_ms + limits.grace_ms < next_due_ms:
                next_due_ms = judged_ms + limits.grace_ms
    return Judgement(_once(misses, fired) if misses else misses, None if next_due_ms == NEVER else next_due_ms)


def _once(misses: list[Miss], fired: Sequence[Fired]) -> list[Miss]:
    """The misses that have not fired before, each (automation, kind, base) and frozen attempt once."""
    misses.sort(key=lambda miss: (miss.judged_ms, miss.deadline.kind, miss.deadline.base_ms))
    done = list(fired)
    firing = []
    for miss in misses:
        mark, deadline = miss.fired, miss.deadline
        if fired_before(mark, deadline, done) is None:
            done.append(mark)
            firing.append(miss)
    return firing


def fired_before(mark: Fired, deadline: Armed, done: Iterable[Fired]) -> Fired | None:
    """Which of ``done`` keeps ``mark``, a miss of ``deadline``, from firing."""
    return next((other for other in done if _same(mark, deadline, other)), None)


def _same(mark: Fired, deadline: Armed, other: Fired) -> bool:
    if mark.automation != other.automation or mark.kind != other.kind:
        return False
    if mark.base_ms == other.base_ms:
        return True
    return mark.kind == NOT_FINISHED and deadline.first_version <= other.version <= deadline.last_version
