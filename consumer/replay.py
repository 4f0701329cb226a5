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

from consumer import run_state
from consumer.agents import Agents
from consumer.app import ConsumerApp, Options
from consumer.automations import AgentSLA
from consumer.run_state import run_key
from consumer.runs import Runs
from schemas.codec import Codec, SchemaSource
from schemas.records import AutomationEvent
from streams.partition import Partition, Unread
from streams.position import Position
from streams.store import Store

KNOWN_TO_THE_END = 2**63 - 1
"""Progress of the control topic in a replay: its history is read before."""

FIRST_VERSION = 1


class Begin(NamedTuple):
    """Where a partition's replay begins; log times in ms."""

    offset: int = 0
    started_ms: int = 0
    """No automation counts as in force before it; 0: as they were."""
    gap_ms: int = 0
    """Attempts armed before it fire by proof only."""
    cut_ms: int | None = None
    """Log time of the first record, if the log had earlier ones: what began before it is known in part."""


class _Hearing(Codec):
    """Reads as the consumer does, and hears the events instead of writing them."""

    def __init__(self, registry: SchemaSource | None, topic_prefix: str) -> None:
        super().__init__(registry, topic_prefix)
        self.heard: list[AutomationEvent] = []

    def encode_event(self, record: AutomationEvent) -> bytes:
        """Asks no registry for an id: that would register the schema."""
        self.heard.append(record)
        return b""


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
        return PartitionReplay(partition, logic, self._codec.heard, begin)

    def settled_ms(self, event: AutomationEvent, begin: Begin) -> int:
        """Instant of a fall from which on a log that was cut off shows the same agents as a whole one.

        The same goes for one with a gap in it.
        """
        hole_ms = max(begin.cut_ms or 0, begin.gap_ms)
        if not hole_ms:
            return 0
        intervals = self._app.automations.agent_slas(event.tenant_id, event.agent_config_id or "")
        waits = [i.condition.unhealthy_after_ms for i in intervals if isinstance(i.condition, AgentSLA)]
        return max(hole_ms, begin.started_ms) + max(waits, default=0) + 1


class PartitionReplay:
    """One input partition, fed in order; each call gives the events that it made due."""

    def __init__(self, partition: Partition, logic: Runs | Agents, heard: list[AutomationEvent], begin: Begin) -> None:
        self._partition = partition
        self._logic = logic
        self._heard = heard
        self._begin = begin
        self._followed: frozenset[bytes] = frozenset()
        self._whole: set[bytes] = set()

    def follow(self, runs: Iterable[tuple[str, str]]) -> None:
        """Of these runs (tenant id, run id) `is_whole` will be asked at the end."""
        self._followed = frozenset(run_key(*run) for run in runs)

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

    def is_whole(self, tenant_id: str, run_id: str) -> bool:
        """Whether all of a run lies in the log: its state says so now, or said so while it was followed."""
        if self._begin.cut_ms is None:
            return True
        key = run_key(tenant_id, run_id)
        value = self._partition.store.get(key)
        return key in self._whole or (value is not None and _from_its_first_version(value))

    def end(self) -> None:
        """Nothing more is fed: lets go of the state."""
        self._partition.store.data.clear()

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
        store = self._partition.store
        self._logic.out.clear()
        self._logic.counts.fire_delays_ms.clear()
        for key, value in store.drain().items():
            if key in self._followed and value is not None and _from_its_first_version(value):
                self._whole.add(key)
        store.committed()


def _from_its_first_version(value: bytes) -> bool:
    run = run_state.decode(value)
    lowest = min((versioned.version for listed in (run.entries, run.others) for versioned in listed), default=0)
    return run.floor > 0 or lowest <= FIRST_VERSION
