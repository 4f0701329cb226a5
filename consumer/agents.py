"""Agents: which of a config are healthy at an instant, and when that is too few.

Law (the reference, "Agent SLA"), for an automation that needs k healthy agents, each healthy until u after its
last heartbeat:

1. The number of healthy agents falls below k at the k-th latest heartbeat + u. So while it has not fallen,
   the instant of the next fall follows from the heartbeats alone, and nothing needs to be kept of it.
2. An automation starts as recovered and is judged from u after its condition came into force.
3. From a fall on, only a heartbeat that brings the number back to k ends it; the fall fires once progress has
   passed it by more than grace, once.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from consumer.agent_state import (
    AgentState,
    Fall,
    agent_key,
    decode_agent,
    decode_fall,
    fall_key,
    ids_in,
)
from consumer.automations import AgentSLA, InForce
from consumer.catalog import Catalog
from consumer.counts import Counts
from consumer.deadlines import Deadlines
from consumer.intake import Place, dead_letter, too_late, wrong_key, wrong_partition
from consumer.runs import Rules
from consumer.timing import DAY_MS
from schemas.codec import Rejected
from schemas.records import AGENT_SLA_FAILED, STOPPED, AgentHeartbeat
from streams.partition import Output, Unread
from streams.store import Store
from topology.names import AUTOMATION_EVENTS

HOUR_MS = 3_600_000
MAX_READ = 10_000
"""Timestamps kept of one agent within the hour; an agent that sends more loses the oldest."""


class _Config:
    """The agents that share a config, and the falls of the automations on it."""

    __slots__ = ("agents", "falls", "heard")

    def __init__(self) -> None:
        self.agents: dict[str, AgentState] = {}
        self.heard: list[int] = []
        """Log times of the agents' last heartbeats, in order."""
        self.falls: dict[tuple[str, int], Fall] = {}
        """By automation and the instant its condition came into force."""

    def put(self, agent_id: str, agent: AgentState | None) -> None:
        before = self.agents.pop(agent_id, None)
        if before is not None:
            del self.heard[bisect_left(self.heard, before.last_log_ms)]
        if agent is not None:
            self.agents[agent_id] = agent
            insort(self.heard, agent.last_log_ms)

    def falls_at(self, sla: AgentSLA) -> int:
        """Instant at which fewer than ``min_healthy`` are healthy, by the heartbeats read; -1 if never that many."""
        if len(self.heard) < sla.min_healthy:
            return -1
        return self.heard[-sla.min_healthy] + sla.unhealthy_after_ms


