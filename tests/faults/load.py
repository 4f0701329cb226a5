"""A steady load whose truth lies in the topics: runs, heartbeats, changes of automations, records that are none.

What a record must lead to is not remembered here. The checker reads the inputs as they lie in the log, and a
record that has to be dead-lettered says so in a header of its own, so a record that never arrived is no loss.
"""

from __future__ import annotations

import heapq
import json
import random
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from confluent_kafka import Producer

from schemas.records import AgentHeartbeat, AutomationEvent, FlowRunState
from tests.kafka.consumer_world import CODEC, ControlEntry, decoded, now_ms, on_states, producer
from tests.kafka.fleet_of_runs import GROUPS, TENANTS, control, life
from tests.oracle.oracle import Json
from topology.names import AGENT_HEARTBEAT, AUTOMATIONS, FLOW_RUN_STATE
from topology.partitioner import partition_of
from topology.settings import HOUR_MS, Settings

EXPECT = "expect"
"""The header of a record that has to be dead-lettered: the reason."""
POISON_EACH = 1_000
PROBE_EACH_S = 0.5
PROBES = "probes"
"""Tenant of the probes: their state changes come back as events, so the way through can be timed."""
IDLE_EACH_S = 20.0
"""How often the idle partition gets a record: a run that then fires by silence alone."""
SETTLES_MS = 30_000
"""After the last record, so much log time passes every deadline there can be, grace included."""
RECORDS_A_RUN = 3.9

POISONS = (
    "null_value", "bad_magic", "unknown_schema", "truncated", "trailing_bytes", "wrong_key", "wrong_partition",
    "impossible_field", "too_late",
)  # fmt: skip


class Planned(NamedTuple):
    """A record to send ``at_s`` after the beginning."""

    at_s: float
    number: int
    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = -1
    expect: str | None = None


