"""A consumer killed at a chosen point of its work: each event comes once all the same."""

import time
from pathlib import Path

import pytest

from tests.faults.lives import agree, lives
from tests.faults.points import IN_A_COMMIT, IN_A_REBALANCE, IN_A_RESTORE
from tests.faults.victims import START_S, case
from tests.kafka.consumer_process import until
from topology.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(280)]

TAKEN_OVER_S = 60


def test_consumers_killed_at_every_point_of_a_commit_leave_each_event_once(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four die at the same time, each at another point, with work in hand; one takes over what they had."""
    with case(settings, tmp_path) as world:
        survivor = world.fleet.start()
        victims = {point: world.victim() for point in IN_A_COMMIT}
        for process in world.fleet.processes:
            process.ready(START_S)
        with lives(world.settings, "run"):
            world.reader.until(50, START_S)
            for number, (point, victim) in enumerate(victims.items()):
                victim.plan(f"{point} {3 + number} SIGKILL")
            for victim in victims.values():
                victim.dies(START_S)
            killed_s = time.monotonic()
            until(lambda: world.owns_all(survivor), TAKEN_OVER_S, "the survivor has all partitions")
            took_s = time.monotonic() - killed_s
            time.sleep(1)
        found = agree(world.settings, world.reader)
    with capsys.disabled():
        print(f"\n{len(found)} events; partitions of four dead consumers at work {took_s:.1f} s after the last death")


@pytest.mark.slow
def test_consumers_killed_in_a_rebalance_or_a_restore_leave_each_event_once(settings: Settings, tmp_path: Path) -> None:
    """One dies when it is given partitions, one while it restores them; one when it has to give some up."""
    with case(settings, tmp_path) as world:
        first = world.fleet.start().ready(START_S)
        with lives(world.settings, "run"):
            world.reader.until(20, START_S)
            joining = [world.victim(f"{point} 1 SIGKILL") for point in ("assigned", *IN_A_RESTORE)]
            for victim in joining:
                victim.dies(START_S)
            until(lambda: world.owns_all(first), TAKEN_OVER_S, "the first one has all partitions again")
            giving = world.victim()
            giving.process.ready(START_S)
            giving.plan("revoked 1 SIGKILL")
            world.fleet.start().ready(START_S)
            giving.dies(START_S)
            time.sleep(1)
        agree(world.settings, world.reader)


@pytest.mark.slow
@pytest.mark.parametrize("point", [*IN_A_COMMIT, *IN_A_REBALANCE, *IN_A_RESTORE])
def test_consumers_killed_again_and_again_at_one_point_leave_each_event_once(
    settings: Settings, tmp_path: Path, point: str
) -> None:
    """Three in a row, each started anew under its old identity, while another one works beside it."""
    with case(settings, tmp_path) as world:
        world.fleet.start(INSTANCE_ID="steady").ready(START_S)
        with lives(world.settings, "run"):
            for number in range(3):
                world.reader.until(20 * (number + 1), START_S)
                joining = point in ("assigned", *IN_A_RESTORE)
                victim = world.victim(f"{point} 1 SIGKILL" if joining else "", INSTANCE_ID="victim")
                if not joining:
                    victim.process.ready(START_S)
                    victim.plan(f"{point} {1 if point in IN_A_REBALANCE else number + 1} SIGKILL")
                    if point in IN_A_REBALANCE:
                        guest = world.fleet.start()
                        victim.dies(START_S)
                        guest.kill()
                victim.dies(START_S)
        agree(world.settings, world.reader)
