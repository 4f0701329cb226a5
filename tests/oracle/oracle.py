"""Which automation events a whole history must give, stated rule by rule.

Written from the contract alone (sections 1 to 4), not from the stream processor, so that the two can be
held against each other. Nothing here runs along a clock: each function looks at the whole history, and its
docstring quotes the sentence of the contract that it states. Only two things are taken one after the
other, because the contract says so: a run's records, prefix by prefix ("what the versions now show is
judged, what has fired stays fired"), and the lives of a run that was dropped in between.

Where a sentence leaves room, "READING:" says which one is taken.
"""

from __future__ import annotations

import re
import uuid
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise, takewhile
from typing import Any, NamedTuple

Json = dict[str, Any]

FOREVER = 1 << 62
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
UNFINISHED_KEPT_MS = 30 * DAY_MS
MESSAGE_IN_STATE, MESSAGE_IN_EVENT = 1_024, 8_192

STATE_CHANGE, FLOW_SLA, AGENT_SLA = "FlowRunStateChangedEvent", "FlowSLAFailedEvent", "AgentSLAFailedEvent"
NOT_STARTED, NOT_FINISHED = "SCHEDULED_NOT_STARTED", "STARTED_NOT_FINISHED"

STARTS, FINISHES, WAITS, OTHER = "starts", "finishes", "waits", "other"
ROLES = {
    **dict.fromkeys(("running", "cancelling"), STARTS),
    **dict.fromkeys(
        [
            "finished",
            "success",
            "cached",
            "mapped",
            "skipped",
            "failed",
            "timedout",
            "triggerfailed",
            "validationfailed",
            "cancelled",
            "looped",
            "completed",
            "crashed",
            "deleted",
        ],
        FINISHES,
    ),
    **dict.fromkeys(["scheduled", "paused", "resume", "retrying", "pending", "submitted", "queued"], WAITS),
}

MESSAGES = {
    STATE_CHANGE: (
        "Run {flow_run_name} of flow {flow_name} entered state {state} with message {state_message}."
        " See {flow_run_link} for more details."
    ),
    FLOW_SLA: (
        "Run {flow_run_name} ({flow_run_id}) of flow {flow_name} failed {kind} SLA ({flow_sla_config_id})"
        " after {duration_seconds} seconds. See {flow_run_link} for more details."
    ),
    AGENT_SLA: (
        "Agents sharing the config {agent_config_id} have failed the minimum healthy count of"
        " {sla_min_healthy}. The following agents are unhealthy: {agent_ids}"
    ),
}


# ---------------------------------------------------------------------------------------------- the interface


class Appended(NamedTuple):
    """A record of an input, as it lies in the log: already decoded, key and partition right."""

    log_ms: int
    value: Json


class Control(NamedTuple):
    """A record of `automations`; no value is a tombstone; an invalid value is as if never written."""

    log_ms: int
    key: str
    value: Json | None


class History(NamedTuple):
    """Everything that was appended, each list in log order, and how far progress came."""

    control: list[Control]
    states: dict[int, list[Appended]]
    heartbeats: dict[int, list[Appended]]
    end_ms: int
    first_start_ms: int | None = None


class Rules(NamedTuple):
    """The settings that bear on which events there are."""

    grace_ms: int = 10_000
    clock_tolerance_ms: int = 10_000
    late_ms: int = 48 * HOUR_MS
    finished_states: frozenset[str] = frozenset()
    ui_base_url: str | None = None


def expected_events(history: History, rules: Rules) -> list[Json]:
    """Every event that the history must give, without `detected_at`, in order of (timestamp, id).

    READING: "fires once" holds for as long as a run is kept. What comes after it was forgotten begins a new
    life, and may give an event of the same id again (a version told of anew, days later, with a new time).
    """
    forces = all_forces(history)
    runs = all_runs(history, rules)
    events = [
        *state_change_events(runs, forces, rules),
        *flow_sla_events(runs, forces, rules, history.end_ms),
        *agent_sla_events(history, forces, rules),
    ]
    return sorted(events, key=lambda event: (event["timestamp"], event["id"]))


# -------------------------------------------------------------------------------------------- control records


class StateCondition(NamedTuple):
    """`FlowRunStateChangedEvent` `{states, flow_group_ids}`."""

    tenant_id: str
    states: frozenset[str]
    groups: frozenset[str] | None