class Agents:
    """The logic of one partition of agent-heartbeat."""

    def __init__(self, rules: Rules, place: Place, store: Store) -> None:
        self.out: list[Output] = []
        self.counts = Counts()
        self._rules = rules
        self._place = place
        self._store = store
        self._configs: dict[tuple[str, str], _Config] = {}
        self._deadlines: Deadlines[tuple[str, str]] = Deadlines()
        self._catalog = Catalog()
        self._started_ms = 0
        self._changes_seen = 0
        self._swept_ms = 0
        self._ticked_ms = -1
        """Everything due before this log time has fired."""

    @property
    def active_runs(self) -> int:
        """None: this partition has agents only."""
        return 0

    @property
    def pending(self) -> int:
        """None: what is kept beside the state is derived at once."""
        return 0

    @property
    def armed_timers(self) -> int:
        """Agent configs with an instant ahead at which an automation may fire."""
        return len(self._deadlines)

    def started(self, started_ms: int, gap_ms: int, progress_ms: int) -> None:
        """State is restored. After a gap agents are judged as from a first start."""
        self._ticked_ms = progress_ms
        self._started_ms = max(started_ms, gap_ms)
        self._configs.clear()
        for key, value in self._store.data.items():
            self._remember(key, value)
        self._changes_seen = len(self._rules.automations.changes)
        for config in set(self._configs) | set(self._rules.automations.agent_configs()):
            self._schedule(config)

    def rolled_back(self, keys: list[bytes], progress_ms: int) -> None:
        """These agents and falls went back to what they were at ``progress_ms``."""
        self._ticked_ms = progress_ms
        self._catalog.clear()
        self.counts = Counts()
        for key in keys:
            self._remember(key, self._store.get(key))
        for tenant_id, config_id, *_ in map(ids_in, keys):
            self._schedule((tenant_id, config_id))

    def apply(self, record: Unread, log_ms: int, now_ms: int) -> None:
        """Applies the next heartbeat; one that can't be judged goes to the dead letters."""
        beat = self._rules.codec.decode_heartbeat(record.value)
        if isinstance(beat, Rejected):
            self._reject(record, beat)
            return
        subject = beat.agent_config_id.encode()
        rejected = (
            wrong_key(record.key, subject)
            or wrong_partition(subject, self._place)
            or too_late(beat, log_ms, self._rules.timing.late_ms)
        )
        if rejected is not None:
            self._reject(record, rejected)
        else:
            self._take(beat, log_ms)

    def tick(self, progress_ms: int, now_ms: int, limit: int) -> bool:
        """Fires the falls that progress has passed, at most ``limit`` configs; True when none is left."""
        self._follow_automations()
        while limit > 0:
            name = self._deadlines.pop_before(progress_ms)
            if name is None:
                self._ticked_ms = max(self._ticked_ms, progress_ms)
                self._sweep(progress_ms)
                return True
            limit -= 1
            self._fire_due(name, progress_ms, now_ms)
        return False

    def falls_before(self, name: tuple[str, str], instant_ms: int) -> list[tuple[InForce, AgentSLA, Fall]]:
        """The falls of a config's automations that lie before an instant and last."""
        config = self._configs.setdefault(name, _Config())
        return [
            (interval, sla, fall)
            for interval, sla in self._watched(name)
            if (fall := self._fallen(config, interval, sla, instant_ms)) is not None
        ]

    def next_falls(self, name: tuple[str, str]) -> list[tuple[InForce, AgentSLA, int, bool]]:
        """For each automation on a config the instant of its last fall if it lasts, else of its next one, and
        whether it has fired."""
        config = self._configs.get(name) or _Config()
        found = []
        for interval, sla in self._watched(name):
            known = self._fall(config, interval, sla)
            fall_ms = self._fall_ms(config, interval, sla)
            found.append((interval, sla, fall_ms, known is not None and known.fired))
        return found

    def _reject(self, record: Unread, rejected: Rejected) -> None:
        self.counts.rejected[rejected.reason] += 1
        self.out.append(dead_letter(record, rejected, self._place))

    def _take(self, beat: AgentHeartbeat, log_ms: int) -> None:
        """Applies a heartbeat that may be judged."""
        counts = self.counts
        counts.consumed += 1
        if log_ms - beat.timestamp > self._rules.timing.grace_ms:
            counts.late += 1
        name = (beat.tenant_id, beat.agent_config_id)
        config = self._configs.setdefault(name, _Config())
        known = config.agents.get(beat.agent_id)
        read = () if known is None else tuple(r for r in known.read if r[1] + HOUR_MS >= log_ms)
        if known is not None and any(timestamp == beat.timestamp for timestamp, _ in read):
            counts.duplicates += 1
            others = tuple(r for r in read if r[0] != beat.timestamp)
            self._keep(name, beat.agent_id, known._replace(read=(*others, (beat.timestamp, log_ms))))
            return
        seen = self._catalog.agent(beat, log_ms)
        if seen is not None:
            self.out.append(seen)
        agent = AgentState(log_ms, beat.status == STOPPED, (*read, (beat.timestamp, log_ms))[-MAX_READ:])
        falls = self.falls_before(name, log_ms)
        self._keep(name, beat.agent_id, agent)
        for interval, sla, fall in falls:
            restored = config.falls_at(sla) > log_ms
            self._set_fall(name, interval, None if restored else fall)
        self._schedule(name)

    def _keep(self, name: tuple[str, str], agent_id: str, agent: AgentState) -> None:
        self._configs[name].put(agent_id, agent)
        self._store.put(agent_key(*name, agent_id), agent.encode())

    def _fire_due(self, name: tuple[str, str], progress_ms: int, now_ms: int) -> None:
        """Fires each automation's fall that progress has passed by more than grace."""
        grace_ms = self._rules.timing.grace_ms
        for interval, sla, fall in self.falls_before(name, progress_ms - grace_ms):
            if fall.fired or fall.fall_ms >= interval.to_ms:
                continue
            fall_ms = fall.fall_ms
            self._set_fall(name, interval, fall._replace(fired=True))
            event = self._rules.events.agents_failed(interval, sla, fall_ms, (fall.healthy, fall.unhealthy), now_ms)
            self.counts.emitted[AGENT_SLA_FAILED] += 1
            self.counts.fire_delays_ms.append(max(0, now_ms - fall_ms - grace_ms))
            value = self._rules.codec.encode_event(event)
            self.out.append(Output(AUTOMATION_EVENTS, name[1].encode(), value))
        self._schedule(name)

    def _watched(self, name: tuple[str, str]) -> Iterator[tuple[InForce, AgentSLA]]:
        """The automations on a config whose falls may still come, or fire."""
        if self._place.partition_of(name[1].encode()) != self._place.partition:
            return
        grace_ms = self._rules.timing.grace_ms
        for interval in self._rules.automations.agent_slas(*name):
            sla = interval.condition
            assert isinstance(sla, AgentSLA)
            if interval.to_ms + grace_ms >= self._ticked_ms and interval.to_ms > self._started_ms:
                yield interval, sla

    def _fallen(self, config: _Config, interval: InForce, sla: AgentSLA, before_ms: int) -> Fall | None:
        """The automation's fall before an instant, if it lasts: the one kept, or as the agents now show it."""
        known = self._fall(config, interval, sla)
        if known is not None:
            return known if known.fall_ms < before_ms else None
        fall_ms = self._fall_ms(config, interval, sla)
        return _fall(interval, sla, fall_ms, config.agents) if fall_ms < before_ms else None

    def _fall_ms(self, config: _Config, interval: InForce, sla: AgentSLA) -> int:
        """Instant of the automation's last fall if it lasts, else of its next one."""
        known = self._fall(config, interval, sla)
        if known is not None:
            return known.fall_ms
        judged_from_ms = max(interval.from_ms, self._started_ms) + sla.unhealthy_after_ms
        return max(judged_from_ms, config.falls_at(sla))

    def _fall(self, config: _Config, interval: InForce, sla: AgentSLA) -> Fall | None:
        """The automation's fall, if one lasts.

        Compaction may have taken the control record that began the interval, so that it seems to begin with a
        later rewrite: a fall from before the earliest interval known, of the same condition, is still its.
        """
        fall = config.falls.get((interval.automation_id, interval.from_ms))
        if fall is not None or not config.falls:
            return fall
        intervals = self._rules.automations.agent_slas(interval.tenant_id, sla.config_id)
        earliest = min(i.from_ms for i in intervals if i.automation_id == interval.automation_id)
        if interval.from_ms == earliest:
            for (automation_id, from_ms), fall in config.falls.items():
                same = (fall.min_healthy, fall.unhealthy_after_ms) == (
                    sla.min_healthy,
                    sla.unhealthy_after_ms,
                )
                if automation_id == interval.automation_id and from_ms < earliest and same:
                    return fall
        return None

    def _set_fall(self, name: tuple[str, str], interval: InForce, fall: Fall | None) -> None:
        """Keeps an automation's fall, or forgets it."""
        config = self._configs[name]
        sla = interval.condition
        assert isinstance(sla, AgentSLA)
        known = self._fall(config, interval, sla)
        if fall is known:
            return
        from_ms = interval.from_ms if known is None else known.from_ms
        key = fall_key(*name, interval.automation_id, from_ms)
        if fall is not None:
            config.falls[interval.automation_id, from_ms] = fall
            self._store.put(key, fall.encode())
        else:
            del config.falls[interval.automation_id, from_ms]
            self._store.delete(key)

    def _schedule(self, name: tuple[str, str]) -> None:
        """Sets when the config is to be looked at next."""
        due = [
            fall_ms for interval, _, fall_ms, fired in self.next_falls(name) if not fired and fall_ms < interval.to_ms
        ]
        self._deadlines.set(name, min(due) + self._rules.timing.grace_ms if due else None)

    def _follow_automations(self) -> None:
        """Where agent SLAs have changed, their configs are looked at anew."""
        changes = self._rules.automations.changes
        if self._changes_seen == len(changes):
            return
        for change in changes[self._changes_seen :]:
            if change.event_type == AGENT_SLA_FAILED and change.subject is not None:
                self._schedule((change.tenant_id, change.subject))
        self._changes_seen = len(changes)

    def _remember(self, key: bytes, value: bytes | None) -> None:
        """Takes a stored agent or fall into the configs."""
        tenant_id, config_id, last, *rest = ids_in(key)
        config = self._configs.setdefault((tenant_id, config_id), _Config())
        if key[:1] == b"a":
            config.put(last, None if value is None else decode_agent(value))
        elif value is None:
            config.falls.pop((last, int(rest[0])), None)
        else:
            config.falls[last, int(rest[0])] = decode_fall(value)

    def _sweep(self, progress_ms: int) -> None:
        """Once an hour of progress: forgets agents silent for a day, and falls of ended automations."""
        if progress_ms < self._swept_ms + HOUR_MS:
            return
        self._swept_ms = progress_ms
        for name, config in list(self._configs.items()):
            watched = list(self._watched(name))
            keep_ms = max((sla.unhealthy_after_ms for _, sla in watched), default=0)
            for agent_id, agent in list(config.agents.items()):
                # A repeat that is still being sent keeps the memory that it is one.
                read_ms = max(agent.last_log_ms + max(keep_ms, DAY_MS), *(log_ms for _, log_ms in agent.read))
                if read_ms + HOUR_MS < progress_ms:
                    config.put(agent_id, None)
                    self._store.delete(agent_key(*name, agent_id))
            lasting = {id(self._fall(config, interval, sla)) for interval, sla in watched}
            for (automation_id, from_ms), fall in list(config.falls.items()):
                if id(fall) not in lasting:
                    del config.falls[automation_id, from_ms]
                    self._store.delete(fall_key(*name, automation_id, from_ms))
            if not config.agents and not config.falls:
                del self._configs[name]


def _fall(interval: InForce, sla: AgentSLA, fall_ms: int, agents: dict[str, AgentState]) -> Fall:
    """The fall at ``fall_ms``, with who was healthy then and who was not."""
    healthy, unhealthy = [], []
    for agent_id, agent in sorted(agents.items()):
        if agent.last_log_ms + sla.unhealthy_after_ms > fall_ms:
            healthy.append(agent_id)
        elif not agent.stopped and agent.last_log_ms + DAY_MS > fall_ms:
            unhealthy.append(agent_id)
    return Fall(interval.from_ms, sla.min_healthy, sla.unhealthy_after_ms, fall_ms, False, healthy, unhealthy)
