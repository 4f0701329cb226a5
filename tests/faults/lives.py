"""Runs that live on while a case goes on: what they send, and whether the events are the oracle's afterwards."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from threading import Event, Thread

from confluent_kafka import Producer

from schemas.records import AgentHeartbeat
from tests.kafka.consumer_process import until
from tests.kafka.consumer_world import (
    CODEC,
    ControlEntry,
    EventReader,
    automation,
    comparable,
    differences,
    events_on,
    history_of,
    now_ms,
    on_states,
    producer,
    sla,
    state,
)
from tests.oracle.oracle import Json, Rules, expected_events
from topology.names import AGENT_HEARTBEAT, FLOW_RUN_STATE
from topology.settings import Settings

GRACE_MS, SLA_S = 500, 1
SETTLED_MS = SLA_S * 1_000 + GRACE_MS + 500
"""From the last record to the last deadline that it arms, with room."""
QUICK = {"SESSION_TIMEOUT_MS": "5000", "GRACE_MS": str(GRACE_MS)}
"""What the consumers of these cases are set to."""


def watched() -> list[ControlEntry]:
    """Every kind of automation, with short durations."""
    pool: dict[str, object] = {"id": "pool", "tenant_id": "t", "name": "pool"}
    return [
        on_states("failed", "Failed", "Crashed"),
        *sla("late-start", "NS", SLA_S),
        *sla("slow", "NF", SLA_S),
        *sla("slow-too", "NF", SLA_S, ["g"]),
        ("agent_config:pool", pool),
        automation(
            "agents", "AgentSLAFailedEvent", agent_config_id="pool", sla_min_healthy=2, unhealthy_after_seconds=SLA_S
        ),
    ]


def life(random_: random.Random) -> Iterator[tuple[float, str, int]]:
    """What becomes of a run: (after seconds, state, version)."""
    yield 0.0, "Scheduled", 1
    start = random_.choice([0.1, 0.3, 1.5])
    if random_.random() < 0.05:  # it never starts
        return
    yield start, "Running", 2
    fate = random_.random()
    if fate < 0.1:  # it never ends
        return
    end = start + random_.choice([0.05, 0.2, 0.5, 1.0, 1.8])
    yield end, "Failed" if fate < 0.4 else "Success", 3
    if fate < 0.2:  # it is told of again, and retried
        yield end + 0.1, "Failed", 3
        yield end + 0.4, "Running", 4
        yield end + 0.6, "Crashed", 5


class Lives:
    """Starts runs at a rate, in a thread; they live on until they have ended, and agents beat."""

    def __init__(self, settings: Settings, rate: float, name: str, seed: int) -> None:
        self._settings, self._rate, self._name = settings, rate, name
        self._random = random.Random(seed)
        self._stopping = Event()
        self._thread = Thread(target=self._live, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Starts no more; returns when all have told what they had to tell."""
        self._stopping.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _live(self) -> None:
        sender, topic = producer(self._settings), self._settings.topic(FLOW_RUN_STATE)
        ahead: list[tuple[float, str, int, str]] = []
        began_s, started, beat_s = time.monotonic(), 0, 0.0
        while ahead or not self._stopping.is_set():
            at_s = time.monotonic() - began_s
            while started < at_s * self._rate and not self._stopping.is_set():
                for after_s, name, version in life(self._random):
                    heappush(ahead, (at_s + after_s, f"{self._name}-{started}", version, name))
                started += 1
            while ahead and ahead[0][0] <= at_s:
                _, run, version, name = heappop(ahead)
                sender.produce(topic, CODEC.encode_state(state(run, version, name)), run.encode())
            if at_s - beat_s > 0.3:
                beat_s = at_s
                self._beat(sender, at_s)
            sender.poll(0)
            self._stopping.wait(0.01) if not self._stopping.is_set() else time.sleep(0.01)
        assert sender.flush(30) == 0

    def _beat(self, sender: Producer, at_s: float) -> None:
        """One agent is always there, the other away every other three seconds."""
        for agent in ("a", "b")[: 1 + (int(at_s) % 6 < 3)]:
            beat = AgentHeartbeat("t", "t-slug", "pool", agent, None, now_ms(), "ACTIVE")
            sender.produce(self._settings.topic(AGENT_HEARTBEAT), CODEC.encode_heartbeat(beat), b"pool")


@contextmanager
def lives(settings: Settings, name: str, rate: float = 60, seed: int = 1) -> Iterator[Lives]:
    """Runs that live meanwhile, named after ``name``."""
    living = Lives(settings, rate, name, seed)
    try:
        yield living
    finally:
        living.stop()


def agree(settings: Settings, reader: EventReader, timeout_s: float = 60) -> list[Json]:
    """Once all is settled, the events are the oracle's, each once and in all its fields."""
    history = history_of(settings, SETTLED_MS)
    expected = expected_events(history, Rules(grace_ms=GRACE_MS))
    until(lambda: len(reader.values) >= len(expected), timeout_s, f"{len(expected)} events ({len(reader.values)} now)")
    # Whatever else may come comes when progress has passed the last deadline.
    until(lambda: now_ms() > history.end_ms + 500, timeout_s, "the last deadline has passed")
    found = comparable(events_on(settings))
    apart = differences(found, expected)
    assert not apart, "\n".join(apart)
    assert found == expected
    return found