class FlowCondition(NamedTuple):
    """`FlowSLAFailedEvent` `{flow_sla_config_id}` with the config that it refers to."""

    tenant_id: str
    config_id: str
    kind: str
    duration_seconds: int
    groups: frozenset[str] | None


class AgentCondition(NamedTuple):
    """`AgentSLAFailedEvent` `{agent_config_id, sla_min_healthy, unhealthy_after_seconds}`."""

    tenant_id: str
    config_id: str
    min_healthy: int
    unhealthy_after_ms: int


Condition = StateCondition | FlowCondition | AgentCondition


class Force(NamedTuple):
    """An automation in force from `from_ms` (included) to `to_ms` (not), with one wording and its actions.

    `since_ms` is when its condition came into force: earlier than `from_ms` where only the wording changed
    since.
    """

    from_ms: int
    to_ms: int
    since_ms: int
    condition: Condition
    automation: Json
    actions: list[Json]

    def holds_at(self, instant: int) -> bool:
        """from ≤ x < to."""
        return self.from_ms <= instant < self.to_ms


def all_forces(history: History) -> list[Force]:
    """All automations' stretches in force, of each automation in order of time."""
    written = Written(history.control)
    return [
        force
        for automation_id in written.automation_ids()
        for force in forces_of(automation_id, written, history.first_start_ms)
    ]


class Written:
    """What lies under each key of `automations` as of any instant."""

    def __init__(self, control: Iterable[Control]) -> None:
        self._by_key: dict[str, list[Control]] = defaultdict(list)
        for record in control:
            if record.value is None or is_valid(record.key, record.value):
                self._by_key[record.key].append(record)

    def automation_ids(self) -> list[str]:
        kinds_and_ids = (key.partition(":") for key in self._by_key)
        return sorted(record_id for kind, _, record_id in kinds_and_ids if kind == "automation")

    def records(self, key: str) -> list[Control]:
        return self._by_key.get(key, [])

    def as_of(self, key: str, instant: int) -> Json | None:
        """The last valid record up to the instant; of several at one log time the last in the log counts.

        "Invalid records never stop a process: skipped": READING: the valid one before them stays.
        """
        records = self.records(key)
        index = bisect_right(records, instant, key=lambda record: record.log_ms)
        return records[index - 1].value if index else None

    def as_of_in_tenant(self, key: str, instant: int, tenant_id: str) -> Json | None:
        """ "References across tenants are invalid": READING: what another tenant owns is as if missing."""
        value = self.as_of(key, instant)
        return value if value is not None and value["tenant_id"] == tenant_id else None


def forces_of(automation_id: str, written: Written, first_start_ms: int | None) -> list[Force]:
    """When, and with which condition, name and actions one automation is in force.

    "An automation's condition includes the config that it refers to; a rewrite with an equal condition (a
    rename) changes nothing." "A group's first start … judges as if no automation had been in force before
    that start".
    """
    own_key = f"automation:{automation_id}"
    keys = {own_key}
    for record in written.records(own_key):
        keys |= referred_keys(record.value)
    changes = {record.log_ms for key in keys for record in written.records(key)}
    if first_start_ms is not None:
        changes = {first_start_ms, *(change for change in changes if change > first_start_ms)}
    forces: list[Force] = []
    for from_ms, to_ms in pairwise([*sorted(changes), FOREVER]):
        automation = written.as_of(own_key, from_ms)
        condition = None if automation is None else condition_of(automation, written, from_ms)
        if automation is None or condition is None:
            continue
        before = forces[-1] if forces else None
        goes_on = before is not None and before.to_ms == from_ms and before.condition == condition
        since_ms = before.since_ms if before is not None and goes_on else from_ms
        forces.append(Force(from_ms, to_ms, since_ms, condition, automation, actions_of(automation, written, from_ms)))
    return forces


def referred_keys(automation: Json | None) -> set[str]:
    """The keys of the config and the actions that an automation refers to."""
    if automation is None:
        return set()
    keys = {f"action:{action_id}" for action_id in automation["action_ids"]}
    if automation["event_type"] == FLOW_SLA:
        keys.add(f"flow_sla_config:{automation['flow_sla_config_id']}")
    if automation["event_type"] == AGENT_SLA:
        keys.add(f"agent_config:{automation['agent_config_id']}")
    return keys


