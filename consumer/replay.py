"""What the consumer decides over a history: the same code as at work, fed with what lies in the logs.

Law:

1. Over the same records, control records and settings the events are those of the live consumer, but for
   ``detected_at``: a replay detects nothing.
2. Nothing is put out: no record, no state, no registered schema. Memory is that of a consumer that owns one
   partition.
3. Partitions are independent given the control table, which has to be whole before the first record.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from consumer.agents import Agents
from consumer.app import ConsumerApp, Options
from consumer.automations import AgentSLA
from consumer.retention import HOUR_MS
from consumer.runs import Runs
from consumer.timing import DAY_MS
from schemas.codec import Codec, Rejected, SchemaSource
from schemas.records import AutomationEvent, FlowRunState
from streams.partition import Partition, Unread
from streams.position import Position
from streams.store import Store

KNOWN_TO_THE_END = 2**63 - 1
"""Progress of the control topic in a replay: its history is read before."""

_FIRST_VERSION = 1


class Begin(NamedTuple):
    """Where a partition's replay begins; log times in ms."""

    offset: int = 0
    started_ms: int = 0
    """No automation counts as in force before it; 0: as they were."""
    gap_ms: int = 0
    """Attempts armed before it fire by proof only."""
    cut_ms: int | None = None
    """Log time of the first record, if the log had earlier ones: what began before it is known in part."""

    @property
    def hole_ms(self) -> int:
        """What began before it is known in part to one side or the other; 0: everything is known."""
        return max(self.cut_ms or 0, self.gap_ms)


class _Hearing(Codec):
    """Reads as the consumer does, and hears the events instead of writing them."""

    def __init__(self, registry: SchemaSource | None, topic_prefix: str) -> None:
        super().__init__(registry, topic_prefix)
        self.heard: list[AutomationEvent] = []
        self.begun: set[int] | None = None
        """Marks of the runs that began at ``begun_from_ms`` or later, if anybody wants to know."""
        self.begun_from_ms = 0

    def encode_event(self, record: AutomationEvent) -> bytes:
        """Asks no registry for an id: that would register the schema."""
        self.heard.append(record)
        return b""

    def decode_state(self, value: bytes | None) -> FlowRunState | Rejected:
        """Hears where runs begin."""
        state = super().decode_state(value)
        if (
            self.begun is not None
            and isinstance(state, FlowRunState)
            and state.version == _FIRST_VERSION
            and state.timestamp >= self.begun_from_ms
        ):
            self.begun.add(_mark(state.tenant_id, state.flow_run_id))
        return state


class Replay:
    """A control table, and replays of input partitions under it, one after the other."""

    def __init__(self, options: Options, controls: Iterable[Unread], registry: SchemaSource | None = None) -> None:
        self._codec = _Hearing(registry, options.topic_prefix)
        self._app = ConsumerApp(options, self._codec, registry is not None)
        for record in controls:
            self._app.control(record)

    def partition(self, topic: str, number: int, partitions: int, begin: Begin) -> PartitionReplay:
        """The replay of a partition; ``topic`` has no prefix, and has so many ``partitions``."""
        store = Store()
        logic = self._app.logic(topic, number, partitions, store)
        assert isinstance(logic, (Runs, Agents))
        if isinstance(logic, Agents) and begin.cut_ms is not None:
            # Who was healthy before the cut is unknown: judged as from a first start.
            begin = begin._replace(started_ms=max(begin.started_ms, begin.cut_ms))
        partition = Partition(f"{topic} [{number}]", logic, store, partitions, owner="replay")
        partition.position = Position(begin.offset, -1, -1, begin.started_ms, begin.gap_ms, partitions, "replay")
        partition.resume(begin.offset, None, gap=False)
        return PartitionReplay(partition, logic, self._codec, self._app, begin)


class PartitionReplay:
    """One input partition, fed in order; each call gives the events that it made due."""

    def __init__(
        self, partition: Partition, logic: Runs | Agents, codec: _Hearing, app: ConsumerApp, begin: Begin
    ) -> None:
        self._partition = partition
        self._logic = logic
        self._heard = codec.heard
        self._app = app
        self._hole_ms = begin.hole_ms
        self._begun: set[int] = set()
        codec.begun, codec.begun_from_ms = (self._begun if begin.hole_ms else None), begin.hole_ms

    def feed(self, records: Sequence[Unread]) -> list[AutomationEvent]:
        """Applies the next records."""
        if not records:
            return []
        for record in records:
            self._partition.offer(record)
        return self._work(records[-1].log_ms)

    def reach(self, end: int, progress_ms: int) -> list[AutomationEvent]:
        """Everything below ``end`` was fed, and what is appended later has a log time of ``progress_ms`` or more."""
        self._partition.read_to(end)
        self._partition.confirm_end(end, progress_ms)
        return self._work(progress_ms)

    @property
    def open_deadlines(self) -> int:
        """Runs, or configs of agents, with a deadline ahead that progress has not passed."""
        return self._logic.armed_timers

    @property
    def records(self) -> int:
        """Records applied."""
        return self._logic.counts.consumed

    @property
    def rejected(self) -> dict[str, int]:
        """Records that can't be judged, by reason."""
        return dict(self._logic.counts.rejected)

    def provable(self, event: AutomationEvent) -> bool:
        """Whether the records fed show all that an event of this partition rests on.

        For one that was not decided, once all is fed.
        """
        if not self._hole_ms:
            return True
        if event.flow_run_id is not None:
            return _mark(event.tenant_id, event.flow_run_id) in self._begun
        # Agents are listed for a day after their last heartbeat, and a repeat is known as one within the hour.
        intervals = self._app.automations.agent_slas(event.tenant_id, event.agent_config_id or "")
        waits = [i.condition.unhealthy_after_ms for i in intervals if isinstance(i.condition, AgentSLA)]
        return event.timestamp > self._hole_ms + max([DAY_MS, *waits]) + HOUR_MS

    def end(self, asked: Iterable[tuple[str, str]]) -> None:
        """Nothing more is fed: lets go of state. `provable` may be asked still, about these (tenant, run)."""
        self._partition.store.data.clear()
        self._begun &= {_mark(*run) for run in asked}

    def _work(self, now_ms: int) -> list[AutomationEvent]:
        done = False
        while not done:
            done = self._partition.work(KNOWN_TO_THE_END, now_ms)
            self._let_go()
        events = self._heard.copy()
        self._heard.clear()
        return events

    def _let_go(self) -> None:
        """What a transaction would have taken away."""
        self._logic.out.clear()
        self._logic.counts.fire_delays_ms.clear()
        self._partition.store.drain()
        self._partition.store.committed()


def _mark(tenant_id: str, run_id: str) -> int:
    return hash((tenant_id, run_id))
