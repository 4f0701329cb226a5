"""While one partition's much state is restored, another one of the same process is at work."""

import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from consumer.run_state import NO_TIME, Entry, RunState, run_key, state_mark
from schemas.states import RUNS
from streams.position import POSITION_KEY, Position
from tests.kafka.consumer_process import consumers, until
from tests.kafka.consumer_world import (
    CODEC,
    make_topics,
    now_ms,
    on_states,
    put_control,
    put_states,
    reading_events,
    sla,
    state,
)
from topology.kafka_config import client_config
from topology.names import FLOW_RUN_STATE
from topology.partitioner import partition_of
from topology.settings import Settings
from topology.topics import changelog_of

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

UNFINISHED = 150_000
BOUND_S = 3.0
"""A turn of the loop and a commit take milliseconds; a machine with other work to do takes its time."""


def leave_behind(settings: Settings) -> None:
    """What an earlier process left of partition 0: that many unfinished runs, and the group's offset."""
    sender = Producer({**client_config(settings), "linger.ms": 20, "queue.buffering.max.messages": UNFINISHED + 1})
    changelog, at_ms = changelog_of(settings, FLOW_RUN_STATE), now_ms()
    entries = (Entry(1, state_mark("running"), RUNS, at_ms, at_ms, NO_TIME),)
    for number in range(UNFINISHED):
        run = f"0b9c6f2a-0000-4000-8000-{number:012}"
        body = CODEC.encode_state(state(run, 1, "Running"))
        sender.produce(changelog, RunState(at_ms, entries, (), (), body).encode(), run_key("t", run), 0)
        if number % 10_000 == 0:
            sender.poll(0)
    position = Position(0, at_ms, at_ms, 0, 0, 2, "an-earlier-process")
    sender.produce(changelog, position.encode(), POSITION_KEY, 0)
    assert sender.flush(60) == 0
    member = Consumer({**client_config(settings), "group.id": settings.consumer_group})
    member.commit(offsets=[TopicPartition(settings.topic(FLOW_RUN_STATE), 0, 0)], asynchronous=False)
    member.close()


@pytest.mark.timeout(280)
def test_a_partition_is_at_work_while_the_much_state_of_another_is_restored(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its events come within the usual time, from the changelog's first record to the last deadline derived."""
    make_topics(settings)
    put_control(settings, [on_states("failed", "Failed"), *sla("hours", "NF", 3_600)])
    leave_behind(settings)
    elsewhere = (f"run-{n}" for n in range(100_000) if partition_of("murmur2", f"run-{n}".encode(), 2) == 1)
    with consumers(settings, tmp_path) as fleet, reading_events(settings) as reader:
        process = fleet.start()
        until(lambda: any("[1]" in str(line.get("partition")) for line in process.lines()), 60, "the other one works")
        waits: list[float] = []
        while not process.is_ready():
            put_states(settings, state(next(elsewhere), 1, "Failed"))
            sent_s = time.monotonic()
            reader.until(len(waits) + 1)
            waits.append(time.monotonic() - sent_s)
        until(lambda: process.metric("automations_active_runs") == UNFINISHED, 20, "all runs are there")
        assert process.terminate()[0] == 0
    with capsys.disabled():
        print(f"\n{len(waits)} events beside a restore of {UNFINISHED} runs, the slowest after {max(waits):.2f} s")
    assert len(waits) > 2, "the restore was over before anything could be seen"
    assert max(waits) < BOUND_S
