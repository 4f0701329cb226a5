"""Explains runs: replays the records of one key through the logic of its partition, and notes what it decides.

Law: what the explanation says fired is what the logic emits. The replay knows other records of the partition
only by their log times' order: by the semantics they change nothing for this run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consumer import explanation as why
from consumer.app import ConsumerApp
from consumer.attempts import KINDS, Armed, armed
from consumer.automations import Written
from consumer.explanation import DeadlineVerdicts, RecordRead, RunExplained, StateVerdicts
from consumer.misses import Limits, Miss, judge, standing
from consumer.run_state import RunState, decode, expires_ms, run_key
from consumer.runs import Runs, latest_of
from consumer.verdicts import (
    Looked,
    concerns,
    deadline_verdict,
    fired_state,
    fired_verdict,
    state_verdict,
    unarmed_verdict,
)
from schemas.codec import Codec, Rejected
from schemas.ids import flow_sla_event_id
from schemas.records import FLOW_RUN_STATE_CHANGED, AutomationEvent, FlowRunState
from streams.partition import SLICE, Unread
from streams.position import Position
from streams.store import Store
from topology.names import AUTOMATION_EVENTS, FLOW_RUN_STATE, INPUT_DLQ

_OWN = Codec()
"""What is replayed is written in our own layout, so that no registry is asked to take a schema."""
_NOWHERE = Position(0, -1, -1, None, 0, 0, "")


class Input(NamedTuple):
    """The records of one key as they lie in its partition, in order, and how far the consumer has come there.

    ``position`` is None where no consumer has ever read the partition. Offsets below 0 are records that the
    log has no more, made again from state.
    """

    records: Sequence[Unread]
    position: Position | None
    partition: int
    partitions: int


class Explained(NamedTuple):
    """What the records of one run id tell: a run for each tenant that uses it, and what can't be read."""

    runs: list[RunExplained]
    unreadable: list[RecordRead]


def explain_runs(app: ConsumerApp, given: Input, codec: Codec | None = None) -> Explained:
    """Explains every run that the records tell of.

    ``app`` has read all control records; ``codec`` reads the inputs.
    """
    replay = _Replay(app, given)
    position = given.position or _NOWHERE
    for record in given.records:
        state = (codec or _OWN).decode_state(record.value)
        if isinstance(state, Rejected):
            replay.unreadable(record, state)
        elif record.offset >= position.offset:
            replay.unread(record, state)
        else:
            replay.take(record, state)
    replay.pass_time(position.progress_ms)
    return replay.explained()


class _Deadline:
    """A deadline that the records have shown, as it was last judged."""

    def __init__(self, seen_ms: int, looked: Looked) -> None:
        self.seen_ms = seen_ms
        self.looked = looked
        self.misses: dict[str, tuple[Miss, int]] = {}


class _Run:
    """What is noted of one run while its records are replayed."""

    def __init__(self, key: bytes, latest: FlowRunState) -> None:
        self.key = key
        self.latest = latest
        self.records: list[RecordRead] = []
        self.states: list[StateVerdicts] = []
        self.deadlines: dict[tuple[int, int, int, int], _Deadline] = {}
        self.events: list[AutomationEvent] = []
        self.forgotten_ms: list[int] = []


