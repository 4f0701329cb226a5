"""A consumer asked to leave in the middle of something: it is gone within ten seconds, and nothing is lost."""

import time
from pathlib import Path

import pytest

from tests.faults.lives import agree, lives
from tests.faults.victims import START_S, Case, Victim, case
from tests.kafka.consumer_process import until
from tests.kafka.consumer_world import CODEC, producer, state
from topology.names import FLOW_RUN_STATE
from topology.settings import Settings

pytestmark = pytest.mark.kafka

LEAVES_WITHIN_S = 10.0
BACKLOG = 15_000


def send_backlog(settings: Settings, count: int) -> None:
    """So many runs begin, and fail at once."""
    sender, topic = producer(settings), settings.topic(FLOW_RUN_STATE)
    for number in range(count):
        run = f"backlog-{number}"
        for version, name in ((1, "Running"), (2, "Failed")):
            sender.produce(topic, CODEC.encode_state(state(run, version, name)), run.encode())
        sender.poll(0)
    assert sender.flush(60) == 0


def leaves(world: Case, plan: str) -> Victim:
    """A consumer that asks itself to leave at that point has left in good order ten seconds later."""
    victim = world.victim(plan)
    victim.acts(120)
    asked_s = time.monotonic()
    assert victim.process.wait(30) == 0, victim.process.log.read_text()[-2_000:]
    assert time.monotonic() - asked_s < LEAVES_WITHIN_S
    assert victim.process.logged("the consumer has left")
    return victim


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_consumer_leaves_in_the_midst_of_a_backlog_and_of_a_restore(settings: Settings, tmp_path: Path) -> None:
    """What it has done is committed; the next ones go on there, and all is told once."""
    with case(settings, tmp_path, runs=2, agents=1) as world:
        send_backlog(world.settings, BACKLOG)
        working = leaves(world, "after-commit 4 SIGTERM")
        assert 0 < len(world.reader.values) < BACKLOG, "it left before or after the backlog"
        assert working.process.logged("partition at work")
        restoring = leaves(world, "restoring 3 SIGTERM")
        assert not restoring.process.logged("partition at work")
        world.fleet.start().ready(START_S)
        with lives(world.settings, "run"):
            until(lambda: len(world.reader.values) > BACKLOG, 120, "the backlog is told of")
        agree(world.settings, world.reader)
