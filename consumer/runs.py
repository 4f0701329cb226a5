"""Flow runs: what each record of a run changes and fires, and what time alone makes due.

Law: a record is applied once (a second one of its version changes nothing); it is judged by the automations
in force at its log time; what a run's versions then show is judged; what has fired stays fired.
"""

from __future__ import annotations

from typing import NamedTuple

from consumer import run_state
from consumer.attempts import KINDS, armed
from consumer.automations import Automations
from consumer.catalog import Catalog
from consumer.counts import Counts
from consumer.deadlines import Deadlines
from consumer.events import Events
from consumer.intake import Place, dead_letter, too_late, wrong_key, wrong_partition
from consumer.misses import Judgement, Limits, judge
from consumer.retention import Retention
from consumer.run_state import (
    NO_TIME,
    Entry,
    Fired,
    Other,
    RunState,
    expires_ms,
    flow_group_of,
    run_key,
    state_mark,
    tenant_of,
)
from consumer.timing import Timing
from schemas.codec import Codec, Rejected, cut
from schemas.records import FLOW_RUN_STATE_CHANGED, FLOW_SLA_FAILED, AutomationEvent, FlowRunState
from schemas.states import OTHER, WAITS, state_classes
from streams.partition import Output, Unread
from streams.store import Store
from topology.names import AUTOMATION_EVENTS

MESSAGE_IN_STATE = 1_024
"""Characters of a state message that are kept of a run."""

_BODY = Codec()
"""Reads and writes the bodies in state: always our own first layout, whatever the writers use."""


class Rules(NamedTuple):
    """What the logic of a partition decides by."""

    automations: Automations
    timing: Timing
    codec: Codec
    events: Events
    finished_states: tuple[str, ...] = ()
    has_registry: bool = False


class _Whose(NamedTuple):
    """What decides which flow SLAs cover a run."""

    tenant_id: str
    flow_group_id: str


class _Meaning(NamedTuple):
    folded: str
    state_class: int
    mark: int


