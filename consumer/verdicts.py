"""Why an automation fired or did not, for one state of a run or one of its deadlines.

Law: whether something fired is never decided here, it is what the replayed logic emitted. Only the reason of
what did not fire is looked up: first what the run did (in time, another state), then what was asked of it
(scope, another condition), then whether the automation was in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from consumer import explanation as why
from consumer.attempts import KINDS, Armed
from consumer.automations import CONFIG_MISSING, NOT_MADE_YET, FlowSLA, StateChange, Written
from consumer.explanation import Verdict
from consumer.misses import DROPPED, IN_GAP, IN_TIME, OPEN, PROVED, Limits, Miss, standing
from schemas.records import AutomationEvent


class Absence(NamedTuple):
    """Why an automation was not in force at an instant, and how long that lasted (None: open)."""

    reason: str
    since_ms: int | None
    until_ms: int | None


class Looked(NamedTuple):
    """A deadline as it was last judged."""

    deadline: Armed
    group: str
    progress_ms: int
    until_ms: int
    moved_by: int | None


def absence(written: Sequence[Written], at_ms: int, started_ms: int) -> Absence | None:
    """Why the automation was not in force at ``at_ms``; None if it was, with whatever condition."""
    here = next((at for at, one in enumerate(written) if one.from_ms <= at_ms < one.to_ms), None)
    if here is None or written[here].why_not == NOT_MADE_YET:
        made_ms = next((one.from_ms for one in written if one.automation is not None), None)
        return Absence(NOT_MADE_YET, None, made_ms)
    reason = written[here].why_not
    if reason is None:
        return Absence(why.BEFORE_FIRST_START, None, started_ms) if at_ms < started_ms else None
    first = last = here
    while first > 0 and written[first - 1].why_not == reason:
        first -= 1
    while last + 1 < len(written) and written[last + 1].why_not == reason:
        last += 1
    return Absence(reason, written[first].from_ms, None if last + 1 == len(written) else written[last].to_ms)


def state_verdict(
    automation_id: str, written: Sequence[Written], state: str, group: str, log_ms: int, started_ms: int
) -> Verdict:
    """Why an automation did not fire for a (case-folded) state entered at ``log_ms``."""
    asked = [one for one in written if isinstance(one.condition, StateChange)]
    then = next((one for one in asked if one.from_ms <= log_ms < one.to_ms), None)
    shown = then or asked[-1]
    condition = shown.condition
    assert isinstance(condition, StateChange)
    verdict = Verdict(automation_id, name_of(shown), why.STATE_NOT_NAMED, condition, log_ms)
    if state not in condition.states:
        return verdict
    if condition.groups is not None and group not in condition.groups:
        return verdict._replace(reason=why.OUT_OF_SCOPE)
    absent = absence(written, log_ms, started_ms)
    if absent is not None:
        return verdict._replace(reason=absent.reason, since_ms=absent.since_ms, until_ms=absent.until_ms)
    return verdict._replace(reason=why.OTHER_CONDITION, since_ms=shown.from_ms)


def fired_state(written: Sequence[Written], event: AutomationEvent, log_ms: int) -> Verdict:
    """That an automation fired for a state entered at ``log_ms``."""
    shown = next(one for one in written if one.from_ms <= log_ms < one.to_ms)
    return Verdict(event.automation_id, name_of(shown), why.FIRED, shown.condition, log_ms, event_id=event.id)


def fired_verdict(written: Sequence[Written], miss: Miss, stands: int, event_id: str) -> Verdict:
    """That an automation fired for a missed deadline."""
    proved = stands == PROVED
    deadline = miss.deadline
    shown = next(one for one in written if one.from_ms <= miss.judged_ms < one.to_ms)
    return Verdict(
        miss.interval.automation_id, name_of(shown), why.PROOF if proved else why.SILENCE, miss.sla, miss.judged_ms,
        deadline.from_ms + miss.sla.duration_ms, event_id, deadline.met_version if proved else None,
    )  # fmt: skip


def deadline_verdict(automation_id: str, written: Sequence[Written], looked: Looked, limits: Limits) -> Verdict:
    """Why an automation on flow SLAs did not fire for a deadline."""
    deadline = looked.deadline
    asked = [(one, one.condition) for one in written if _of_kind(one, KINDS[deadline.kind])]
    if not asked:
        missing = next(one for one in written if one.why_not == CONFIG_MISSING)
        return Verdict(automation_id, name_of(missing), CONFIG_MISSING, None, since_ms=missing.from_ms)
    covering = [
        (one, sla)
        for one, sla in asked
        if isinstance(sla, FlowSLA) and (sla.groups is None or looked.group in sla.groups)
    ]
    if not covering:
        return Verdict(automation_id, name_of(asked[-1][0]), why.OUT_OF_SCOPE, asked[-1][1])
    chosen = _chosen(covering, looked, limits)
    one, sla, stands, at_ms = chosen.written, chosen.sla, chosen.stands, chosen.at_ms
    verdict = Verdict(automation_id, name_of(one), "", sla, at_ms, deadline.from_ms + sla.duration_ms)
    if stands == IN_TIME:
        return verdict._replace(reason=why.MET_IN_TIME, version=deadline.met_version)
    if not chosen.in_force:
        pending = stands == OPEN and looked.moved_by is None
        absent = absence(written, at_ms, limits.started_ms)
        if absent is None:
            return verdict._replace(reason=why.OTHER_CONDITION, since_ms=one.from_ms, pending=pending)
        return verdict._replace(
            reason=absent.reason, since_ms=absent.since_ms, until_ms=absent.until_ms, pending=pending
        )
    if stands == OPEN and looked.moved_by is not None:
        return verdict._replace(reason=why.MOVED, version=looked.moved_by)
    if stands == OPEN:
        return verdict._replace(reason=why.NOT_DUE_YET, pending=True)
    reasons = {IN_GAP: why.BEFORE_GAP, DROPPED: why.RUN_DROPPED}
    return verdict._replace(reason=reasons.get(stands, why.FIRED_ALREADY))


def unarmed_verdict(automation_id: str, written: Sequence[Written]) -> Verdict:
    """That no record of the run concerned the automation."""
    last = next(one for one in reversed(written) if one.automation is not None)
    return Verdict(automation_id, name_of(last), why.NOT_ARMED, last.condition)


class _Chosen(NamedTuple):
    written: Written
    sla: FlowSLA
    stands: int
    at_ms: int
    in_force: bool


def _chosen(covering: Iterable[tuple[Written, FlowSLA]], looked: Looked, limits: Limits) -> _Chosen:
    """Which of an automation's conditions speaks for it: the one in force when it counts, else one that was
    met in time, else the last."""
    found = []
    for one, sla in covering:
        stands, at_ms = standing(looked.deadline, sla.duration_ms, looked.progress_ms, looked.until_ms, limits)
        in_force = one.why_not is None and one.from_ms <= at_ms < one.to_ms and at_ms >= limits.started_ms
        found.append(_Chosen(one, sla, stands, at_ms, in_force))
    return max(enumerate(found), key=lambda of: (of[1].in_force, of[1].stands == IN_TIME, of[0]))[1]


def _of_kind(one: Written, kind: str) -> bool:
    return isinstance(one.condition, FlowSLA) and one.condition.kind == kind


def concerns(written: Sequence[Written], kind: str | None) -> bool:
    """Whether an automation has ever been about deadlines of ``kind``, or, for None, about state changes.

    One whose config was never there has no kind: it is about all deadlines.
    """
    if kind is None:
        return any(isinstance(one.condition, StateChange) for one in written)
    if any(_of_kind(one, kind) for one in written):
        return True
    flow = [one for one in written if one.automation is not None and one.automation.flow_sla_config_id is not None]
    return bool(flow) and not any(isinstance(one.condition, FlowSLA) for one in written)


def name_of(one: Written) -> str:
    """The automation's name."""
    return one.automation.name if one.automation is not None else ""