class Load:
    """Sends about ``rate`` records a second until it is stopped, on a thread of its own."""

    def __init__(self, settings: Settings, seed: int, rate: float, hooks: list[str], acting: float) -> None:
        self.sent = 0
        self.failed = 0
        self.probes: dict[str, float] = {}
        """When each probe was sent, by run id (monotonic seconds)."""
        self._settings = settings
        self._rng = random.Random(f"load {seed}")
        self._rate = rate
        self._width = settings.partitions_of(FLOW_RUN_STATE)
        self.idle = self._width - 1
        self._entries: dict[str, Json] = {}
        self._written: dict[str, Json | None] = {}
        self._plan: list[Planned] = []
        self._number = 0
        self._stopping = threading.Event()
        self._sender: Producer = producer(settings, **{"linger.ms": 10, "enable.idempotence": True})
        first = control(random.Random(f"control {seed}"), hooks, acting)
        owner = {"tenant_id": PROBES, "tenant_slug": PROBES}
        self._put_control([*first, on_states("probes", "Failed", **owner)])
        self._entries = {key: value for key, value in first if value is not None}
        self._written = dict(self._entries)
        self._thread = threading.Thread(target=self._send_all, name="load", daemon=True)

    @property
    def busy(self) -> list[int]:
        """The partitions that get records all the time."""
        return list(range(self._width - 1))

    @property
    def state(self) -> str:
        """For whoever wonders why nothing comes back."""
        alive = "sends" if self._thread.is_alive() else "has ended"
        return f"the load {alive}, {self.sent} sent, {len(self._sender)} on the way, {self.failed} failed"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Sends no more, and waits until what was sent is there or has failed."""
        self._stopping.set()
        self._thread.join(60)
        if self._sender.flush(180):
            self.failed += len(self._sender)

    def abandon(self) -> None:
        """Sends no more, whatever is on the way."""
        self._stopping.set()
        self._thread.join(5)

    def change(self, rng: random.Random, count: int) -> None:
        """Changes so many automations, or what they refer to, in one of several ways each."""
        self._put_control([self._changed(rng) for _ in range(count)])

    def _changed(self, rng: random.Random) -> ControlEntry:
        key = rng.choice([key for key in self._entries if key.startswith(("automation:", "flow_sla_config:"))])
        value = self._written[key]
        if value is None or rng.random() < 0.2:  # as it was at first
            value = self._entries[key]
        elif rng.random() < 0.1:
            value = None
        elif key.startswith("flow_sla_config:"):
            value = {**value, "duration_seconds": rng.choice([2, 3, 4, 5])}
        elif rng.random() < 0.5:
            value = {**value, "name": f"name {rng.randrange(1000)}"}
        elif rng.random() < 0.5 and "states" in value:
            value = {**value, "states": rng.sample(["Failed", "Crashed", "Cancelled", "TimedOut", "Custom"], 2)}
        else:
            value = {**value, "enabled": not value["enabled"]}
        self._written[key] = value
        return key, value

    def _put_control(self, entries: list[ControlEntry]) -> None:
        for key, value in entries:
            body = None if value is None else json.dumps(value).encode()
            self._produce(Planned(0, 0, AUTOMATIONS, key.encode(), body))
        self._sender.flush(60)

    def _produce(self, one: Planned) -> None:
        headers: list[tuple[str, str | bytes | None]] = [(EXPECT, one.expect.encode())] if one.expect else []
        while True:
            try:
                self._sender.produce(
                    self._settings.topic(one.topic), one.value, one.key, one.partition,
                    headers=headers, on_delivery=self._arrived,
                )  # fmt: skip
                return
            except BufferError:
                self._sender.poll(0.1)

    def _arrived(self, error: object, message: object) -> None:
        del message
        if error is None:
            self.sent += 1
        else:
            self.failed += 1

    def _send_all(self) -> None:
        zero_s, runs, probes, idles = time.monotonic(), 0, 0, 0
        zero_ms = now_ms()
        agents = list(_agents())
        while not self._stopping.is_set():
            at_s = time.monotonic() - zero_s
            while runs < at_s * self._rate / RECORDS_A_RUN:
                runs += 1
                self._add(self._run(f"run-{runs:07}", runs * RECORDS_A_RUN / self._rate, zero_ms))
            if probes < at_s / PROBE_EACH_S:
                probes += 1
                self._probe(probes)
                self._add(self._heartbeats(agents, at_s, zero_ms))
            if idles < at_s / IDLE_EACH_S:
                idles += 1
                self._add(self._stuck_in_idle(idles, at_s))
            while self._plan and self._plan[0].at_s <= at_s:
                self._produce(heapq.heappop(self._plan))
            self._sender.poll(0.02)

    def _add(self, records: Iterator[Planned]) -> None:
        for record in records:
            heapq.heappush(self._plan, record)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _run(self, run_id: str, begins_s: float, zero_ms: int) -> Iterator[Planned]:
        """A run's states, as its producer's clock has them."""
        rng = self._rng
        if partition_of("murmur2", run_id.encode(), self._width) == self.idle:
            return
        tenant, group = rng.choice(TENANTS), rng.choice(GROUPS)
        skew_ms = rng.choice([0] * 16 + [-700, 40_000, HOUR_MS, -HOUR_MS])
        ahead_ms = rng.choice([None, 0, 0, 0, 2_000]) if skew_ms < HOUR_MS else None
        for at_s, name, version in life(rng, begins_s):
            scheduled = None if ahead_ms is None else zero_ms + round(begins_s * 1000) + ahead_ms
            value = FlowRunState(
                tenant, f"{tenant}-slug", f"flow-of-{group}", f"etl {group}", group, run_id, f"name {run_id}",
                version, name, f"it is {name}", zero_ms + round(at_s * 1000) + skew_ms,
                scheduled if version <= 2 else None,
            )  # fmt: skip
            number = self._next()
            yield Planned(at_s, number, FLOW_RUN_STATE, run_id.encode(), CODEC.encode_state(value))
            if number % POISON_EACH == 0:
                yield self._poison(at_s, POISONS[number // POISON_EACH % len(POISONS)], value)

    def _poison(self, at_s: float, reason: str, like: FlowRunState) -> Planned:
        """A record that has to be dead-lettered for that reason; its run is nobody's."""
        run_id = f"poison-{self._next()}"
        bad = like._replace(flow_run_id=run_id, timestamp=now_ms())
        if reason == "too_late":
            bad = bad._replace(timestamp=now_ms() - 49 * HOUR_MS)
        if reason == "impossible_field":
            bad = bad._replace(version=0)
        good = CODEC.encode_state(bad)
        value = {
            "null_value": None,
            "bad_magic": b"\1" + good[1:],
            "unknown_schema": b"\0" + (77).to_bytes(4, "big") + good[5:],
            "truncated": good[:9],
            "trailing_bytes": good + b"\0",
        }.get(reason, good)
        key = b"another" if reason == "wrong_key" else run_id.encode()
        partition = (partition_of("murmur2", key, self._width) + 1) % self._width if reason == "wrong_partition" else -1
        return Planned(at_s, self._next(), FLOW_RUN_STATE, key, value, partition, reason)

    def _probe(self, turn: int) -> None:
        for partition in self.busy:
            run_id = self._id_in(partition, f"probe-{partition}-{turn}-")
            self.probes[run_id] = time.monotonic()
            self._produce(
                Planned(0, 0, FLOW_RUN_STATE, run_id.encode(), CODEC.encode_state(_simple(run_id, PROBES, "Failed")))
            )

    def _stuck_in_idle(self, turn: int, at_s: float) -> Iterator[Planned]:
        run_id = self._id_in(self.idle, f"idle-{turn}-")
        value = CODEC.encode_state(_simple(run_id, TENANTS[turn % len(TENANTS)], "Running"))
        yield Planned(at_s, self._next(), FLOW_RUN_STATE, run_id.encode(), value)

    def _id_in(self, partition: int, begin: str) -> str:
        """A run id whose key lies in the partition."""
        number = 0
        while partition_of("murmur2", f"{begin}{number}".encode(), self._width) != partition:
            number += 1
        return f"{begin}{number}"

    def _heartbeats(self, agents: list[tuple[str, str, str]], at_s: float, zero_ms: int) -> Iterator[Planned]:
        """A beat of each agent that is not away; now and then one leaves on purpose."""
        for number, (tenant, config, agent) in enumerate(agents):
            away = (at_s + 7 * number) % 60 > 45 + number % 10
            if not away:
                leaves = (at_s + 7 * number) % 60 > 44 + number % 10 and agent == "agent-0"
                beat = AgentHeartbeat(
                    tenant, f"{tenant}-slug", config, agent, None, zero_ms + round(at_s * 1000),
                    "STOPPED" if leaves else "ACTIVE",
                )  # fmt: skip
                yield Planned(at_s, self._next(), AGENT_HEARTBEAT, config.encode(), CODEC.encode_heartbeat(beat))