class Runs:
    """The logic of one partition of flow-run-state."""

    def __init__(self, rules: Rules, place: Place, store: Store) -> None:
        self.out: list[Output] = []
        self.counts = Counts()
        self._rules = rules
        self._place = place
        self._store = store
        self._classes = state_classes(rules.finished_states)
        self._meanings: dict[str, _Meaning] = {}
        self._deadlines: Deadlines[bytes] = Deadlines()
        self._retention = Retention()
        self._catalog = Catalog()
        self._unfinished: dict[str, set[bytes]] = {}
        self._pending: list[bytes] = []
        """Runs whose next deadline is still to be found: after a restore, or a change of flow SLAs."""
        self._limits = Limits(rules.timing.grace_ms, 0, 0)
        self._changes_seen = 0
        self._kept_surely_ms = min(rules.timing.keep_finished_ms, rules.timing.keep_unfinished_ms)

    @property
    def active_runs(self) -> int:
        """Runs that have not finished."""
        return sum(map(len, self._unfinished.values()))

    @property
    def pending(self) -> int:
        """Runs whose next deadline is still to be found."""
        return len(self._pending)

    @property
    def armed_timers(self) -> int:
        """Runs with a deadline ahead."""
        return len(self._deadlines)

    def started(self, started_ms: int, gap_ms: int, progress_ms: int) -> None:
        """State is restored: what is kept beside it is derived in the next ticks. Log times in ms."""
        self._limits = Limits(self._rules.timing.grace_ms, started_ms, gap_ms)
        self._changes_seen = len(self._rules.automations.changes)
        self._pending = list(self._store.data)

    def rolled_back(self, keys: list[bytes], progress_ms: int) -> None:
        """These runs went back to what they were."""
        self._catalog.clear()
        self.counts = Counts()
        for key in keys:
            self._derive(key)

    def apply(self, record: Unread, log_ms: int, now_ms: int) -> None:
        """Applies the next record; one that can't be judged goes to the dead letters."""
        run = self._rules.codec.decode_state(record.value)
        if isinstance(run, Rejected):
            self._reject(record, run)
            return
        assert record.value is not None
        key, subject = run_key(run.tenant_id, run.flow_run_id), run.flow_run_id.encode()
        rejected = wrong_key(record.key, subject) or too_late(run, log_ms, self._rules.timing.late_ms)
        if rejected is None and self._store.get(key) is None:
            # The partition of a run that is known was right when its first record came.
            rejected = wrong_partition(subject, self._place)
        if rejected is None:
            self._take(key, run, record.value, log_ms, now_ms)
        else:
            self._reject(record, rejected)

    def tick(self, progress_ms: int, now_ms: int, limit: int) -> bool:
        """Fires the deadlines that progress has passed, at most ``limit``; True when none is left.

        Nothing fires, and so progress does not move, while runs are left whose next deadline is not known.
        """
        self._follow_automations()
        while self._pending and limit > 0:
            limit -= 1
            self._derive(self._pending.pop())
        while limit > 0:
            key = self._deadlines.pop_before(progress_ms)
            if key is None:
                return self._expire(progress_ms, limit)
            limit -= 1
            value = self._store.get(key)
            if value is not None:
                run = run_state.decode(value)
                latest = latest_of(run)
                judgement = self._judge(run, latest, progress_ms)
                if judgement.misses:
                    self._keep(key, self._fire(run, latest, judgement, now_ms), latest.tenant_id)
                self._deadlines.set(key, judgement.next_due_ms)
        return False

    def _reject(self, record: Unread, rejected: Rejected) -> None:
        self.counts.rejected[rejected.reason] += 1
        self.out.append(dead_letter(record, rejected, self._place))

    def _take(self, key: bytes, record: FlowRunState, value: bytes, log_ms: int, now_ms: int) -> None:
        """Applies a record that may be judged."""
        counts, timing = self.counts, self._rules.timing
        counts.consumed += 1
        if log_ms - record.timestamp > timing.grace_ms:
            counts.late += 1
        meaning = self._meanings.get(record.state) or self._learn(record.state)
        run = self._load(key, log_ms)
        if run is not None:
            mark = run.mark_of(record.version)
            if mark is not None:
                counts.duplicates += 1
                counts.conflicts += mark not in (meaning.mark, -1)
                return
        seen = self._catalog.flow_group(record)
        if seen is not None:
            self.out.append(seen)
        self._fire_state_change(record, meaning.folded, log_ms, now_ms)
        run, latest = self._merge(run, record, value, meaning, log_ms)
        judgement = self._judge(run, latest, log_ms)
        if judgement.misses:
            run = self._fire(run, latest, judgement, now_ms)
        self._keep(key, run, record.tenant_id)
        self._deadlines.set(key, judgement.next_due_ms)

    def _learn(self, state: str) -> _Meaning:
        folded = state.casefold()
        meaning = _Meaning(folded, self._classes.get(folded, OTHER), state_mark(folded))
        if meaning.state_class == OTHER:
            self.counts.unknown_states += 1
        elif len(self._meanings) < 1_000:
            self._meanings[state] = meaning
        return meaning

    def _merge(
        self, run: RunState | None, record: FlowRunState, value: bytes, meaning: _Meaning, log_ms: int
    ) -> tuple[RunState, FlowRunState]:
        """The run with the record in its place, and its highest version's record."""
        version, mark, state_class = record.version, meaning.mark, meaning.state_class
        if run is None:
            run = RunState(log_ms, (), (), (), b"")
        top = version > run.top_version
        entries, others = run.entries, run.others
        if state_class == OTHER:
            others = tuple(sorted((*others, Other(version, mark))))
        else:
            occurred_ms = self._rules.timing.occurred(record.timestamp, log_ms)
            scheduled_ms = record.scheduled_start_time if state_class == WAITS else None
            entry = Entry(
                version,
                mark,
                state_class,
                occurred_ms,
                log_ms,
                NO_TIME if scheduled_ms is None else scheduled_ms,
            )
            in_order = not entries or version > entries[-1].version
            entries = (*entries, entry) if in_order else tuple(sorted((*entries, entry)))
        if top:
            # What an SLA event shows of the run is what is kept of it, whether proof or silence fires it.
            message, latest = record.state_message, record
            if message is not None and len(message) > MESSAGE_IN_STATE:
                latest = record._replace(state_message=cut(message, MESSAGE_IN_STATE))
            body = self._body(latest, value)
        else:
            latest, body = latest_of(run), run.body
        return RunState(log_ms, entries, others, run.fired, body, run.floor).bounded(), latest

    def _body(self, record: FlowRunState, value: bytes) -> bytes:
        """What is kept of the highest version's record: its own bytes where they are in our own layout."""
        if not self._rules.has_registry and len(value) <= MESSAGE_IN_STATE:
            return value
        return _BODY.encode_state(record)

    def _fire_state_change(self, record: FlowRunState, folded: str, log_ms: int, now_ms: int) -> None:
        if log_ms < self._limits.started_ms:
            return
        rules = self._rules
        for interval in rules.automations.state_change(record.tenant_id, folded, record.flow_group_id, log_ms):
            self._emit(rules.events.state_changed(interval, record, log_ms, now_ms), FLOW_RUN_STATE_CHANGED)

    def _fire(self, run: RunState, latest: FlowRunState, judgement: Judgement, now_ms: int) -> RunState:
        """Emits the misses, and the run that remembers them."""
        marks: list[Fired] = []
        for miss in judgement.misses:
            marks.append(miss.fired)
            due_ms = miss.deadline.from_ms + miss.sla.duration_ms + self._rules.timing.grace_ms
            self.counts.fire_delays_ms.append(max(0, now_ms - due_ms))
            self._emit(self._rules.events.sla_failed(miss, latest, now_ms), FLOW_SLA_FAILED)
        return run._replace(fired=(*run.fired, *marks))

    def _emit(self, event: AutomationEvent, name: str) -> None:
        assert event.flow_run_id is not None
        self.counts.emitted[name] += 1
        value = self._rules.codec.encode_event(event)
        self.out.append(Output(AUTOMATION_EVENTS, event.flow_run_id.encode(), value))

    def _judge(self, run: RunState, latest: FlowRunState | _Whose, progress_ms: int) -> Judgement:
        covering = [self._rules.automations.flow_slas(latest.tenant_id, kind, latest.flow_group_id) for kind in KINDS]
        if not any(covering):
            return Judgement([], None)
        candidates = [(deadline, covering[deadline.kind]) for deadline in armed(run.entries)]
        return judge(candidates, run.fired, progress_ms, expires_ms(run, self._rules.timing), self._limits)

    def _keep(self, key: bytes, run: RunState, tenant_id: str) -> None:
        self._store.put(key, run.encode())
        self._index(key, run, tenant_id)

    def _index(self, key: bytes, run: RunState, tenant_id: str) -> None:
        """Keeps the unfinished runs by tenant, and each run's next look for retention."""
        keys = self._unfinished.setdefault(tenant_id, set())
        if run.finished:
            keys.discard(key)
            self._retention.put(key, expires_ms(run, self._rules.timing))
        elif key not in keys:
            keys.add(key)
            self._retention.put(key, expires_ms(run, self._rules.timing))

    def _load(self, key: bytes, log_ms: int) -> RunState | None:
        """The run, unless its time is over at ``log_ms``."""
        value = self._store.get(key)
        if value is None:
            return None
        run = run_state.decode(value)
        if log_ms - run.last_log_ms > self._kept_surely_ms and log_ms > expires_ms(run, self._rules.timing):
            self._drop(key, run)
            return None
        return run

    def _expire(self, progress_ms: int, limit: int) -> bool:
        """Looks at runs whose hour has come: drops them, or puts them back to their next one."""
        for _ in range(limit):
            key = self._retention.pop_before(progress_ms)
            if key is None:
                return True
            run = self._load(key, progress_ms)
            if run is not None:
                self._retention.put(key, max(expires_ms(run, self._rules.timing), progress_ms))
        return False

    def _drop(self, key: bytes, run: RunState) -> None:
        self.counts.dropped_runs += not run.finished
        self._unfinished.get(tenant_of(key), set()).discard(key)
        self._deadlines.set(key, None)
        self._store.delete(key)

    def _follow_automations(self) -> None:
        """Where flow SLAs have changed, the tenant's runs get their next deadlines anew."""
        changes = self._rules.automations.changes
        if self._changes_seen == len(changes):
            return
        tenants = {change.tenant_id for change in changes[self._changes_seen :] if change.event_type in KINDS}
        self._changes_seen = len(changes)
        for tenant_id in tenants:
            self._pending.extend(self._unfinished.get(tenant_id, ()))

    def _derive(self, key: bytes) -> None:
        """Finds a run's next deadline from its state. What is overdue comes up at the next tick."""
        value = self._store.get(key)
        if value is None:
            self._deadlines.set(key, None)
            self._unfinished.get(tenant_of(key), set()).discard(key)
            return
        run, tenant_id = run_state.decode(value), tenant_of(key)
        self._index(key, run, tenant_id)
        # A finish meets all that is armed before it.
        whose = None if run.finished else _Whose(tenant_id, flow_group_of(run.body))
        self._deadlines.set(key, None if whose is None else self._judge(run, whose, NO_TIME).next_due_ms)


def latest_of(run: RunState) -> FlowRunState:
    latest = _BODY.decode_state(run.body)
    assert isinstance(latest, FlowRunState)
    return latest
