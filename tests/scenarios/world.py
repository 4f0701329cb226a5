"""A history told in seconds, and ways to run it through the consumer on the test driver."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from consumer.app import ConsumerApp, Options
from consumer.timing import Timing
from schemas.codec import Codec
from schemas.records import AgentHeartbeat, AutomationEvent, FlowRunState
from streams.app import Place
from streams.testing import Driver, Process
from tests.oracle.oracle import Appended, Control, History, Rules, expected_events
from topology.names import AGENT_HEARTBEAT, AUTOMATION_EVENTS, FLOW_RUN_STATE
from topology.partitioner import murmur2_partition

CODEC = Codec()


def s(seconds: float) -> int:
    """Seconds as ms."""
    return round(seconds * 1000)


class World:
    """Builds a history. ``grace`` as in the worked timelines is 2 s, all times are seconds."""

    def __init__(self, partitions: int = 2, first_start: float | None = None) -> None:
        self.partitions = partitions
        self.first_start = first_start
        self.states: dict[int, list[Appended]] = {p: [] for p in range(partitions)}
        self.heartbeats: dict[int, list[Appended]] = {p: [] for p in range(partitions)}
        self.controls: list[Control] = []
        self.rules = Rules(grace_ms=2_000)

    def state(
        self, log: float, name: str, version: int, *, run: str = "r", at: float | None = None,
        scheduled: float | None = None, tenant: str = "t", group: str = "g", message: str | None = None,
    ) -> World:  # fmt: skip
        """A flow-run state appended at ``log``."""
        value = FlowRunState(
            tenant, f"{tenant}-slug", "flow", "etl", group, run, f"run {run}", version, name, message,
            s(log if at is None else at), None if scheduled is None else s(scheduled), None,
        )  # fmt: skip
        place = murmur2_partition(run.encode(), self.partitions)
        self.states[place].append(Appended(s(log), value._asdict()))
        return self

    def beat(
        self, log: float, agent: str = "a", *, at: float | None = None, status: str = "ACTIVE",
        config: str = "c", tenant: str = "t",
    ) -> World:  # fmt: skip
        """An agent's heartbeat appended at ``log``."""
        timestamp = s(log if at is None else at)
        value = AgentHeartbeat(tenant, f"{tenant}-slug", config, agent, None, timestamp, status)
        place = murmur2_partition(config.encode(), self.partitions)
        self.heartbeats[place].append(Appended(s(log), value._asdict()))
        return self

    def control(self, log: float, record_kind: str, record_id: str, /, **fields: Any) -> World:
        """A control record appended at ``log``; without fields a tombstone."""
        value = {"id": record_id, "tenant_id": "t", **fields} if fields else None
        self.controls.append(Control(s(log), f"{record_kind}:{record_id}", value))
        return self

    def automation(self, log: float, automation_id: str, event_type: str, /, **fields: Any) -> World:
        """An automation, enabled unless told."""
        base = {
            "tenant_slug": "t-slug", "name": automation_id, "enabled": True, "event_type": event_type,
            "action_ids": [], "created": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z", "revision": 1,
        }  # fmt: skip
        return self.control(log, "automation", automation_id, **{**base, **fields})

    def on_failed(self, log: float = 0, automation_id: str = "FAIL", /, **fields: Any) -> World:
        """FAIL: state change on Failed."""
        return self.automation(log, automation_id, "FlowRunStateChangedEvent", **{"states": ["Failed"], **fields})

    def sla_config(self, kind: str, log: float = 0, seconds: int = 60, name: str | None = None, **fields: Any) -> World:
        """The config of NS or NF."""
        long = {"NS": "SCHEDULED_NOT_STARTED", "NF": "STARTED_NOT_FINISHED"}[kind]
        return self.control(
            log, "flow_sla_config", f"{name or kind}-sla", kind=long, duration_seconds=seconds, **fields
        )

    def sla(
        self, kind: str, log: float = 0, seconds: int = 60, name: str | None = None,
        groups: list[str] | None = None, **fields: Any,
    ) -> World:  # fmt: skip
        """NS or NF: a flow SLA of ``seconds`` with its config, both of the tenant in ``fields``, if any."""
        name = name or kind
        owner = {key: fields[key] for key in fields if key == "tenant_id"}
        self.sla_config(kind, log, seconds, name, flow_group_ids=groups, **owner)
        return self.automation(log, name, "FlowSLAFailedEvent", flow_sla_config_id=f"{name}-sla", **fields)

    def action(self, log: float, action_id: str, name: str, **fields: Any) -> World:
        """An action that cancels the run."""
        base = {"tenant_slug": "t-slug", "action_type": "CancelFlowRunAction", "config": {}}
        return self.control(log, "action", action_id, **{**base, "name": name, **fields})

    def agents(self, log: float = 0, minimum: int = 1, after: int = 300, name: str = "AGENTS", **fields: Any) -> World:
        """An agent SLA on config ``c``."""
        self.control(log, "agent_config", "c", name="pool")
        return self.automation(
            log, name, "AgentSLAFailedEvent", agent_config_id="c", sla_min_healthy=minimum,
            unhealthy_after_seconds=after, **fields,
        )  # fmt: skip

    def history(self, end: float) -> History:
        """The whole, with every partition's progress at ``end``."""
        start = None if self.first_start is None else s(self.first_start)
        return History(self.controls, self.states, self.heartbeats, s(end), start)


class Append(NamedTuple):
    """One record of a history as the driver appends it; ``place`` None is the control topic."""

    log_ms: int
    place: Place | None
    key: bytes
    value: bytes | None