class _Replay:
    def __init__(self, app: ConsumerApp, given: Input) -> None:
        self._app = app
        self._timing = app.options.timing
        position = given.position or _NOWHERE
        self._limits = Limits(self._timing.grace_ms, position.started_ms or 0, position.gap_ends_ms)
        self._store = Store()
        logic = app.logic(FLOW_RUN_STATE, given.partition, given.partitions, self._store)
        assert isinstance(logic, Runs)
        self._logic = logic
        logic.started(self._limits.started_ms, self._limits.gap_ms, -1)
        self._runs: dict[str, _Run] = {}
        self._unreadable: list[RecordRead] = []
        self._written: dict[str, list[tuple[str, list[Written]]]] = {}

    def unreadable(self, record: Unread, rejected: Rejected) -> None:
        """A record that is none: the consumer sends it to the dead letters."""
        detail = f"{rejected.reason}: {rejected.detail}"
        self._unreadable.append(
            RecordRead(record.offset, record.log_ms, None, None, None, None, None, None, why.REJECTED, detail)
        )

    def unread(self, record: Unread, state: FlowRunState) -> None:
        """A record that the consumer has not come to."""
        run = self._run(state)
        if not run.states:
            run.latest = max(run.latest, state, key=lambda one: one.version)
        self._note(record, state, why.UNREAD)

    def take(self, record: Unread, state: FlowRunState) -> None:
        """A record that the consumer has read."""
        log_ms = record.log_ms
        self.pass_time(log_ms)
        run = self._run(state)
        before = self._state(run)
        if before is not None and log_ms > expires_ms(before, self._timing):
            run.forgotten_ms.append(expires_ms(before, self._timing))
            before = None
        counts = self._logic.counts
        duplicates, conflicts = counts.duplicates, counts.conflicts
        self._logic.apply(record._replace(value=_OWN.encode_state(state)), log_ms, log_ms)
        events, rejected = self._collect()
        if rejected is not None:
            self._note(record, state, why.REJECTED, rejected)
        elif counts.conflicts > conflicts:
            self._note(record, state, why.CONFLICT)
        elif counts.duplicates > duplicates:
            self._note(record, state, why.DUPLICATE)
        else:
            late = before is not None and state.version < before.top_version
            outcome = why.FROM_STATE if record.offset < 0 else why.LATE_VERSION if late else why.APPLIED
            self._note(record, state, outcome)
            self._judge_state(run, state, log_ms, events)
            after = self._state(run)
            assert after is not None
            self._look(run, after, before, log_ms, state.version)

    def pass_time(self, progress_ms: int) -> None:
        """Progress comes to here: what is due fires, what is too old is dropped."""
        states = [(run, state) for run in self._runs.values() if (state := self._state(run)) is not None]
        for run, state in states:
            self._look(run, state, state, progress_ms, None)
        while not self._logic.tick(progress_ms, progress_ms, SLICE):
            pass
        self._collect()
        for run, state in states:
            if self._state(run) is None:
                run.forgotten_ms.append(expires_ms(state, self._timing))

    def explained(self) -> Explained:
        """What has been noted, each run with its verdicts."""
        runs = []
        for run in self._runs.values():
            deadlines = [self._explained(run, one) for one in run.deadlines.values()]
            shown = {None} if run.states else set()
            unarmed = [
                unarmed_verdict(automation_id, written)
                for automation_id, written in self._of_runs(run.latest.tenant_id)
                if not any(concerns(written, kind) for kind in {*shown, *(one.kind for one in deadlines)})
            ]
            tenant_id = run.latest.tenant_id
            runs.append(
                RunExplained(
                    tenant_id, run.latest, run.records, run.states, deadlines, unarmed, run.events, run.forgotten_ms
                )
            )
        return Explained(runs, self._unreadable)

    def _run(self, state: FlowRunState) -> _Run:
        run = self._runs.get(state.tenant_id)
        if run is None:
            run = self._runs[state.tenant_id] = _Run(run_key(state.tenant_id, state.flow_run_id), state)
        return run

    def _state(self, run: _Run) -> RunState | None:
        value = self._store.get(run.key)
        return None if value is None else decode(value)

    def _note(self, record: Unread, state: FlowRunState, outcome: str, detail: str = "") -> None:
        run = self._run(state)
        occurred_ms = self._timing.occurred(state.timestamp, record.log_ms)
        run.records.append(
            RecordRead(
                record.offset if record.offset >= 0 else None, record.log_ms, state.version, state.state,
                state.state_message, state.timestamp, occurred_ms, state.scheduled_start_time, outcome, detail,
            )
        )  # fmt: skip

    def _collect(self) -> tuple[list[AutomationEvent], str | None]:
        """Takes what was emitted: events, and why a record was rejected."""
        events, rejected = [], None
        for output in self._logic.out:
            if output.topic == AUTOMATION_EVENTS:
                event = _OWN.decode_event(output.value)
                assert isinstance(event, AutomationEvent)
                self._runs[event.tenant_id].events.append(event)
                events.append(event)
            elif output.topic == INPUT_DLQ:
                headers = dict(output.headers or ())
                rejected = f"{headers['reason'].decode()}: {headers['detail'].decode()}"
        self._logic.out.clear()
        return events, rejected

    def _judge_state(self, run: _Run, state: FlowRunState, log_ms: int, events: list[AutomationEvent]) -> None:
        """What each automation on state changes did about a record that was applied."""
        fired = {event.automation_id: event for event in events if event.event_name == FLOW_RUN_STATE_CHANGED}
        verdicts = []
        for automation_id, written in self._concerned(state.tenant_id, None):
            event = fired.get(automation_id)
            if event is None:
                verdict = state_verdict(
                    automation_id, written, state.state.casefold(), state.flow_group_id, log_ms, self._limits.started_ms
                )
            else:
                verdict = fired_state(written, event, log_ms)
            verdicts.append(verdict)
        run.states.append(StateVerdicts(state.version, state.state, log_ms, verdicts))

    def _look(self, run: _Run, state: RunState, before: RunState | None, progress_ms: int, version: int | None) -> None:
        """Judges the run's deadlines as the logic does at this moment, and notes how each stands."""
        life, limits, until_ms = len(run.forgotten_ms), self._limits, expires_ms(state, self._timing)
        run.latest = latest = latest_of(state)
        slas = [self._app.automations.flow_slas(latest.tenant_id, kind, latest.flow_group_id) for kind in KINDS]
        shown = {_identity(life, deadline): deadline for deadline in armed(state.entries)}
        for identity, known in run.deadlines.items():
            gone = identity[0] == life and identity not in shown and identity[3] > state.floor
            if gone and known.looked.moved_by is None:
                known.looked = known.looked._replace(moved_by=version)
        for identity, deadline in shown.items():
            looked = Looked(deadline, latest.flow_group_id, progress_ms, until_ms, None)
            run.deadlines.setdefault(identity, _Deadline(progress_ms, looked)).looked = looked
        candidates = [(deadline, slas[deadline.kind]) for deadline in shown.values()]
        fired = before.fired if before is not None else ()
        for miss in judge(candidates, fired, progress_ms, until_ms, limits).misses:
            stands, _ = standing(miss.deadline, miss.sla.duration_ms, progress_ms, until_ms, limits)
            run.deadlines[_identity(life, miss.deadline)].misses[miss.interval.automation_id] = (miss, stands)

    def _explained(self, run: _Run, one: _Deadline) -> DeadlineVerdicts:
        looked, deadline = one.looked, one.looked.deadline
        kind, ids = KINDS[deadline.kind], {event.id for event in run.events}
        verdicts = []
        for automation_id, written in self._concerned(run.latest.tenant_id, kind):
            missed = one.misses.get(automation_id)
            if missed is None:
                verdicts.append(deadline_verdict(automation_id, written, looked, self._limits))
                continue
            miss, stands = missed
            event_id = flow_sla_event_id(
                run.latest.tenant_id, automation_id, run.latest.flow_run_id, kind, miss.deadline.base_ms
            )
            assert event_id in ids, "the replayed logic fires what it judges missed"
            verdicts.append(fired_verdict(written, miss, stands, event_id))
        return DeadlineVerdicts(kind, deadline, one.seen_ms, looked.moved_by, verdicts)

    def _concerned(self, tenant_id: str, kind: str | None) -> list[tuple[str, list[Written]]]:
        """The tenant's automations on state changes (None) or on deadlines of a kind, with what was written."""
        return [one for one in self._of_runs(tenant_id) if concerns(one[1], kind)]

    def _of_runs(self, tenant_id: str) -> list[tuple[str, list[Written]]]:
        """The tenant's automations on runs."""
        known = self._written.get(tenant_id)
        if known is None:
            automations = self._app.automations
            ids = automations.automations_of(tenant_id)
            written = [(one, automations.written(one, tenant_id)) for one in ids]
            known = [one for one in written if any(concerns(one[1], kind) for kind in (None, *KINDS))]
            self._written[tenant_id] = known
        return known


def _identity(life: int, deadline: Armed) -> tuple[int, int, int, int]:
    return life, deadline.kind, deadline.base_ms, deadline.version