def condition_of(automation: Json, written: Written, instant: int) -> Condition | None:
    """The condition at an instant; None if disabled.

    "A reference to a missing config keeps an automation out of force until it is there".
    """
    if not automation["enabled"]:
        return None
    tenant_id = automation["tenant_id"]
    if automation["event_type"] == STATE_CHANGE:
        states = frozenset(state.casefold() for state in automation["states"])
        return StateCondition(tenant_id, states, groups_of(automation))
    if automation["event_type"] == FLOW_SLA:
        config_id = automation["flow_sla_config_id"]
        config = written.as_of_in_tenant(f"flow_sla_config:{config_id}", instant, tenant_id)
        if config is None:
            return None
        return FlowCondition(tenant_id, config_id, config["kind"], config["duration_seconds"], groups_of(config))
    config_id = automation["agent_config_id"]
    if written.as_of_in_tenant(f"agent_config:{config_id}", instant, tenant_id) is None:
        return None
    return AgentCondition(
        tenant_id,
        config_id,
        automation.get("sla_min_healthy", 1),
        automation.get("unhealthy_after_seconds", 300) * 1000,
    )


def groups_of(record: Json) -> frozenset[str] | None:
    """ "`flow_group_ids` null or absent means all of the tenant's flows; … repeats count once"."""
    groups = record.get("flow_group_ids")
    return None if groups is None else frozenset(groups)


def actions_of(automation: Json, written: Written, instant: int) -> list[Json]:
    """ "`[{"id","name","action_type","config","delivery"}]` in the automation's order"; "a missing action
    is left out". READING: an action named twice is there once; without `delivery` that is null."""
    found = (
        written.as_of_in_tenant(f"action:{action_id}", instant, automation["tenant_id"])
        for action_id in dict.fromkeys(automation["action_ids"])
    )
    return [
        {name: action.get(name) for name in ("id", "name", "action_type", "config", "delivery")}
        for action in found
        if action is not None
    ]


def is_valid(key: str, value: Any) -> bool:
    """Whether a control record is as section 3 has it.

    READING: `created`, `updated`, `revision` and a config's or action's `tenant_slug` are not looked at,
    nor the inside of an action's config but for the names of secrets.
    """
    kind, _, record_id = key.partition(":")
    if not isinstance(value, dict) or not record_id or value.get("id") != record_id:
        return False
    if not is_text(value.get("tenant_id")):
        return False
    match kind:
        case "automation":
            return is_valid_automation(value)
        case "action":
            return is_valid_action(value)
        case "flow_sla_config":
            return (
                value.get("kind") in (NOT_STARTED, NOT_FINISHED)
                and is_positive(value.get("duration_seconds"))
                and (value.get("flow_group_ids") is None or is_texts(value["flow_group_ids"]))
            )
        case "agent_config":
            return value.get("name") is None or isinstance(value["name"], str)
        case _:
            return False


def is_valid_automation(value: Json) -> bool:
    """ "an empty list, or empty `states`, is invalid".

    READING: an agent silent for 24 h is forgotten, so `unhealthy_after_seconds` beyond that means nothing.
    """
    if not (is_text(value.get("name")) and is_text(value.get("tenant_slug")) and is_texts(value.get("action_ids"))):
        return False
    if not isinstance(value.get("enabled"), bool):
        return False
    match value.get("event_type"):
        case "FlowRunStateChangedEvent":
            states, groups = value.get("states"), value.get("flow_group_ids")
            return is_texts(states) and bool(states) and (groups is None or (is_texts(groups) and bool(groups)))
        case "FlowSLAFailedEvent":
            return is_text(value.get("flow_sla_config_id"))
        case "AgentSLAFailedEvent":
            return (
                is_text(value.get("agent_config_id"))
                and is_positive(value.get("sla_min_healthy", 1))
                and is_positive(value.get("unhealthy_after_seconds", 300))
                and value.get("unhealthy_after_seconds", 300) <= DAY_MS // 1000
            )
        case _:
            return False


