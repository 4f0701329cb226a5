"""From topics to explanations: reads, replays, and lays beside it what the topics say became of the events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cli.explain_sources import Sources, Span
from consumer.explain_agents import ConfigExplained, explain_agents
from consumer.explain_runs import Input, explain_runs
from consumer.explanation import RecordRead, RunExplained
from consumer.restored_records import kept_of, needed_since_ms, restored
from consumer.timing import Timing
from schemas.ids import delivery_id
from schemas.records import ActionResult, AutomationEvent
from streams.position import Position
from topology.names import AGENT_HEARTBEAT, FLOW_RUN_STATE
from topology.settings import Settings

MARGIN_MS = 3_600_000
"""Records of a known run are sought from so long before its first: those that were refused may lie there."""
BEHIND_MS = 60_000
"""Results are sought from so long before the event's ``detected_at``: broker time may run behind a broker's."""
TRIES = 3
"""Reading begins anew when an event has come meanwhile that the consumer's position does not cover yet."""


class Delivery(NamedTuple):
    """One action of an event, and what became of it: its results, oldest first."""

    delivery_id: str
    action_id: str
    action_name: str
    action_type: str
    results: list[ActionResult]


class EventFound(NamedTuple):
    """An event as its topic has it, and its deliveries."""

    event: AutomationEvent
    deliveries: list[Delivery]


class RunFound(NamedTuple):
    """All that is known of a run id."""

    run_id: str
    group: str
    timing: Timing
    span: Span
    changelog: str
    position: Position | None
    runs: list[RunExplained]
    unreadable: list[RecordRead]
    events: dict[str, EventFound]
    """By id, those that the topic has."""


class ConfigFound(NamedTuple):
    """All that is known of an agent config id."""

    config_id: str
    group: str
    timing: Timing
    span: Span
    changelog: str
    position: Position | None
    configs: list[ConfigExplained]
    events: dict[str, EventFound]
    """By id, those that the topic has."""


def find_config(settings: Settings, config_id: str, since_ms: int | None) -> ConfigFound:
    """Explains an agent config from the topics."""
    sources = Sources(settings, AGENT_HEARTBEAT, config_id.encode())
    for _ in range(TRIES):
        found = _find_config(sources, config_id, since_ms)
        if _covers(found.position, [event.id for config in found.configs for event in config.events], found.events):
            break
    return found


def _find_config(sources: Sources, config_id: str, since_ms: int | None) -> ConfigFound:
    state, app = sources.state(), sources.app()
    records, span = sources.records(since_ms)
    cut_ms = span.first_ms if span.cut else None
    given = Input(records, state.position, sources.partition, sources.partitions)
    configs = explain_agents(app, config_id, given, sources.codec, cut_ms)
    events = with_deliveries(sources, sources.events())
    if cut_ms is not None:
        configs = [_without_artefacts(config, cut_ms, events) for config in configs]
    return ConfigFound(
        config_id,
        sources.settings.consumer_group,
        app.options.timing,
        span,
        state.topic,
        state.position,
        configs,
        events,
    )


def _without_artefacts(config: ConfigExplained, cut_ms: int, events: Mapping[str, EventFound]) -> ConfigExplained:
    """Where the log is cut, an automation seems to begin there: the fall that this gives is told only if its
    event is on the topic."""
    automations = []
    for one in config.automations:
        sla = one.condition
        begins_ms = cut_ms if sla is None else cut_ms + sla.unhealthy_after_ms
        falls = [fall for fall in one.falls if fall.fall_ms > begins_ms or fall.event_id in events]
        automations.append(one._replace(falls=falls))
    return config._replace(automations=automations)


def find_run(settings: Settings, run_id: str, since_ms: int | None) -> RunFound:
    """Explains a run from the topics."""
    sources = Sources(settings, FLOW_RUN_STATE, run_id.encode())
    for _ in range(TRIES):
        found = _find_run(sources, run_id, since_ms)
        if _covers(found.position, [event.id for run in found.runs for event in run.events], found.events):
            break
    return found


def _find_run(sources: Sources, run_id: str, since_ms: int | None) -> RunFound:
    settings, codec = sources.settings, sources.codec
    state = sources.state()
    kept = kept_of(state.values, run_id)
    app = sources.app()
    needed_ms = needed_since_ms(kept) if since_ms is None else since_ms
    begin_ms = needed_ms if needed_ms is None or since_ms is not None else needed_ms - MARGIN_MS
    records, span = sources.records(begin_ms)
    made = restored(kept, records, codec, settings.finished_states)
    given = Input([*made, *records], state.position, sources.partition, sources.partitions)
    explained = explain_runs(app, given, codec)
    events = with_deliveries(sources, sources.events())
    return RunFound(
        run_id, settings.consumer_group, app.options.timing, span, state.topic, state.position, explained.runs,
        explained.unreadable, events,
    )  # fmt: skip


def _covers(position: Position | None, explained: Iterable[str], events: Mapping[str, EventFound]) -> bool:
    """Whether every event on the topic is explained, but for those older than what was read."""
    progress_ms = -1 if position is None else position.progress_ms
    told = set(explained)
    return not any(found.event.detected_at > progress_ms for event_id, found in events.items() if event_id not in told)


def with_deliveries(sources: Sources, events: Sequence[AutomationEvent]) -> dict[str, EventFound]:
    """The events by id, each with what became of its actions."""
    since_ms = min((event.detected_at for event in events), default=0) - BEHIND_MS
    results = sources.results([event.id for event in events], since_ms)
    found = {}
    for event in events:
        deliveries = []
        for action in json.loads(event.actions):
            own_id = delivery_id(event.id, action["id"])
            own = sorted((one for one in results if one.delivery_id == own_id), key=lambda one: one.finished_at)
            deliveries.append(Delivery(own_id, action["id"], action["name"], action["action_type"], own))
        found[event.id] = EventFound(event, deliveries)
    return found
