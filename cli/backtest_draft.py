"""What a draft would have fired: its automations over the inputs' history, as if put into force at an instant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cli.past import Past
from consumer.app import options_of
from consumer.replay import Begin, Replay
from schemas.codec import SchemaSource
from schemas.control import Automation, ControlRecord, to_json
from schemas.records import AGENT_SLA_FAILED, AutomationEvent
from streams.partition import Unread
from topology.names import AGENT_HEARTBEAT, FLOW_RUN_STATE


class Told(NamedTuple):
    """What a replay has read, once it is through."""

    records: int = 0
    rejected: int = 0
    """Records that can't be judged."""
    open_deadlines: int = 0
    """Runs, or configs of agents, whose deadline lies ahead at the end."""
    cut_ms: int | None = None
    """Where the history begins, if it is cut off: the latest such instant of any partition."""


def inputs_of(automations: list[Automation]) -> list[str]:
    """The inputs that automations are about."""
    about_agents = {automation.event_type == AGENT_SLA_FAILED for automation in automations}
    return [name for name, agents in ((FLOW_RUN_STATE, False), (AGENT_HEARTBEAT, True)) if agents in about_agents]


def in_force_from(records: list[ControlRecord], since_ms: int) -> list[Unread]:
    """A control topic on which the records came at one instant, every automation enabled."""
    return [
        Unread(offset, since_ms, record.key.encode(), to_json(_enabled(record)))
        for offset, record in enumerate(records)
    ]


def _enabled(record: ControlRecord) -> ControlRecord:
    return record.model_copy(update={"enabled": True}) if isinstance(record, Automation) else record


class DraftReplay:
    """To be gone through for its events; ``told`` then says what was read.

    With ``until_ms`` it ends there, as if nothing had come later.
    """

    def __init__(
        self, past: Past, controls: list[Unread], until_ms: int | None = None, registry: SchemaSource | None = None
    ) -> None:
        self.told = Told()
        self._past = past
        self._until_ms = until_ms
        self._replay = Replay(options_of(past.settings), controls, registry)

    def __iter__(self) -> Iterator[AutomationEvent]:
        told, until_ms = self.told, self._until_ms
        progress_ms = self._past.known_ms if until_ms is None else until_ms
        for stretch in self._past.stretches():
            begin = Begin(stretch.begin, cut_ms=stretch.cut_ms)
            replay = self._replay.partition(stretch.input_name, stretch.partition, stretch.width, begin)
            for batch in stretch.batches:
                if until_ms is not None and batch and batch[-1].log_ms >= until_ms:
                    yield from replay.feed([record for record in batch if record.log_ms < until_ms])
                    break
                yield from replay.feed(batch)
            yield from replay.reach(stretch.end, progress_ms)
            told = Told(
                told.records + replay.records,
                told.rejected + sum(replay.rejected.values()),
                told.open_deadlines + replay.open_deadlines,
                max((ms for ms in (told.cut_ms, stretch.cut_ms) if ms is not None), default=None),
            )
        self.told = told
