"""Whether `automation-events` has exactly what the automations that were live decide over the history.

What bounds the comparison is read in an order that leaves no race with a consumer at work: its positions first
(it has decided at least up to there), then the events, then the instant up to which the inputs are known (no
event read rests on anything later), then the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import monotonic
from typing import NamedTuple

from cli.errors import WrongUse
from cli.past import Past, Stretch
from cli.progress import progress
from consumer.agreement import Agreement, Place, Verdict
from consumer.app import Options, options_of
from consumer.replay import Begin, PartitionReplay, Replay
from schemas.codec import Codec, Rejected, SchemaSource
from schemas.records import AutomationEvent
from streams.history import History
from streams.position import Position
from streams.standing import last_positions
from topology.names import AGENT_HEARTBEAT, AUTOMATION_EVENTS, FLOW_RUN_STATE, INPUTS
from topology.partitioner import partition_of
from topology.settings import Settings

Positions = dict[tuple[str, int], Position]
"""By input and partition."""


class Proof(NamedTuple):
    """The verdict, and what it took."""

    verdict: Verdict
    records: int
    """Records replayed."""
    behind: int
    """Offsets that the consumer has not read yet."""
    seconds: float
    """How long the replay took."""


def prove(
    settings: Settings,
    since_ms: int | None = None,
    heard: Callable[[AutomationEvent], None] = lambda _: None,
    registry: SchemaSource | None = None,
) -> Proof:
    """Compares what the topic has with what the history decides; ``heard`` is told each event decided.

    With ``since_ms`` events with an earlier timestamp don't count. Raises ``WrongUse`` where there is nothing to
    compare, and what reading raises.
    """
    comparison = _Comparison(settings, registry, since_ms)
    with ExitStack() as stack:
        with progress("events") as (total, more):
            history = stack.enter_context(comparison.open_events(more))
            total(history.offsets)
            comparison.read_events(history)
        with progress("inputs") as (total, more), Past(settings, INPUTS, more) as past:
            total(past.offsets)
            began_s = monotonic()
            records = comparison.replay(past, heard)
            seconds = monotonic() - began_s
            behind = comparison.behind(past)
        return Proof(comparison.verdict(history), records, behind, seconds)


class _Comparison:
    """`read_events`, then `replay` over the inputs' past, then the `verdict`. Times in ms."""

    def __init__(self, settings: Settings, registry: SchemaSource | None, since_ms: int | None) -> None:
        self._settings = settings
        self._options: Options = options_of(settings)
        self._codec = Codec(registry, settings.topic_prefix)
        self._registry = registry
        self._since_ms = since_ms or 0
        self._agreement = Agreement()
        self._events_cut_ms = 0
        self._runs: set[tuple[str, str]] = set()
        self._replays: dict[tuple[str, int], PartitionReplay] = {}
        self._positions = self._last_positions()

    def open_events(self, told: Callable[[int], None]) -> History:
        """The history of `automation-events`."""
        return History(self._settings, self._settings.topic(AUTOMATION_EVENTS), told, log_times=False)

    def read_events(self, history: History) -> None:
        """Takes everything that the topic has."""
        for partition in history.spans:
            first_ms = None
            for batch in history.read(partition):
                for record in batch:
                    first_ms = record.log_ms if first_ms is None else first_ms
                    event = self._codec.decode_event(record.value)
                    if isinstance(event, Rejected):
                        self._agreement.unreadable((partition, record.offset))
                    elif event.timestamp >= self._since_ms:
                        self._agreement.found(event, (partition, record.offset))
                        if event.flow_run_id is not None:
                            self._runs.add((event.tenant_id, event.flow_run_id))
            if history.spans[partition].begin and first_ms is not None:
                self._events_cut_ms = max(self._events_cut_ms, first_ms)

    def replay(self, past: Past, heard: Callable[[AutomationEvent], None]) -> int:
        """Replays the inputs; ``heard`` is told each event decided. Returns the records applied."""
        replay = Replay(self._options, past.control(), self._registry)
        records = 0
        for stretch in past.stretches():
            place = (stretch.input_name, stretch.partition)
            position = self._positions[place]
            begin = Begin(stretch.begin, position.started_ms or 0, position.gap_ends_ms, stretch.cut_ms)
            partition = replay.partition(stretch.input_name, stretch.partition, stretch.width, begin)
            self._replays[place] = partition
            for event, sure in _decided(partition, stretch, position, past.known_ms):
                if event.timestamp >= self._since_ms:
                    provable = partition.provable(event) and event.timestamp >= self._events_cut_ms
                    self._agreement.decided(event, sure=sure, provable=provable)
                    heard(event)
            records += partition.records
            partition.end(self._runs)
        return records

    def verdict(self, history: History) -> Verdict:
        """The outcome; what is left over on the topic is read once more."""
        left = self._agreement.places
        for partition in sorted({partition for partition, _ in left}):
            for batch in history.read(partition):
                for record in batch:
                    place: Place = (partition, record.offset)
                    event = self._codec.decode_event(record.value) if place in left else None
                    if isinstance(event, AutomationEvent):
                        self._agreement.left_over(event, place, provable=self._provable(event))
        return self._agreement.verdict()

    def behind(self, past: Past) -> int:
        """Offsets that the live consumer has not read."""
        return sum(max(0, end - self._positions[place].offset) for place, end in past.ends().items())

    def _last_positions(self) -> Positions:
        found: Positions = {}
        for name in INPUTS:
            for partition, position in last_positions(self._settings, name).items():
                if position is None:
                    raise WrongUse(
                        f"the consumer group {self._settings.consumer_group} has never worked on {name} "
                        f"[{partition}]: there is nothing to compare with. Give the right CONSUMER_GROUP, or a "
                        "draft with -f FILE"
                    )
                found[name, partition] = position
        return found

    def _provable(self, event: AutomationEvent) -> bool:
        """Whether the history that is left shows all that an event on the topic rests on."""
        name = FLOW_RUN_STATE if event.agent_config_id is None else AGENT_HEARTBEAT
        subject = event.flow_run_id or event.agent_config_id or ""
        width = sum(1 for place in self._positions if place[0] == name)
        replay = self._replays.get((name, partition_of(self._options.partitioner, subject.encode(), width)))
        return replay is None or replay.provable(event)


def _decided(
    replay: PartitionReplay, stretch: Stretch, position: Position, known_ms: int
) -> Iterator[tuple[AutomationEvent, bool]]:
    """A partition's events, each with whether the live consumer's position lies beyond its decision."""
    reached = False

    def reach() -> Iterator[tuple[AutomationEvent, bool]]:
        for event in replay.reach(min(position.offset, stretch.end), position.progress_ms):
            yield event, True

    for batch in stretch.batches:
        before = [record for record in batch if record.offset < position.offset]
        for event in replay.feed(before):
            yield event, True
        if len(before) < len(batch):
            if not reached:
                reached = True
                yield from reach()
            for event in replay.feed(batch[len(before) :]):
                yield event, False
    if not reached:
        yield from reach()
    for event in replay.reach(stretch.end, max(known_ms, position.progress_ms)):
        yield event, False
