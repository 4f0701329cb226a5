"""Reads what an explanation needs from the topics, and leaves nothing behind there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cli.codecs import codec_for
from cli.reach import require
from consumer.app import ConsumerApp, options_of
from schemas.codec import Codec
from schemas.records import ActionResult, AutomationEvent
from streams.history import History
from streams.offsets_at import offsets_at
from streams.partition import Unread
from streams.position import POSITION_KEY, Position, decode
from streams.standing import places_in
from topology.names import ACTION_RESULTS, AUTOMATION_EVENTS, AUTOMATIONS
from topology.partitioner import partition_of
from topology.settings import Settings
from topology.topics import changelog_of


class Span(NamedTuple):
    """What was searched of a partition: its offsets, and the log time of the first record found there."""

    topic: str
    partition: int
    begin: int
    end: int
    first_ms: int | None
    cut: bool
    """Whether the log has lost records before ``begin`` to retention."""


class State(NamedTuple):
    """The state kept in an input partition's changelog: all of it, and the consumer's position."""

    topic: str
    partition: int
    values: dict[bytes, bytes]
    position: Position | None


class Sources:
    """The topics of one cluster, read for one key. ``input_name`` is the input's, without prefix."""

    def __init__(self, settings: Settings, input_name: str, key: bytes) -> None:
        self.settings = settings
        self.codec: Codec = codec_for(settings)
        self.key = key
        self._input = input_name
        require(settings, "explain")
        self.partitions = len(places_in(settings, [settings.topic(input_name)]))
        self.partition = partition_of(settings.partitioner, key, self.partitions)

    def state(self) -> State:
        """What the consumer keeps of the partition. Nothing, where no such group has ever been."""
        settings = self.settings
        topic = changelog_of(settings, self._input)
        values: dict[bytes, bytes] = {}
        with History(settings, topic) as history:
            for batch in history.read(self.partition):
                for record in batch:
                    if record.key is not None and record.value is not None:
                        values[record.key] = record.value
                    elif record.key is not None:
                        values.pop(record.key, None)
        position = values.pop(POSITION_KEY, None)
        return State(topic, self.partition, values, None if position is None else decode(position))

    def app(self) -> ConsumerApp:
        """The consumer's logic with every automation that ever was, as far as the topic still tells."""
        settings = self.settings
        app = ConsumerApp(options_of(settings))
        with History(settings, settings.topic(AUTOMATIONS)) as history:
            for _, record in history.records():
                app.control(record)
        return app

    def records(self, since_ms: int | None) -> tuple[list[Unread], Span]:
        """The key's records in its partition, with log times as the consumer takes them: never going back."""
        topic = self.settings.topic(self._input)
        found: list[Unread] = []
        log_ms, first_ms = -1, None
        with History(self.settings, topic) as history:
            begin = None if since_ms is None else self._since(topic, history.spans[self.partition].end, since_ms)
            for batch in history.read(self.partition, begin):
                for record in batch:
                    log_ms = max(log_ms, record.log_ms)
                    first_ms = log_ms if first_ms is None else first_ms
                    if record.key == self.key:
                        found.append(record._replace(log_ms=log_ms))
            span = history.spans[self.partition]
        at = span.begin if begin is None else max(begin, span.begin)
        return found, Span(topic, self.partition, at, span.end, first_ms, at > 0)

    def _since(self, topic: str, end: int, since_ms: int) -> int:
        offset = offsets_at(self.settings, topic, [self.partition], since_ms)[self.partition]
        return end if offset is None else offset

    def events(self) -> list[AutomationEvent]:
        """The events of the key that its topic has."""
        topic = self.settings.topic(AUTOMATION_EVENTS)
        with History(self.settings, topic, log_times=False) as history:
            partition = partition_of(self.settings.partitioner, self.key, len(history.spans))
            found = [
                self.codec.decode_event(record.value)
                for batch in history.read(partition)
                for record in batch
                if record.key == self.key
            ]
        return [event for event in found if isinstance(event, AutomationEvent)]

    def results(self, event_ids: Iterable[str], since_ms: int) -> list[ActionResult]:
        """What became of events' deliveries, from a moment on that lies before all of them."""
        wanted = frozenset(event_ids)
        return [result for result in self._results(since_ms) if result.event_id in wanted] if wanted else []

    def _results(self, since_ms: int) -> Iterator[ActionResult]:
        topic = self.settings.topic(ACTION_RESULTS)
        with History(self.settings, topic, log_times=False) as history:
            begins = offsets_at(self.settings, topic, list(history.spans), since_ms)
            for partition, begin in begins.items():
                if begin is None:
                    continue
                for batch in history.read(partition, begin):
                    for record in batch:
                        result = self.codec.decode_result(record.value)
                        if isinstance(result, ActionResult):
                            yield result