def is_valid_action(value: Json) -> bool:
    """ "Secret names match `[A-Za-z0-9][A-Za-z0-9_.-]{0,127}`"."""
    config, delivery = value.get("config"), value.get("delivery")
    return (
        is_text(value.get("name"))
        and is_text(value.get("action_type"))
        and isinstance(config, dict)
        and (delivery is None or isinstance(delivery, dict))
        and all(
            isinstance(secret, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", secret)
            for name, secret in config.items()
            if name.endswith("_secret") and secret is not None
        )
    )


def is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(is_text(item) for item in value)


def is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


# ------------------------------------------------------------------------------------------ the runs' records


class Record(NamedTuple):
    """A `FlowRunState` with what the rules need of it."""

    log_ms: int
    occurred_ms: int
    version: int
    role: str
    value: Json


def is_too_late(appended: Appended, rules: Rules) -> bool:
    """ "One with a `timestamp` more than `LATE_MS` (48 h) before its log time is dead-lettered"."""
    timestamp: int = appended.value["timestamp"]
    return appended.log_ms - timestamp > rules.late_ms


def occurred(appended: Appended, rules: Rules) -> int:
    """ "A record *occurred* at its `timestamp` if that lies within `CLOCK_TOLERANCE_MS` (10000) of its log
    time, else at its log time"."""
    timestamp: int = appended.value["timestamp"]
    return timestamp if abs(timestamp - appended.log_ms) <= rules.clock_tolerance_ms else appended.log_ms


def role_of(state: str, rules: Rules) -> str:
    """ "*States* are compared without case, exactly. … Other names only fire state changes"."""
    name = state.casefold()
    if name in {extra.casefold() for extra in rules.finished_states}:
        return FINISHES
    return ROLES.get(name, OTHER)


def in_log_order(partitions: Mapping[int, list[Appended]]) -> list[Appended]:
    """One list: the records of a run, or of an agent config, share a partition and keep its order."""
    appended = [record for _, records in sorted(partitions.items()) for record in records]
    return sorted(appended, key=lambda record: record.log_ms)


def all_runs(history: History, rules: Rules) -> list[list[list[Record]]]:
    """Each run's lives, each life's records in order of arrival: "state is kept by (tenant, id)"."""
    runs: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for appended in in_log_order(history.states):
        value = appended.value
        if value["version"] < 1 or is_too_late(appended, rules):
            continue
        runs[value["tenant_id"], value["flow_run_id"]].append(
            Record(
                appended.log_ms,
                occurred(appended, rules),
                value["version"],
                role_of(value["state"], rules),
                value,
            )
        )
    return [list(lives(records, rules)) for records in runs.values()]


def lives(records: list[Record], rules: Rules) -> Iterator[list[Record]]:
    """A run's records, split where it was dropped in between, and without duplicates.

    "A second record of a (run, version) is a duplicate, whatever it says".
    """
    life: list[Record] = []
    for record in records:
        if life and record.log_ms > kept_until(life, rules):
            yield life
            life = []
        if all(record.version != known.version for known in life):
            life.append(record)
    yield life


def kept_until(life: list[Record], rules: Rules) -> int:
    """ "Unfinished runs are kept until finished (dropped … 30 days after their last record and schedule
    time), finished ones `LATE_MS` + 24 h of progress." READING: counted from the last record that changed
    something."""
    last_log_ms = life[-1].log_ms
    judged = [record for record in life if record.role != OTHER]
    if judged and max(judged, key=lambda record: record.version).role == FINISHES:
        return last_log_ms + rules.late_ms + DAY_MS
    schedules = (scheduled_ms(record) for record in life)
    return max([last_log_ms, *(ms for ms in schedules if ms is not None)]) + UNFINISHED_KEPT_MS


def scheduled_ms(record: Record) -> int | None:
    value: int | None = record.value.get("scheduled_start_time")
    return value


# ---------------------------------------------------------------------------------------------- state changes


def state_change_events(runs: list[list[list[Record]]], forces: list[Force], rules: Rules) -> Iterator[Json]:
    """ "Fires once for each automation and (run, version) whose state it names; `timestamp` is the
    record's own." "A record is judged by the automations in force at its log time"."""
    naming: dict[tuple[str, str], list[tuple[Force, StateCondition]]] = defaultdict(list)
    for force in forces:
        if isinstance(force.condition, StateCondition):
            for state in force.condition.states:
                naming[force.condition.tenant_id, state].append((force, force.condition))
    for record in (record for run in runs for life in run for record in life):
        value = record.value
        for force, condition in naming.get((value["tenant_id"], value["state"].casefold()), ()):
            if force.holds_at(record.log_ms) and is_of_groups(value, condition.groups):
                yield event(
                    STATE_CHANGE,
                    force,
                    f"{value['flow_run_id']}/{record.version}",
                    value["timestamp"],
                    run_fields(value, rules, MESSAGE_IN_EVENT),
                )


def is_of_groups(value: Json, groups: frozenset[str] | None) -> bool:
    return groups is None or value["flow_group_id"] in groups


# --------------------------------------------------------------------------------------------------- flow SLA


class Armed(NamedTuple):
    """A base that the versions show: what armed it, in which attempt, and what meets it."""

    kind: str
    base_ms: int
    log_ms: int  # of the arming record, or the earliest of the attempt's Running records
    version: int  # of the record that gave the base
    attempt: frozenset[int]  # versions
    first_met_ms: int | None  # when the earliest of the records that meet it occurred
    first_met_log_ms: int | None  # the earliest log time of the records that meet it


def attempts(versions: list[Record]) -> list[list[Record]]:
    """ "A run's records are taken in order of `version`. An *attempt* begins with its first record and
    with the first unfinished record after a finished one." READING: records of other names are not there
    at all."""
    judged = [record for record in versions if record.role != OTHER]
    begins = [
        i for i, record in enumerate(judged) if i == 0 or (record.role != FINISHES and judged[i - 1].role == FINISHES)
    ]
    return [judged[i:j] for i, j in pairwise([*begins, len(judged)])]


def armed_not_started(attempt: list[Record]) -> Iterator[Armed]:
    """ "Armed by the attempt's first waiting record, unless a lower version started it; *base* = the later
    of its `scheduled_start_time`, if any, and when it occurred; a `scheduled_start_time` other than the
    armed one, non-null, in a later waiting record before any start, meets the old deadline and arms a new
    one by the same rule; met by a state that starts or finishes."

    READING: any later rescheduling meets an older one, not only the next.
    """
    waiting = list(takewhile(lambda record: record.role == WAITS, attempt))
    arming = [record for i, record in enumerate(waiting) if i == 0 or is_rescheduled(record, waiting[:i])]
    ends = [record for record in attempt if record.role in (STARTS, FINISHES)]
    for i, record in enumerate(arming):
        base_ms = max(scheduled_ms(record) or record.occurred_ms, record.occurred_ms)
        yield arm(NOT_STARTED, base_ms, record.log_ms, record, attempt, [*arming[i + 1 :], *ends])


def is_rescheduled(record: Record, earlier: list[Record]) -> bool:
    """Whether it has a schedule "other than the armed one", which is the last non-null one before it."""
    known = [ms for ms in map(scheduled_ms, earlier) if ms is not None]
    return scheduled_ms(record) is not None and [scheduled_ms(record)] != known[-1:]


def armed_not_finished(attempt: list[Record]) -> Iterator[Armed]:
    """ "base = when the attempt's first Running occurred (retries don't move it); met by a state that
    finishes"; for the deadline "the earliest log time of the attempt's Running records"."""
    started = (record for record in attempt if record.role == STARTS)
    running = [record for record in started if record.value["state"].casefold() == "running"]
    ends = [record for record in attempt if record.role == FINISHES]
    if running:
        log_ms = min(record.log_ms for record in running)
        yield arm(NOT_FINISHED, running[0].occurred_ms, log_ms, running[0], attempt, ends)


def arm(kind: str, base_ms: int, log_ms: int, record: Record, attempt: list[Record], meeting: list[Record]) -> Armed:
    return Armed(
        kind,
        base_ms,
        log_ms,
        record.version,
        frozenset(member.version for member in attempt),
        min((met.occurred_ms for met in meeting), default=None),
        min((met.log_ms for met in meeting), default=None),
    )


def judged_instant(armed: Armed, duration_ms: int, grace_ms: int, progress_ms: int) -> int | None:
    """The instant by whose automations a miss is judged, or None where there is no miss.

    "It is missed *by proof*: the record that meets it occurred later than base + duration; or *by
    silence*: no record that meets it has a log time ≤ *deadline* + `GRACE_MS`, where deadline = max(base,
    log time of the arming record; …) + duration, and progress has passed that." "A deadline [is judged] by
    those in force at the deadline …, a miss by proof by those in force at the earlier of the deadline and
    the proving record's log time".

    READING: a deadline that any record met in time is not missed. So there is a miss if none of those that
    meet it did in time and there are some (proof), or there is none and progress has passed (silence). Of
    several that prove it, the one with the earliest log time does.
    """
    deadline = max(armed.base_ms, armed.log_ms) + duration_ms
    if armed.first_met_ms is None or armed.first_met_log_ms is None:
        return deadline if deadline + grace_ms < progress_ms else None
    return min(deadline, armed.first_met_log_ms) if armed.first_met_ms > armed.base_ms + duration_ms else None


def flow_sla_events(runs: list[list[list[Record]]], forces: list[Force], rules: Rules, end_ms: int) -> Iterator[Json]:
    """The misses of every run, each life of a run on its own."""
    watching: dict[tuple[str, str], list[tuple[Force, FlowCondition]]] = defaultdict(list)
    for force in forces:
        if isinstance(force.condition, FlowCondition):
            watching[force.condition.tenant_id, force.condition.kind].append((force, force.condition))
    for run in runs:
        for i, life in enumerate(run):
            life_end_ms = run[i + 1][0].log_ms if i + 1 < len(run) else end_ms
            tenant_id = life[0].value["tenant_id"]
            mine = {kind: watching[tenant_id, kind] for kind in (NOT_STARTED, NOT_FINISHED)}
            if any(mine.values()):
                yield from missed_in_life(life, mine, rules, life_end_ms)


def missed_in_life(
    life: list[Record],
    watching: Mapping[str, list[tuple[Force, FlowCondition]]],
    rules: Rules,
    end_ms: int,
) -> Iterator[Json]:
    """For each prefix of the run's records, what the versions show, and which misses are then proved, or
    silent before the next record's log time.

    "A late version … is put in its place: what the versions now show is judged, what has fired stays
    fired." "Whatever is due before a record's log time fires before that record is applied". "A miss fires
    once for each (automation, run, kind, base)". "The event carries … the state of the run's highest
    version" (READING: with its message, names and flow group).
    """
    fired: set[tuple[str, str, int]] = set()  # automation, kind, base
    fired_versions: dict[str, set[int]] = defaultdict(set)  # automation -> Running versions fired for
    for n in range(1, len(life) + 1):
        versions = sorted(life[:n], key=lambda record: record.version)
        highest = versions[-1].value
        progress_ms = min(life[n].log_ms if n < len(life) else end_ms, kept_until(life[:n], rules))
        misses = [
            (instant, armed, force, condition)
            for attempt in attempts(versions)
            for armed in (*armed_not_started(attempt), *armed_not_finished(attempt))
            for force, condition in watching[armed.kind]
            if is_of_groups(highest, condition.groups)
            for instant in [judged_instant(armed, condition.duration_seconds * 1000, rules.grace_ms, progress_ms)]
            if instant is not None and force.holds_at(instant)
        ]
        for _, armed, force, condition in sorted(misses, key=lambda miss: miss[0]):
            automation_id = force.automation["id"]
            if armed.kind == NOT_FINISHED and is_settled(armed, fired_versions[automation_id]):
                continue
            if (automation_id, armed.kind, armed.base_ms) in fired:
                continue
            fired.add((automation_id, armed.kind, armed.base_ms))
            if armed.kind == NOT_FINISHED:
                fired_versions[automation_id].add(armed.version)
            yield event(
                FLOW_SLA,
                force,
                f"{highest['flow_run_id']}/{armed.kind}/{armed.base_ms}",
                armed.base_ms + condition.duration_seconds * 1000,
                {
                    **run_fields(highest, rules, MESSAGE_IN_STATE),
                    "flow_sla_config_id": condition.config_id,
                    "kind": armed.kind,
                    "duration_seconds": condition.duration_seconds,
                },
            )


def is_settled(armed: Armed, fired_versions: set[int]) -> bool:
    """ "Once `STARTED_NOT_FINISHED` has fired for an automation, late versions no longer move that
    attempt's base for it." READING: "that attempt" is whichever now has the Running record for whose base
    it fired."""
    return not armed.attempt.isdisjoint(fired_versions)


# -------------------------------------------------------------------------------------------------- agent SLA


class Beat(NamedTuple):
    """A heartbeat that counts."""

    log_ms: int
    stopped: bool


Agents = dict[str, list[Beat]]


def all_agents(history: History, rules: Rules) -> dict[tuple[str, str], Agents]:
    """ "An agent is (tenant, config, id)": the heartbeats that count, by (tenant, config), then id."""
    read: dict[tuple[str, str], dict[str, list[Appended]]] = defaultdict(lambda: defaultdict(list))
    for appended in in_log_order(history.heartbeats):
        if not is_too_late(appended, rules):
            value = appended.value
            read[value["tenant_id"], value["agent_config_id"]][value["agent_id"]].append(appended)
    return {
        config: {agent_id: without_repeats(records) for agent_id, records in agents.items()}
        for config, agents in read.items()
    }


def without_repeats(records: list[Appended]) -> list[Beat]:
    """ "A heartbeat whose `timestamp` was already read from it within the hour changes nothing."

    READING: the hour is of log time, its end included; a repeat was read too, and so hides the next one.
    """
    last_read: dict[int, int] = {}
    beats = []
    for record in records:
        timestamp = record.value["timestamp"]
        if timestamp not in last_read or record.log_ms - last_read[timestamp] > HOUR_MS:
            beats.append(Beat(record.log_ms, record.value["status"] == "STOPPED"))
        last_read[timestamp] = record.log_ms
    return beats


class Health(NamedTuple):
    """When an agent is healthy, as one condition sees it: from each start (included) to its end (not)."""

    starts: list[int]
    ends: list[int]

    def at(self, instant: int) -> bool:
        index = bisect_right(self.starts, instant) - 1
        return index >= 0 and instant < self.ends[index]


def health_of(beats: list[Beat], unhealthy_after_ms: int) -> Health:
    """ "healthy until the log time of its last heartbeat + `unhealthy_after_seconds`"; "After `STOPPED` an
    agent stays healthy for `unhealthy_after_seconds` more". READING: "until" leaves that instant out."""
    logs = [beat.log_ms for beat in beats]
    gaps = [(a + unhealthy_after_ms, b) for a, b in pairwise(logs) if b > a + unhealthy_after_ms]
    return Health([logs[0], *(b for _, b in gaps)], [*(end for end, _ in gaps), logs[-1] + unhealthy_after_ms])


def is_listed(beats: list[Beat], instant: int) -> bool:
    """Whether an agent that isn't healthy is listed as unhealthy: "then is forgotten, never listed as
    unhealthy; forgotten too is one silent for 24 h"."""
    index = bisect_right(beats, instant, key=lambda beat: beat.log_ms) - 1
    return index >= 0 and not beats[index].stopped and instant < beats[index].log_ms + DAY_MS


def agent_sla_events(history: History, forces: list[Force], rules: Rules) -> Iterator[Json]:
    """Every fall, for the automation in force at its instant, with the agents as of that instant."""
    configs = all_agents(history, rules)
    for force in forces:
        condition = force.condition
        if not isinstance(condition, AgentCondition):
            continue
        agents = configs.get((condition.tenant_id, condition.config_id), {})
        health = {agent_id: health_of(beats, condition.unhealthy_after_ms) for agent_id, beats in agents.items()}
        for instant in fall_instants(force, condition, list(health.values()), rules, history.end_ms):
            healthy = {agent_id for agent_id in agents if health[agent_id].at(instant)}
            unhealthy = {agent_id for agent_id in agents if is_listed(agents[agent_id], instant)} - healthy
            yield event(
                AGENT_SLA,
                force,
                f"{condition.config_id}/{instant}",
                instant,
                {
                    "agent_config_id": condition.config_id,
                    "sla_min_healthy": condition.min_healthy,
                    "healthy_agent_ids": sorted(healthy),
                    "unhealthy_agent_ids": sorted(unhealthy),
                },
            )


def fall_instants(
    force: Force, condition: AgentCondition, healths: list[Health], rules: Rules, end_ms: int
) -> list[int]:
    """ "An automation starts as recovered and is judged from `unhealthy_after_seconds` after its condition
    came into force, whether there are agents or not. It fires for an instant (its `timestamp`) at which
    fewer than `sla_min_healthy` are healthy, once progress has passed that + `GRACE_MS` and no heartbeat
    with a log time up to there has restored the number; once, and again only after a heartbeat has
    restored it."

    So: the first instant of each stretch with too few, unless a heartbeat ends the stretch within the
    grace.
    """

    def too_few(instant: int) -> bool:
        return sum(health.at(instant) for health in healths) < condition.min_healthy

    first = condition.unhealthy_after_ms + force.since_ms
    ends = {end for health in healths for end in health.ends}
    starts = sorted(start for health in healths for start in health.starts)
    return [
        instant
        for instant in sorted({first, *ends})
        if instant >= first
        and force.holds_at(instant)
        and instant + rules.grace_ms < end_ms
        and too_few(instant)
        and (instant == first or not too_few(instant - 1))
        and all(
            too_few(start)
            for start in starts[bisect_right(starts, instant) : bisect_right(starts, instant + rules.grace_ms)]
        )
    ]


# ----------------------------------------------------------------------------------------------------- events


def event(name: str, force: Force, subject: str, timestamp: int, fields: Json) -> Json:
    """An `AutomationEvent` but for `detected_at`; name and actions as they were at the instant that judged
    it.

    "Events: s = `automations:<tenant_id>/<automation_id>/<flow_run_id>/<version>`;
    `…/<flow_run_id>/<kind>/<base in ms>`; `…/<agent_config_id>/<instant of the fall in ms>`."
    """
    automation = force.automation
    identity = f"automations:{automation['tenant_id']}/{automation['id']}/{subject}"
    made: Json = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, identity)),
        "event_name": name,
        "message": "",
        "tenant_id": automation["tenant_id"],
        "tenant_slug": automation["tenant_slug"],
        "timestamp": timestamp,
        "automation_id": automation["id"],
        "automation_name": automation["name"],
        "flow_id": None,
        "flow_name": None,
        "flow_group_id": None,
        "flow_link": None,
        "flow_run_id": None,
        "flow_run_name": None,
        "state": None,
        "state_message": None,
        "flow_run_link": None,
        "flow_sla_config_id": None,
        "kind": None,
        "duration_seconds": None,
        "agent_config_id": None,
        "sla_min_healthy": None,
        "healthy_agent_ids": None,
        "unhealthy_agent_ids": None,
        "actions": force.actions,
        **fields,
    }
    made["message"] = rendered(MESSAGES[name], {**made, "agent_ids": made["unhealthy_agent_ids"]})
    return made


