"""A verdict's reason as a sentence for a person. Pure; times are UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from cli.tail_lines import one_line
from consumer import explanation as why
from consumer.automations import CONFIG_MISSING, DELETED, DISABLED, NOT_MADE_YET, FlowSLA, StateChange
from consumer.explanation import DeadlineVerdicts, RecordRead, StateVerdicts, Verdict
from schemas.limits import MAX_TIME_MS
from schemas.records import SCHEDULED_NOT_STARTED
from schemas.states import KNOWN_STATES

_UNITS = (
    (3_600, 60, 1, ("min", "s")),
    (86_400, 3_600, 60, ("h", "min")),
    (10 * 86_400, 86_400, 3_600, ("d", "h")),
)
"""Below how many seconds a length is told in which two units."""
_SPELLED = {name.casefold(): name for name in KNOWN_STATES}


class Clock(NamedTuple):
    """Writes times: those of the day of ``day_ms`` without their date."""

    day_ms: int

    def text(self, time_ms: int) -> str:
        """A time in UTC with milliseconds."""
        if time_ms > MAX_TIME_MS:
            return "after the year 9999"
        moment, day = (datetime.fromtimestamp(ms // 1000, UTC) for ms in (time_ms, self.day_ms))
        shown = moment.strftime("%H:%M:%S") + f".{time_ms % 1000:03d}"
        return shown if moment.date() == day.date() else f"{moment.date().isoformat()} {shown}"

    @property
    def day(self) -> str:
        """The day whose date is left out."""
        return datetime.fromtimestamp(self.day_ms // 1000, UTC).date().isoformat()


class Scene(NamedTuple):
    """What words are said about: a run's records by version, its flow group, where the consumer stands."""

    clock: Clock
    records: dict[int, RecordRead]
    flow_group_id: str
    progress_ms: int
    grace_ms: int


def span_text(span_ms: int) -> str:
    """A length of time: ``0.120 s``, ``12.4 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    span_ms = abs(span_ms)
    if span_ms < 60_000:
        digits = 3 if span_ms < 1_000 else 1
        return f"{span_ms / 1000:.{digits}f} s".replace(".0 s", " s").replace(".000 s", " s")
    seconds = span_ms // 1000
    for limit, large, small, names in _UNITS:
        if seconds < limit:
            rest = seconds % large // small
            return f"{seconds // large} {names[0]}" + (f" {rest} {names[1]}" if rest else "")
    return f"{seconds // 86_400} d"


def condition_text(verdict: Verdict) -> str:
    """What the automation asks for."""
    condition = verdict.condition
    if isinstance(condition, StateChange):
        names = sorted(_SPELLED.get(state, state) for state in condition.states)
        return f"enters {one_line(' or '.join(names))}"
    if isinstance(condition, FlowSLA):
        what = "not started" if condition.kind == SCHEDULED_NOT_STARTED else "not finished"
        return f"{what} within {span_text(condition.duration_ms)}"
    return ""


def record_text(scene: Scene, version: int | None) -> str:
    """A record by its version and state."""
    record = scene.records.get(version or 0)
    return f"v{version} {one_line(record.state or '')}" if record is not None else f"v{version}"


def state_words(scene: Scene, verdict: Verdict, state: StateVerdicts) -> str:
    """Why an automation did or didn't fire when a run entered a state."""
    entered = f"v{state.version} {one_line(state.state)} at {scene.clock.text(state.log_ms)}"
    if verdict.fired:
        return f"the run entered {entered}"
    if verdict.reason == why.STATE_NOT_NAMED:
        return f"{entered}: not a state that it names"
    return f"{entered}: {_absence_words(scene, verdict)}"


