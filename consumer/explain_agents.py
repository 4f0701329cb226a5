"""Explains agent configs: replays their heartbeats through the logic that decides, and notes each fall.

Law: what the explanation says fired is what the logic emits; a fall that did not fire was ended by a heartbeat
within the grace, still waits for it, or has nobody in force to tell.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from consumer.agents import Agents
from consumer.app import ConsumerApp
from consumer.automations import CONFIG_MISSING, FOREVER, AgentSLA, InForce, Written
from consumer.explain_runs import Input
from consumer.verdicts import absence, name_of
from schemas.codec import Codec, Rejected
from schemas.records import STOPPED, AgentHeartbeat, AutomationEvent
from streams.partition import SLICE, Unread
from streams.position import Position
from streams.store import Store
from topology.names import AGENT_HEARTBEAT, AUTOMATION_EVENTS, INPUT_DLQ

FIRED, RESTORED_IN_GRACE, WAITS_FOR_GRACE, NOT_IN_FORCE = (
    "fired",
    "restored_in_grace",
    "waits_for_grace",
    "not_in_force",
)
"""What became of a fall."""
ENOUGH, FALLEN, NOT_YET = "enough_healthy", "too_few_healthy", "not_judged_yet"
"""How an automation stands at the end, beside the reasons why one is not in force."""

_OWN = Codec()
_NOWHERE = Position(0, -1, -1, None, 0, 0, "")


class Silence(NamedTuple):
    """A stretch in which an agent sent nothing, between two heartbeats that counted."""

    from_ms: int
    to_ms: int


class AgentSeen(NamedTuple):
    """An agent of a config, as its heartbeats tell. Log times in ms."""

    agent_id: str
    agent_name: str | None
    first_ms: int
    last_ms: int
    heartbeats: int
    repeats: int
    """Heartbeats whose timestamp had been read before: they change nothing."""
    stopped: bool
    """Whether its last heartbeat said that it leaves."""
    silences: list[Silence]
    """Those longer than the shortest that an automation on the config minds."""


class FallNote(NamedTuple):
    """Too few agents were healthy at an instant: what came of it."""

    fall_ms: int
    reason: str
    healthy: list[str]
    unhealthy: list[str]
    event_id: str | None
    restored_ms: int | None
    restored_by: str | None
    """The agent whose heartbeat ended it."""


class AgentAutomation(NamedTuple):
    """An automation on a config: its falls, and how it stands."""

    automation_id: str
    automation_name: str
    condition: AgentSLA | None
    falls: list[FallNote]
    reason: str
    at_ms: int | None
    """Of the fall that lasts or comes next, or from when on it is judged."""
    since_ms: int | None = None
    until_ms: int | None = None


class ConfigExplained(NamedTuple):
    """An agent config of one tenant."""

    tenant_id: str
    tenant_slug: str
    agents: list[AgentSeen]
    automations: list[AgentAutomation]
    events: list[AutomationEvent]
    rejected: list[str]
    """Why heartbeats were dead-lettered."""
    unread: int


def explain_agents(
    app: ConsumerApp, config_id: str, given: Input, codec: Codec | None = None, cut_ms: int | None = None
) -> list[ConfigExplained]:
    """Explains a config, for each tenant that has agents or automations on it.

    ``cut_ms`` is where the log begins, if it has lost earlier heartbeats: nothing is judged from before.
    """
    position = given.position or _NOWHERE
    tenants = [tenant for tenant, config in app.automations.agent_configs() if config == config_id]
    replay = _Replay(app, config_id, given, cut_ms or 0, tenants)
    for record in given.records:
        beat = (codec or _OWN).decode_heartbeat(record.value)
        if isinstance(beat, Rejected):
            replay.rejected.append(f"{beat.reason}: {beat.detail}")
        elif record.offset >= position.offset:
            replay.config(beat.tenant_id, beat.tenant_slug).unread += 1
        else:
            replay.take(record, beat)
    replay.pass_time(position.progress_ms)
    return [replay.explained(tenant_id) for tenant_id in replay.configs]


class _Fall:
    def __init__(self, healthy: list[str], unhealthy: list[str]) -> None:
        self.healthy, self.unhealthy = healthy, unhealthy
        self.event_id: str | None = None
        self.restored: tuple[int, str] | None = None
        self.in_force = True


class _Config:
    """What is noted of one tenant's config."""

    def __init__(self, slug: str) -> None:
        self.slug = slug
        self.beats: dict[str, list[tuple[int, AgentHeartbeat]]] = {}
        self.repeats: dict[str, int] = {}
        self.falls: dict[tuple[str, int], _Fall] = {}
        """By automation and instant."""
        self.events: list[AutomationEvent] = []
        self.rejected: list[str] = []
        self.unread = 0