def _agents() -> Iterator[tuple[str, str, str]]:
    for tenant in TENANTS:
        for pool in range(2):
            for agent in range(2):
                yield tenant, f"{tenant}-pool-{pool}", f"agent-{agent}"


def _simple(run_id: str, tenant: str, state: str) -> FlowRunState:
    return FlowRunState(
        tenant, f"{tenant}-slug", "flow", "etl", GROUPS[0], run_id, run_id, 1, state, None, now_ms()
    )  # fmt: skip


class Echo(NamedTuple):
    """A probe that came back: where it went, when it was sent and when its event could be read."""

    partition: int
    sent_s: float
    seen_s: float


class Echoes:
    """Which probes have come back; ``look`` is to be called often."""

    def __init__(self, load: Load) -> None:
        self.found: list[Echo] = []
        self._load = load
        self._read = 0

    def look(self, values: list[bytes]) -> None:
        """Takes what is new among the events read so far."""
        seen_s = time.monotonic()
        for value in values[self._read :]:
            self._read += 1
            event: AutomationEvent = decoded(value)
            sent_s = self._load.probes.get(event.flow_run_id or "")
            if sent_s is not None:
                partition = int((event.flow_run_id or "").split("-")[1])
                self.found.append(Echo(partition, sent_s, seen_s))

    def all_since(self, since_s: float) -> bool:
        """Whether each busy partition has given back a probe that was sent since then."""
        return self.back_since(since_s) >= set(self._load.busy)

    def back_since(self, since_s: float) -> set[int]:
        """The partitions that have."""
        return {echo.partition for echo in self.found if echo.sent_s >= since_s}

    def slowest(self, since_s: float) -> float:
        """How long the slowest probe took of those sent since then that came back, in seconds."""
        return max((echo.seen_s - echo.sent_s for echo in self.found if echo.sent_s >= since_s), default=0.0)