def deadline_words(scene: Scene, verdict: Verdict, deadline: DeadlineVerdicts) -> str:
    """Why an automation did or didn't fire for a deadline."""
    clock, armed, condition = scene.clock, deadline.armed, verdict.condition
    attempt = f"attempt from v{armed.first_version}"
    if not isinstance(condition, FlowSLA) or verdict.due_ms is None:
        return f"{attempt}: {_absence_words(scene, verdict)}"
    limit_ms = armed.base_ms + condition.duration_ms
    due = f"{clock.text(verdict.due_ms)}"
    since = f"{record_text(scene, armed.version)} at {clock.text(armed.base_ms)} + {span_text(condition.duration_ms)}"
    decided = record_text(scene, verdict.version)
    occurred = f"{decided} occurred {clock.text(armed.met_ms)}" if verdict.version == armed.met_version else decided
    match verdict.reason:
        case why.PROOF:
            return f"{since}: {occurred}, {span_text(armed.met_ms - limit_ms)} too late"
        case why.SILENCE:
            came = f"; {decided_later(scene, deadline)}" if armed.met_version else ""
            return f"{since}: nothing had met it by {due} and {span_text(scene.grace_ms)} of grace{came}"
        case why.MET_IN_TIME:
            spare = span_text(limit_ms - armed.met_ms)
            return f"in time: {occurred}, {spare} before the limit, {clock.text(limit_ms)} ({since})"
        case why.NOT_DUE_YET:
            return (
                f"{since}: deadline {due}, judged once the consumer has read past "
                f"{clock.text(verdict.due_ms + scene.grace_ms)}; it stands at {clock.text(scene.progress_ms)}"
            )
        case why.MOVED:
            return f"{since}: {decided} came and put another deadline in its place"
        case why.FIRED_ALREADY:
            return f"{since}: it had fired already for this attempt"
        case why.BEFORE_GAP:
            return f"{since}: armed before a gap in the records, so only a late record would prove a miss"
        case why.RUN_DROPPED:
            return f"{since}: the run was dropped, as not heard of for too long, before the deadline"
    stands = "as things stand it will not fire: " if verdict.pending else ""
    return f"{since}: deadline {due}: {stands}{_absence_words(scene, verdict)}"


def decided_later(scene: Scene, deadline: DeadlineVerdicts) -> str:
    """What met a deadline, and when it came."""
    armed = deadline.armed
    return f"{record_text(scene, armed.met_version)} came at {scene.clock.text(armed.met_log_ms)}"


def unarmed_words(verdict: Verdict, read: bool) -> str:
    """Why nothing of the run concerned an automation; ``read`` says whether any record of it was judged."""
    condition = verdict.condition
    if not read:
        return "the consumer has not judged any record of the run"
    if isinstance(condition, FlowSLA):
        return (
            "no record of the run waits to be started" if condition.kind == SCHEDULED_NOT_STARTED
            else "the run was never Running"
        )  # fmt: skip
    return "it is not in force, or what it refers to is missing"


def _absence_words(scene: Scene, verdict: Verdict) -> str:
    clock, since_ms, until_ms = scene.clock, verdict.since_ms, verdict.until_ms
    since = "" if since_ms is None else f" from {clock.text(since_ms)}"
    until = " on" if until_ms is None else f" to {clock.text(until_ms)}"
    reason = verdict.reason
    if reason == NOT_MADE_YET:
        if until_ms is None or verdict.judged_ms is None:
            return "it was not there"
        return f"it was made {span_text(until_ms - verdict.judged_ms)} later, at {clock.text(until_ms)}"
    if reason == DISABLED:
        return f"it was disabled{since}{until}"
    if reason == DELETED:
        return f"it was deleted{since}{until}"
    if reason == CONFIG_MISSING:
        return f"what it refers to was missing{since}{until}"
    if reason == why.OUT_OF_SCOPE:
        return f"it does not cover the run's flow group, {one_line(scene.flow_group_id)}"
    if reason == why.BEFORE_FIRST_START:
        return f"the consumer first started later, at {clock.text(until_ms or 0)}"
    if reason == why.OTHER_CONDITION:
        return f"it asked for something else then; this condition is from {clock.text(since_ms or 0)}"
    return reason.replace("_", " ")