class _Replay:
    def __init__(self, app: ConsumerApp, config_id: str, given: Input, cut_ms: int, tenants: list[str]) -> None:
        position = given.position or _NOWHERE
        self._app = app
        self._config_id = config_id
        self._grace_ms = app.options.timing.grace_ms
        self._started_ms = max(position.started_ms or 0, position.gap_ends_ms, cut_ms)
        self._progress_ms = -1
        logic = app.logic(AGENT_HEARTBEAT, given.partition, given.partitions, Store())
        assert isinstance(logic, Agents)
        self._logic = logic
        logic.started(self._started_ms, 0, -1)
        self.configs: dict[str, _Config] = {tenant: _Config("") for tenant in tenants}
        self.rejected: list[str] = []

    def config(self, tenant_id: str, slug: str) -> _Config:
        """What is noted of a tenant's config."""
        config = self.configs.setdefault(tenant_id, _Config(slug))
        config.slug = config.slug or slug
        return config

    def take(self, record: Unread, beat: AgentHeartbeat) -> None:
        """A heartbeat that the consumer has read."""
        log_ms, name = record.log_ms, (beat.tenant_id, self._config_id)
        config = self.config(beat.tenant_id, beat.tenant_slug)
        self.pass_time(log_ms)
        before = self._note_falls(beat.tenant_id, log_ms)
        duplicates = self._logic.counts.duplicates
        self._logic.apply(record._replace(value=_OWN.encode_heartbeat(beat)), log_ms, log_ms)
        rejected = self._collect()
        if rejected is not None:
            config.rejected.append(rejected)
            return
        if self._logic.counts.duplicates > duplicates:
            config.repeats[beat.agent_id] = config.repeats.get(beat.agent_id, 0) + 1
            return
        config.beats.setdefault(beat.agent_id, []).append((log_ms, beat))
        lasting = {(i.automation_id, i.from_ms, fall.fall_ms) for i, _, fall in self._logic.falls_before(name, log_ms)}
        for interval, fall_ms in before:
            if (interval.automation_id, interval.from_ms, fall_ms) not in lasting:
                config.falls[interval.automation_id, fall_ms].restored = (log_ms, beat.agent_id)

    def pass_time(self, progress_ms: int) -> None:
        """Progress comes to here: falls fire once it has passed them and the grace."""
        self._progress_ms = max(self._progress_ms, progress_ms)
        while not self._logic.tick(progress_ms, progress_ms, SLICE):
            pass
        self._collect()

    def _collect(self) -> str | None:
        rejected = None
        for output in self._logic.out:
            if output.topic == AUTOMATION_EVENTS:
                event = _OWN.decode_event(output.value)
                assert isinstance(event, AutomationEvent)
                if event.agent_config_id != self._config_id:
                    continue  # of a config that another automation watches: its heartbeats are not replayed
                config = self.configs[event.tenant_id]
                config.events.append(event)
                made = _Fall(event.healthy_agent_ids or [], event.unhealthy_agent_ids or [])
                fall = config.falls.setdefault((event.automation_id, event.timestamp), made)
                fall.event_id, fall.in_force = event.id, True
            elif output.topic == INPUT_DLQ:
                headers = dict(output.headers or ())
                rejected = f"{headers['reason'].decode()}: {headers['detail'].decode()}"
        self._logic.out.clear()
        return rejected

    def _note_falls(self, tenant_id: str, before_ms: int) -> list[tuple[InForce, int]]:
        """The falls that last, noted; which automations they are of, and their instants."""
        config, found = self.configs[tenant_id], []
        for interval, _, fall in self._logic.falls_before((tenant_id, self._config_id), before_ms):
            known = config.falls.setdefault((interval.automation_id, fall.fall_ms), _Fall(fall.healthy, fall.unhealthy))
            known.in_force = known.in_force and (known.event_id is not None or interval.at(fall.fall_ms))
            found.append((interval, fall.fall_ms))
        return found

    def explained(self, tenant_id: str) -> ConfigExplained:
        """What has been noted of a tenant's config."""
        self._note_falls(tenant_id, self._progress_ms)
        config, automations = self.configs[tenant_id], self._app.automations
        shown, minded = [], []
        for automation_id in automations.automations_of(tenant_id):
            written = automations.written(automation_id, tenant_id)
            if concerns_agents(written, self._config_id):
                shown.append(self._automation(tenant_id, automation_id, written))
                minded += [sla.unhealthy_after_ms for one in written if (sla := _sla(one, self._config_id)) is not None]
        agents = [_seen(agent, config, min(minded, default=FOREVER)) for agent in sorted(config.beats)]
        rejected = [*config.rejected, *self.rejected]
        return ConfigExplained(tenant_id, config.slug, agents, shown, config.events, rejected, config.unread)

    def _automation(self, tenant_id: str, automation_id: str, written: list[Written]) -> AgentAutomation:
        config, progress_ms = self.configs[tenant_id], self._progress_ms
        falls = [
            self._fall_note(fall_ms, fall)
            for (owner, fall_ms), fall in sorted(config.falls.items(), key=lambda item: item[0][1])
            if owner == automation_id
        ]
        asked = [one for one in written if _sla(one, self._config_id) is not None]
        if not asked:
            missing = next(one for one in written if one.why_not == CONFIG_MISSING)
            return AgentAutomation(automation_id, name_of(missing), None, falls, CONFIG_MISSING, None, missing.from_ms)
        last = asked[-1]
        sla = _sla(last, self._config_id)
        made = AgentAutomation(automation_id, name_of(last), sla, falls, "", None)
        absent = absence(written, progress_ms, 0)
        if absent is not None:
            return made._replace(reason=absent.reason, since_ms=absent.since_ms, until_ms=absent.until_ms)
        for interval, condition, fall_ms, _ in self._logic.next_falls((tenant_id, self._config_id)):
            if interval.automation_id == automation_id and interval.at(progress_ms):
                judged_ms = max(interval.from_ms, self._started_ms) + condition.unhealthy_after_ms
                reason = FALLEN if fall_ms < progress_ms else NOT_YET if progress_ms < judged_ms else ENOUGH
                at_ms = judged_ms if reason == NOT_YET else fall_ms
                return made._replace(condition=condition, reason=reason, at_ms=at_ms, since_ms=interval.from_ms)
        return made._replace(reason=NOT_IN_FORCE)

    def _fall_note(self, fall_ms: int, fall: _Fall) -> FallNote:
        restored_ms, restored_by = fall.restored or (None, None)
        if fall.event_id is not None:
            reason = FIRED
        elif not fall.in_force:
            reason = NOT_IN_FORCE
        else:
            reason = WAITS_FOR_GRACE if fall.restored is None else RESTORED_IN_GRACE
        return FallNote(fall_ms, reason, fall.healthy, fall.unhealthy, fall.event_id, restored_ms, restored_by)


def _seen(agent_id: str, config: _Config, minded_ms: int) -> AgentSeen:
    beats = config.beats[agent_id]
    times = [log_ms for log_ms, _ in beats]
    silences = [Silence(a, b) for a, b in pairwise(times) if b - a > minded_ms]
    last = beats[-1][1]
    return AgentSeen(
        agent_id, last.agent_name, times[0], times[-1], len(beats), config.repeats.get(agent_id, 0),
        last.status == STOPPED, silences,
    )  # fmt: skip


def _sla(one: Written, config_id: str) -> AgentSLA | None:
    condition = one.condition
    return condition if isinstance(condition, AgentSLA) and condition.config_id == config_id else None


def concerns_agents(written: list[Written], config_id: str) -> bool:
    """Whether an automation has ever been about the agents of a config."""
    return any(one.automation is not None and one.automation.agent_config_id == config_id for one in written)
