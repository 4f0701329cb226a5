"""Automations as of a log time: which were in force at an instant, with which condition and actions.

Law:

1. A control record counts from its log time on; several at one log time count as the last of them.
2. An automation is *in force* over half-open intervals ``from_ms <= x < to_ms``: while it is enabled, valid,
   and what it refers to is there, of its own tenant. Its condition includes the config that it refers to.
3. A rewrite with an equal condition does not begin a new interval.
4. What an event shows of an automation (name, actions) is as of the instant at which it was judged.

So when the control topic is read, and how far ahead of the inputs, changes nothing.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from schemas.control import Action, AgentConfig, Automation, ControlRecord, FlowSLAConfig
from schemas.records import AGENT_SLA_FAILED, FLOW_RUN_STATE_CHANGED

FOREVER = 2**63 - 1
"""The ``to_ms`` of what is in force until further notice."""


class StateChange(NamedTuple):
    """Runs of ``groups`` (None: all of the tenant's) enter one of ``states`` (case-folded names)."""

    states: frozenset[str]
    groups: frozenset[str] | None


class FlowSLA(NamedTuple):
    """Runs of ``groups`` (None: all of the tenant's) don't start, or don't finish, within a duration."""

    config_id: str
    kind: str
    duration_ms: int
    groups: frozenset[str] | None


class AgentSLA(NamedTuple):
    """Fewer than ``min_healthy`` agents of a config have sent a heartbeat within ``unhealthy_after_ms``."""

    config_id: str
    min_healthy: int
    unhealthy_after_ms: int


Condition = StateChange | FlowSLA | AgentSLA


class InForce:
    """One condition of one automation over ``from_ms <= x < to_ms``. ``to_ms`` is set when it ends."""

    __slots__ = ("automation_id", "condition", "from_ms", "tenant_id", "to_ms")

    def __init__(self, tenant_id: str, automation_id: str, condition: Condition, from_ms: int) -> None:
        self.tenant_id = tenant_id
        self.automation_id = automation_id
        self.condition = condition
        self.from_ms = from_ms
        self.to_ms = FOREVER

    def at(self, instant_ms: int) -> bool:
        """Whether it is in force at an instant (log time, ms)."""
        return self.from_ms <= instant_ms < self.to_ms


class FlowSLAInForce(NamedTuple):
    """An interval of a flow SLA with its condition's parts at hand, for the loop."""

    interval: InForce
    condition: FlowSLA


class Shown(NamedTuple):
    """What an event shows of its automation: as of one instant. ``actions`` is JSON."""

    name: str
    tenant_slug: str
    actions: str


class Change(NamedTuple):
    """What a control record changed: conditions of a ``kind`` (an event name) for one tenant."""

    event_type: str
    tenant_id: str
    subject: str | None
    """The agent config, for agent SLAs."""


NOT_MADE_YET, DELETED, DISABLED, CONFIG_MISSING = "not_made_yet", "deleted", "disabled", "config_missing"
"""Why an automation is not in force."""


class Written(NamedTuple):
    """What was written of an automation over ``from_ms <= x < to_ms``, for those who explain.

    ``condition`` is there also while the automation is disabled; ``why_not`` is None while it is in force.
    """

    from_ms: int
    to_ms: int
    automation: Automation | None
    condition: Condition | None
    why_not: str | None


class _History:
    """The values of one control key: ``values[i]`` counts from ``froms[i]`` on."""

    __slots__ = ("froms", "values")

    def __init__(self) -> None:
        self.froms: list[int] = []
        self.values: list[ControlRecord | None] = []

    def put(self, log_ms: int, value: ControlRecord | None) -> None:
        if self.froms and self.froms[-1] == log_ms:
            self.values[-1] = value
        else:
            self.froms.append(log_ms)
            self.values.append(value)

    def at(self, instant_ms: int) -> ControlRecord | None:
        index = bisect_right(self.froms, instant_ms) - 1
        return self.values[index] if index >= 0 else None


class Automations:
    """The control table: fed with valid control records in log order, asked as of any log time.

    ``changes`` grows with each condition that begins or ends; those who keep something derived from
    conditions remember how far they have read it.
    """

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self._history: dict[str, _History] = {}
        self._users: dict[str, set[str]] = {}
        self._intervals: dict[str, list[InForce]] = {}
        self._by_state: dict[tuple[str, str], dict[str | None, list[InForce]]] = {}
        self._by_sla: dict[tuple[str, str], dict[str | None, list[FlowSLAInForce]]] = {}
        self._by_agents: dict[tuple[str, str], list[InForce]] = {}
        self._log_ms = 0
        self._shown: dict[tuple[str, int], Shown] = {}

    def apply(self, log_ms: int, key: str, value: ControlRecord | None) -> None:
        """Takes the next control record (``None``: deleted); ``log_ms`` is its log time.

        A log time before that of an earlier record counts as that one's: progress never goes back.
        """
        log_ms = self._log_ms = max(self._log_ms, log_ms)
        history = self._history.setdefault(key, _History())
        before = history.values[-1] if history.values else None
        history.put(log_ms, value)
        self._shown.clear()
        affected = set(self._users.get(key, ()))
        if key.startswith("automation:"):
            affected.add(key)
            self._follow(key, before, value)
        for automation_key in affected:
            self._judge(log_ms, automation_key)

    def state_change(self, tenant_id: str, state: str, group: str, at_ms: int) -> Iterator[InForce]:
        """Automations in force at ``at_ms`` that name a (case-folded) state for a run's flow group."""
        by_group = self._by_state.get((tenant_id, state))
        if by_group:
            for scope in (group, None):
                for interval in by_group.get(scope, ()):
                    if interval.from_ms <= at_ms < interval.to_ms:
                        yield interval

    def flow_slas(self, tenant_id: str, kind: str, group: str) -> Iterable[FlowSLAInForce]:
        """Every interval, past and present, of the flow SLAs of a kind that cover a flow group."""
        by_group = self._by_sla.get((tenant_id, kind))
        if not by_group:
            return ()
        own, everyone = by_group.get(group), by_group.get(None)
        if own and everyone:
            return own + everyone
        return own or everyone or ()

    def agent_slas(self, tenant_id: str, config_id: str) -> list[InForce]:
        """Every interval, past and present, of the agent SLAs on a config, by automation in log order."""
        return self._by_agents.get((tenant_id, config_id), [])

    def agent_configs(self) -> Iterable[tuple[str, str]]:
        """Every (tenant, agent config) that an agent SLA has ever watched."""
        return self._by_agents.keys()

    def shown(self, automation_id: str, at_ms: int) -> Shown:
        """Name and actions of an automation as of an instant at which it is in force."""
        cached = self._shown.get((automation_id, at_ms))
        if cached is None:
            if len(self._shown) > 10_000:
                self._shown.clear()
            cached = self._shown[automation_id, at_ms] = self._show(automation_id, at_ms)
        return cached

    def automations_of(self, tenant_id: str) -> list[str]:
        """Ids of all automations that the tenant has ever had, in order of their first records."""
        return [
            key.partition(":")[2]
            for key, history in self._history.items()
            if any(isinstance(value, Automation) and value.tenant_id == tenant_id for value in history.values)
        ]

    def written(self, automation_id: str, tenant_id: str) -> list[Written]:
        """What was written of a tenant's automation, stretch by stretch, whether in force or not."""
        key = f"automation:{automation_id}"
        own = self._history[key]
        keys = {key, *(one for value in own.values if isinstance(value, Automation) for one in _config_keys(value))}
        instants = sorted({log_ms for one in keys if one in self._history for log_ms in self._history[one].froms})
        stretches: list[Written] = []
        for from_ms, to_ms in pairwise([*instants, FOREVER]):
            value = own.at(from_ms)
            if not isinstance(value, Automation) or value.tenant_id != tenant_id:
                told = any(stretch.automation is not None for stretch in stretches)
                stretches.append(Written(from_ms, to_ms, None, None, DELETED if told else NOT_MADE_YET))
                continue
            condition = self._as_written(value, from_ms)
            why_not = CONFIG_MISSING if condition is None else None if value.enabled else DISABLED
            stretches.append(Written(from_ms, to_ms, value, condition, why_not))
        return stretches

    def _show(self, automation_id: str, at_ms: int) -> Shown:
        automation = self._history[f"automation:{automation_id}"].at(at_ms)
        assert isinstance(automation, Automation)
        actions = []
        for action_id in dict.fromkeys(automation.action_ids):
            history = self._history.get(f"action:{action_id}")
            action = history.at(at_ms) if history else None
            if isinstance(action, Action) and action.tenant_id == automation.tenant_id:
                shown = action.model_dump(mode="json", include={"id", "name", "action_type", "config"})
                delivery = action.delivery and action.delivery.model_dump(mode="json", exclude_none=True)
                actions.append({**shown, "delivery": delivery})
        return Shown(
            automation.name, automation.tenant_slug, json.dumps(actions, separators=(",", ":"), ensure_ascii=False)
        )

    def _follow(self, key: str, before: ControlRecord | None, after: ControlRecord | None) -> None:
        """Keeps who refers to which config, so that a config's change reaches its automations."""
        for record, change in ((before, set.discard), (after, set.add)):
            if isinstance(record, Automation):
                for config_key in _config_keys(record):
                    change(self._users.setdefault(config_key, set()), key)

    def _judge(self, log_ms: int, automation_key: str) -> None:
        """Ends and begins intervals so that the automation's condition is right from ``log_ms`` on."""
        record = self._history[automation_key].values[-1]
        condition = self._condition(record) if isinstance(record, Automation) else None
        tenant_id = record.tenant_id if isinstance(record, Automation) else ""
        intervals = self._intervals.setdefault(automation_key.partition(":")[2], [])
        last = intervals[-1] if intervals and intervals[-1].to_ms == FOREVER else None
        if last is not None:
            if last.condition == condition and last.tenant_id == tenant_id:
                return
            last.to_ms = log_ms
            self._note(last)
            if last.from_ms == log_ms:
                self._unindex(intervals.pop())
        if condition is None:
            return
        if intervals:
            resumed = intervals[-1]
            same = resumed.condition == condition and resumed.tenant_id == tenant_id
            if same and resumed.to_ms == log_ms:
                resumed.to_ms = FOREVER
                self._note(resumed)
                return
        begun = InForce(tenant_id, automation_key.partition(":")[2], condition, log_ms)
        intervals.append(begun)
        self._index(begun)
        self._note(begun)

    def _condition(self, automation: Automation) -> Condition | None:
        return self._as_written(automation, FOREVER) if automation.enabled else None

    def _as_written(self, automation: Automation, at_ms: int) -> Condition | None:
        """The condition, enabled or not, with the config as of ``at_ms``; None without that config."""
        if automation.event_type == FLOW_RUN_STATE_CHANGED:
            states = frozenset(state.casefold() for state in automation.states or ())
            return StateChange(states, _groups(automation.flow_group_ids))
        if automation.event_type == AGENT_SLA_FAILED:
            config = self._at(f"agent_config:{automation.agent_config_id}", at_ms)
            if not isinstance(config, AgentConfig) or config.tenant_id != automation.tenant_id:
                return None
            return AgentSLA(config.id, automation.sla_min_healthy, automation.unhealthy_after_seconds * 1000)
        sla = self._at(f"flow_sla_config:{automation.flow_sla_config_id}", at_ms)
        if not isinstance(sla, FlowSLAConfig) or sla.tenant_id != automation.tenant_id:
            return None
        return FlowSLA(sla.id, sla.kind, sla.duration_seconds * 1000, _groups(sla.flow_group_ids))

    def _at(self, key: str, at_ms: int) -> ControlRecord | None:
        history = self._history.get(key)
        return history.at(at_ms) if history else None

    def _lists(self, interval: InForce) -> Iterator[list[FlowSLAInForce] | list[InForce]]:
        condition, tenant_id = interval.condition, interval.tenant_id
        if isinstance(condition, AgentSLA):
            yield self._by_agents.setdefault((tenant_id, condition.config_id), [])
            return
        scopes: Iterable[str | None] = (None,) if condition.groups is None else condition.groups
        for scope in scopes:
            if isinstance(condition, FlowSLA):
                yield self._by_sla.setdefault((tenant_id, condition.kind), {}).setdefault(scope, [])
            else:
                for state in condition.states:
                    yield self._by_state.setdefault((tenant_id, state), {}).setdefault(scope, [])

    def _index(self, interval: InForce) -> None:
        condition = interval.condition
        entry = FlowSLAInForce(interval, condition) if isinstance(condition, FlowSLA) else interval
        for entries in self._lists(interval):
            entries.append(entry)  # type: ignore[arg-type]

    def _unindex(self, interval: InForce) -> None:
        for entries in self._lists(interval):
            at = next(i for i, e in enumerate(entries) if (e[0] if isinstance(e, tuple) else e) is interval)
            del entries[at]

    def _note(self, interval: InForce) -> None:
        condition = interval.condition
        if isinstance(condition, AgentSLA):
            self.changes.append(Change(AGENT_SLA_FAILED, interval.tenant_id, condition.config_id))
        elif isinstance(condition, FlowSLA):
            self.changes.append(Change(condition.kind, interval.tenant_id, None))


def _groups(ids: list[str] | None) -> frozenset[str] | None:
    return None if ids is None else frozenset(ids)


def _config_keys(automation: Automation) -> Iterator[str]:
    if automation.flow_sla_config_id is not None:
        yield f"flow_sla_config:{automation.flow_sla_config_id}"
    if automation.agent_config_id is not None:
        yield f"agent_config:{automation.agent_config_id}"