def run_fields(value: Json, rules: Rules, message_length: int) -> Json:
    """What an event says of a run. "`flow_link` = `<base>/<tenant_slug>/flow/<flow_id>`, `flow_run_link` =
    `…/flow-run/<flow_run_id>`"; "Without `UI_BASE_URL` links are null." READING: the slug is the record's."""
    base = None if not rules.ui_base_url else f"{rules.ui_base_url.rstrip('/')}/{value['tenant_slug']}"
    return {
        "tenant_slug": value["tenant_slug"],
        "flow_id": value["flow_id"],
        "flow_name": value["flow_name"],
        "flow_group_id": value["flow_group_id"],
        "flow_link": None if base is None else f"{base}/flow/{value['flow_id']}",
        "flow_run_id": value["flow_run_id"],
        "flow_run_name": value["flow_run_name"],
        "state": value["state"],
        "state_message": cut(value.get("state_message"), message_length),
        "flow_run_link": None if base is None else f"{base}/flow-run/{value['flow_run_id']}",
    }


def cut(text: str | None, length: int) -> str | None:
    """ "`state_message` is cut at 1,024 characters in state and 8,192 in events, with `…`." READING: the
    `…` is one of them; an SLA event's message comes out of the state, a state change's out of its record."""
    return text if text is None or len(text) <= length else text[: length - 1] + "…"


def rendered(template: str, fields: Json) -> str:
    """ "null is empty, arrays join with `, `"."""

    def text(value: Any) -> str:
        if value is None:
            return ""
        return ", ".join(value) if isinstance(value, list) else str(value)

    return re.sub(r"\{(\w+)\}", lambda found: text(fields[found.group(1)]), template)
