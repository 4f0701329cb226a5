"""Very many deadlines at one instant, and a very long backlog with deadlines inside."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest

from schemas.codec import Rejected
from tests.faults.lives import GRACE_MS
from tests.faults.victims import START_S, case
from tests.kafka.consumer_process import ConsumerProcess, until
from tests.kafka.consumer_world import (
    CODEC,
    comparable,
    decoded,
    differences,
    now_ms,
    on_states,
    producer,
    sla,
    state,
    topic_records,
)
from tests.oracle.oracle import Appended, Control, History, Rules, expected_events
from topology.names import AUTOMATION_EVENTS, AUTOMATIONS, FLOW_RUN_STATE
from topology.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

HERD = 100_000
LATE_RUNS, CHUNKS, CHUNK_S = 140_000, 20, 0.5
SLICES = 10
"""The oracle is asked for a tenth of the runs at a time: runs don't bear on each other."""


class Pulse:
    """What a consumer's endpoints say while it has much to do."""

    def __init__(self, process: ConsumerProcess) -> None:
        self._process = process
        self.rebalances = process.metric("automations_rebalances_total")
        self._commits, self._moved_s, self.longest_s = 0.0, time.monotonic(), 0.0

    def feel(self) -> None:
        """It is healthy, still the member that it was, and commits again and again."""
        assert self._process.get("/healthz")
        assert self._process.metric("automations_rebalances_total") == self.rebalances
        commits = self._process.metric("automations_commit_seconds_count")
        if commits != self._commits:
            self._commits, self._moved_s = commits, time.monotonic()
        self.longest_s = max(self.longest_s, time.monotonic() - self._moved_s)


@pytest.mark.timeout(600)
def test_a_hundred_thousand_deadlines_at_one_instant_all_fire_once_and_the_loop_keeps_turning(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs that were all to start at the same second, and none does."""
    with case(settings, tmp_path, sla("late-start", "NS", 1), runs=2, agents=1) as world:
        process = world.fleet.start().ready(START_S)
        start_ms = now_ms() + 90_000
        sender, topic = producer(world.settings, **{"queue.buffering.max.messages": HERD + 1}), FLOW_RUN_STATE
        for number in range(HERD):
            run = f"{number:06}"
            value = CODEC.encode_state(state(run, 1, "Scheduled", scheduled_start_time=start_ms))
            sender.produce(world.settings.topic(topic), value, run.encode())
            sender.poll(0)
        assert sender.flush(60) == 0
        until(lambda: process.metric("automations_armed_timers") == HERD, 120, "all deadlines are armed")
        assert now_ms() < start_ms, "the machine is too slow for this test"
        assert not world.reader.values
        pulse = Pulse(process)

        def all_told() -> bool:
            pulse.feel()
            return len(world.reader.values) >= HERD

        until(lambda: now_ms() > start_ms + 1_000 + GRACE_MS, 120, "they are due")
        due_s = time.monotonic()
        until(all_told, 120, "all have fired")
        took_s = time.monotonic() - due_s
        assert pulse.longest_s < 15, "the group would take it for dead"
        assert process.terminate()[0] == 0
        agree_by_slices(world.settings, now_ms())
    with capsys.disabled():
        print(
            f"\n{HERD} deadlines told {took_s:.1f} s after their grace, "
            f"{pulse.longest_s:.1f} s without a commit at most"
        )


def late_backlog(random_: random.Random) -> Iterator[list[tuple[str, int, str]]]:
    """Chunks of half a second: runs are scheduled and begin; most end a chunk later, some after the SLA, some never."""
    ends: dict[int, list[tuple[str, int, str]]] = {}
    for chunk in range(CHUNKS):
        records = []
        for number in range(LATE_RUNS // CHUNKS):
            run = f"{chunk}-{number}"
            records += [(run, 1, "Scheduled"), (run, 2, "Pending"), (run, 3, "Running")]
            fate = random_.random()
            if fate < 0.97:
                after = 1 if fate < 0.9 else 5
                ends.setdefault(chunk + after, []).append((run, 4, "Failed" if fate < 0.1 else "Success"))
        yield [*ends.pop(chunk, []), *records]
    for chunk in sorted(ends):
        yield ends[chunk]


@pytest.mark.timeout(600)
def test_a_backlog_of_half_a_million_records_with_deadlines_inside_gives_no_false_event_and_misses_none(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The consumer starts when all is over: a finish that was in time is believed, and each miss is told once."""
    control = [on_states("failed", "Failed"), *sla("slow", "NF", 2)]
    with case(settings, tmp_path, control, runs=4, agents=1) as world:
        chunks = [
            [(run.encode(), CODEC.encode_state(state(run, version, name))) for run, version, name in chunk]
            for chunk in late_backlog(random.Random(5))
        ]
        sender, topic = producer(world.settings, **{"queue.buffering.max.messages": 600_000}), FLOW_RUN_STATE
        began_s, count = time.monotonic(), 0
        for number, chunk in enumerate(chunks):
            time.sleep(max(0.0, number * CHUNK_S - (time.monotonic() - began_s)))
            for key, value in chunk:
                sender.produce(world.settings.topic(topic), value, key)
            sender.poll(0)
            count += len(chunk)
        assert sender.flush(120) == 0
        assert count > 500_000
        time.sleep(3)
        began_s = time.monotonic()
        process = world.fleet.start()
        until(lambda: is_through(process, count), 200, "the backlog is read")
        took_s = time.monotonic() - began_s
        process.ready(60)
        time.sleep(1)
        assert process.terminate()[0] == 0
        events = agree_by_slices(world.settings, now_ms())
    with capsys.disabled():
        print(f"\n{count} records read {took_s:.1f} s after the start, {events} events")


def is_through(process: ConsumerProcess, count: int) -> bool:
    assert process.running, process.log.read_text()[-2_000:]
    try:
        return process.metric("automations_records_consumed_total") >= count
    except OSError:
        return False


def agree_by_slices(settings: Settings, end_ms: int) -> int:
    """The events are the oracle's, as in ``agree``, for as many runs as don't fit into memory all at once."""
    control = [
        Control(one.time_ms, (one.key or b"").decode(), json.loads(one.value) if one.value else None)
        for one in topic_records(settings, AUTOMATIONS)
    ]
    records = topic_records(settings, FLOW_RUN_STATE)
    found = [decoded(one.value) for one in topic_records(settings, AUTOMATION_EVENTS)]
    for part in range(SLICES):
        states: dict[int, list[Appended]] = {}
        for one in records:
            if crc32(one.key or b"") % SLICES == part:
                value = CODEC.decode_state(one.value)
                assert not isinstance(value, Rejected)
                states.setdefault(one.partition, []).append(Appended(one.time_ms, value._asdict()))
        mine = comparable(event for event in found if crc32((event.flow_run_id or "").encode()) % SLICES == part)
        expected = expected_events(History(control, states, {}, end_ms), Rules(grace_ms=GRACE_MS))
        apart = differences(mine, expected)
        assert not apart, "\n".join(apart)
        assert mine == expected
    return len(found)
