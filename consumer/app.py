"""The consumer's decisions put together: the control table, and the logic of each input's partitions.

The Kafka loop, the test driver and whatever replays history run this same object.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from consumer.agents import Agents
from consumer.automations import Automations
from consumer.events import Events
from consumer.intake import Place
from consumer.runs import Rules, Runs
from consumer.timing import Timing
from schemas.codec import Codec
from schemas.control import InvalidControl, Tombstone, parse_control
from streams.partition import Logic, Unread
from streams.store import Store
from topology.names import FLOW_RUN_STATE
from topology.partitioner import Partitioner, partition_of
from topology.settings import Settings


class Options(NamedTuple):
    """What a consumer is set to: the reference's settings of the same names."""

    timing: Timing = Timing()
    topic_prefix: str = ""
    partitioner: Partitioner = "murmur2"
    finished_states: tuple[str, ...] = ()
    ui_base_url: str | None = None


def options_of(settings: Settings) -> Options:
    """What the settings say of it."""
    timing = Timing(settings.grace_ms, settings.clock_tolerance_ms, settings.late_ms)
    return Options(timing, settings.topic_prefix, settings.partitioner, settings.finished_states, settings.ui_base_url)


class ConsumerApp:
    """Control table and logics of one process. ``codec`` reads the inputs and writes the events."""

    def __init__(self, options: Options, codec: Codec | None = None, has_registry: bool = False) -> None:
        self.automations = Automations()
        self.invalid_controls: dict[str, InvalidControl] = {}
        """The control records that are skipped, by key."""
        self.options = options
        self._rules = Rules(
            automations=self.automations,
            timing=options.timing,
            codec=codec or Codec(),
            events=Events(self.automations, options.ui_base_url),
            finished_states=options.finished_states,
            has_registry=has_registry,
        )

    def control(self, record: Unread) -> None:
        """Takes the next control record; an invalid one is skipped, and kept for the tools to show."""
        parsed = parse_control(record.key, record.value)
        if isinstance(parsed, InvalidControl):
            self.invalid_controls[parsed.key] = parsed
            return
        self.invalid_controls.pop(parsed.key, None)
        self.automations.apply(record.log_ms, parsed.key, None if isinstance(parsed, Tombstone) else parsed)

    def logic(self, topic: str, partition: int, partitions: int, store: Store) -> Logic:
        """The logic of an input partition; ``topic`` has no prefix."""
        options = self.options
        place = Place(
            options.topic_prefix + topic,
            partition,
            partial(_partition, options.partitioner, partitions),
        )
        return (Runs if topic == FLOW_RUN_STATE else Agents)(self._rules, place, store)


def _partition(partitioner: Partitioner, partitions: int, key: bytes) -> int:
    return partition_of(partitioner, key, partitions)
