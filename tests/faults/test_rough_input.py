"""Producers at their worst, all at once: what they send is judged as the reference says, record by record."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import pytest

from tests.faults.lives import GRACE_MS, SETTLED_MS, SLA_S, life, watched
from tests.faults.victims import START_S, case
from tests.kafka.consumer_process import until
from tests.kafka.consumer_world import (
    CODEC,
    ControlEntry,
    comparable,
    dead_letters,
    differences,
    events_on,
    history_of,
    now_ms,
    on_states,
    producer,
    put_control,
    sla,
    state,
)
from tests.oracle.oracle import Rules, expected_events
from topology.names import FLOW_RUN_STATE
from topology.partitioner import murmur2_partition
from topology.settings import Settings

pytestmark = pytest.mark.kafka

PARTITIONS, IDLE = 4, 3
HOUR_MS = 3_600_000
WINDOW_S = 60.0
RUNS, SENT_IN_S = 3_000, 10.0


class Sent(NamedTuple):
    """A record as it is sent."""

    order: float
    key: bytes
    value: bytes


def rough(random_: random.Random) -> list[Sent]:
    """Runs of the last minute, out of order within it; a fifth of the records twice, each thousandth poisoned.

    A tenth of the producers are an hour ahead, a tenth an hour behind. One partition gets nothing.
    """
    ends_ms, found = now_ms(), list[Sent]()
    for number in range(RUNS):
        run = f"run-{number}"
        if murmur2_partition(run.encode(), PARTITIONS) == IDLE:
            continue
        wrong_ms = random_.choice([0] * 8 + [HOUR_MS, -HOUR_MS])
        begins_s = random_.uniform(-WINDOW_S, -4)
        for after_s, name, version in life(random_):
            at_ms = ends_ms + round((begins_s + after_s) * 1_000) + wrong_ms
            value = CODEC.encode_state(state(run, version, name, timestamp=at_ms))
            for _ in range(1 + (random_.random() < 0.2)):
                found.append(Sent(random_.random(), run.encode(), value))
    for number in range(len(found) // 1_000):
        key = next(key for n in range(99) if murmur2_partition(key := b"poison-%d" % n, PARTITIONS) == number % IDLE)
        found.append(Sent(random_.random(), key, random_.choice([b"", b"{}", b"\0\0\0\0\1\xff\xff"])))
    return sorted(found)


@contextmanager
def control_flood(settings: Settings) -> Iterator[list[int]]:
    """Hundreds of changes a second meanwhile: automations renamed, disabled, made, deleted, given other durations."""
    stopping, count = Event(), [0]

    def change() -> None:
        random_ = random.Random(7)
        while not stopping.wait(0.1):
            entries: list[ControlEntry] = []
            for _ in range(30):
                name, on = f"flood-{random_.randrange(40)}", random_.random() < 0.8
                if random_.random() < 0.1:
                    entries.append((f"automation:{name}", None))
                elif random_.random() < 0.5:
                    entries.append(on_states(name, random_.choice(["Failed", "Crashed"]), enabled=on))
                else:
                    entries.extend(sla(name, "NF", random_.choice([1, 2]), enabled=on, name=f"v{count[0]}"))
            put_control(settings, entries)
            count[0] += len(entries)

    thread = Thread(target=change, daemon=True)
    thread.start()
    try:
        yield count
    finally:
        stopping.set()
        thread.join(30)


@pytest.mark.timeout(240)
def test_skewed_shuffled_doubled_and_poisoned_records_under_a_flood_of_changes_are_judged_as_written(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Producers an hour off, a minute's shuffle that the tolerance covers, an idle partition: the oracle's events."""
    env = {"CLOCK_TOLERANCE_MS": str(round(WINDOW_S * 1_000) + 15_000)}
    with case(settings, tmp_path, watched(), PARTITIONS, 1, env) as world:
        settings = world.settings
        processes = [world.fleet.start(), world.fleet.start()]
        for process in processes:
            process.ready(START_S)
        records = rough(random.Random(20_260_102))
        sender, topic, began_s = producer(settings), settings.topic(FLOW_RUN_STATE), time.monotonic()
        with control_flood(settings) as changes:
            for number, record in enumerate(records):
                if number % 100 == 0:
                    ahead_s = SENT_IN_S * number / len(records) - (time.monotonic() - began_s)
                    time.sleep(max(0.0, ahead_s))
                sender.produce(topic, record.value, record.key)
                sender.poll(0)
            assert sender.flush(30) == 0
        history = history_of(settings, SETTLED_MS + SLA_S * 1_000)
        rules = Rules(grace_ms=GRACE_MS, clock_tolerance_ms=int(env["CLOCK_TOLERANCE_MS"]))
        expected = expected_events(history, rules)
        until(lambda: len(world.reader.values) >= len(expected), 60, f"{len(expected)} events")
        until(lambda: now_ms() > history.end_ms + 500, 60, "the last deadline has passed")
        poisoned = [record.value for record in records if record.key.startswith(b"poison")]
        until(lambda: len(dead_letters(settings)) >= len(poisoned), 30, "the poison is put aside")
        assert sorted(letter.value or b"" for letter in dead_letters(settings)) == sorted(poisoned)
        assert [process.terminate()[0] for process in processes] == [0, 0]
        found = comparable(events_on(settings))
    apart = differences(found, expected)
    assert not apart, "\n".join(apart)
    assert found == expected
    with capsys.disabled():
        print(f"\n{len(records)} records, {changes[0]} changes, {len(found)} events")