def appends(history: History) -> list[Append]:
    """Every record in log order, control records first among equals."""
    found = [
        Append(c.log_ms, None, c.key.encode(), None if c.value is None else json.dumps(c.value).encode())
        for c in history.control
    ]
    for partition, records in history.states.items():
        for record in records:
            state = FlowRunState(**record.value)
            value = CODEC.encode_state(state)
            found.append(Append(record.log_ms, (FLOW_RUN_STATE, partition), state.flow_run_id.encode(), value))
    for partition, records in history.heartbeats.items():
        for record in records:
            beat = AgentHeartbeat(**record.value)
            value = CODEC.encode_heartbeat(beat)
            place = (AGENT_HEARTBEAT, partition)
            found.append(Append(record.log_ms, place, beat.agent_config_id.encode(), value))
    return sorted(found, key=lambda a: a.log_ms)


def driver_for(history: History, rules: Rules) -> Driver:
    """A driver for the history's partitions, nothing appended yet."""
    timing = Timing(rules.grace_ms, rules.clock_tolerance_ms, rules.late_ms)
    options = Options(timing=timing, finished_states=tuple(rules.finished_states), ui_base_url=rules.ui_base_url)
    inputs = {FLOW_RUN_STATE: len(history.states), AGENT_HEARTBEAT: len(history.heartbeats)}
    first_start = "beginning" if history.first_start_ms is None else "now"
    return Driver(lambda: ConsumerApp(options), inputs, first_start)


def events_of(driver: Driver) -> list[dict[str, Any]]:
    """The events that a read_committed reader has seen, as the oracle gives them, with doubles left in."""
    return comparable(committed_events(driver))


def committed_events(driver: Driver) -> Iterator[AutomationEvent]:
    """The events that a read_committed reader has seen, in order."""
    for output in driver.committed:
        if output.topic == AUTOMATION_EVENTS:
            event = CODEC.decode_event(output.value)
            assert isinstance(event, AutomationEvent), event
            yield event


def comparable(events: Iterable[AutomationEvent]) -> list[dict[str, Any]]:
    """Events as the oracle gives them, doubles left in; ``detected_at`` is held to be after the fact."""
    found = []
    for event in events:
        fields = event._asdict()
        detected_at = fields.pop("detected_at")
        assert event.event_name == "FlowRunStateChangedEvent" or detected_at > event.timestamp
        fields["actions"] = json.loads(fields["actions"])
        found.append(fields)
    return sorted(found, key=lambda event: (event["timestamp"], event["id"]))


def append(driver: Driver, record: Append) -> None:
    """Appends a record of a history at its log time."""
    driver.clock_ms = record.log_ms
    if record.place is None:
        driver.append_control(record.key, record.value)
    else:
        driver.append(record.place, record.key, record.value)


def live(history: History, rules: Rules) -> list[dict[str, Any]]:
    """Each record is read a millisecond after it was appended."""
    driver = driver_for(history, rules)
    process: Process | None = None
    for log_ms, together in groupby(appends(history), key=lambda record: record.log_ms):
        if process is None and log_ms >= (history.first_start_ms or 0):
            driver.clock_ms = history.first_start_ms or 0
            process = driver.start()
        for record in together:
            append(driver, record)
        driver.clock_ms += 1
        if process is not None:
            process.poll()
            process.commit()
    driver.clock_ms = max(driver.clock_ms, history.first_start_ms or 0)
    process = process or driver.start()
    driver.clock_ms = max(driver.clock_ms, history.end_ms)
    process.poll()
    process.commit()
    return events_of(driver)


def afterwards(history: History, rules: Rules, batch: int | None = None) -> list[dict[str, Any]]:
    """Everything is read at once, long after it was appended (but the first start was when it was)."""
    driver = driver_for(history, rules)
    if history.first_start_ms is not None:
        driver.clock_ms = history.first_start_ms
        driver.start()
    for record in appends(history):
        append(driver, record)
    driver.clock_ms = max(driver.clock_ms, history.end_ms)
    process = driver.start()
    while batch is not None and any(p.read_end < len(driver.logs[at].records) for at, p in process.partitions.items()):
        process.poll(batch)
        process.commit()
    process.poll()
    process.commit()
    return events_of(driver)


def told(world: World, end: float = 1_000) -> list[dict[str, Any]]:
    """The events of a history, the same by the oracle, live, long afterwards, and record by record."""
    history = world.history(end)
    events = expected_events(history, world.rules)
    assert live(history, world.rules) == events
    assert afterwards(history, world.rules) == events
    assert afterwards(history, world.rules, 1) == events
    return events


def seconds(events: list[dict[str, Any]]) -> list[float]:
    """The events' timestamps."""
    return [event["timestamp"] / 1000 for event in events]


class Play:
    """A history played step by step, so that a test can say what happens in between."""

    def __init__(self, world: World) -> None:
        history = world.history(0)
        self.driver = driver_for(history, world.rules)
        self._ahead = deque(appends(history))

    def until(self, at: float) -> Play:
        """Appends what has a log time up to ``at``; the brokers' clocks stand there."""
        while self._ahead and self._ahead[0].log_ms <= s(at):
            append(self.driver, self._ahead.popleft())
        self.driver.clock_ms = s(at)
        return self

    def work(self, process: Process) -> Play:
        """The process reads all that there is, and commits."""
        process.poll()
        process.commit()
        return self

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that a read_committed reader has seen."""
        return events_of(self.driver)
