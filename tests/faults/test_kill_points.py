"""A consumer killed at a chosen point of its work: each event comes once all the same."""

import time
from pathlib import Path

import pytest

from tests.faults.lives import agree, lives
from tests.faults.points import IN_A_COMMIT, IN_A_REBALANCE, IN_A_RESTORE
from tests.faults.victims import case
from tests.kafka.consumer_process import until
from topology.settings import Settings

pytestmark = pytest.mark.kafka

TAKEN_OVER_S = 20


def test_consumers_killed_at_every_point_of_a_commit_leave_each_event_once(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four die at the same time, each at another point, with work in hand; one takes over what they had."""
    with case(settings, tmp_path) as world:
        survivor = world.fleet.start()
        victims = {point: world.victim() for point in IN_A_COMMIT}
        for process in world.fleet.processes:
            process.ready()
        with lives(world.settings, "run"):
            world.reader.until(50)
            for number, (point, victim) in enumerate(victims.items()):
                victim.plan(f"{point} {3 + number} SIGKILL")
            for victim in victims.values():
                victim.dies()
            killed_s = time.monotonic()
            until(lambda: world.owns_all(survivor), TAKEN_OVER_S, "the survivor has all partitions")
            took_s = time.monotonic() - killed_s
            time.sleep(1)
        found = agree(world.settings, world.reader)
    with capsys.disabled():
        print(f"\n{len(found)} events; partitions of four dead consumers at work {took_s:.1f} s after the last death")


def test_consumers_killed_in_a_rebalance_or_a_restore_leave_each_event_once(settings: Settings, tmp_path: Path) -> None:
    """One dies when it is given partitions, one while it restores them; one when it has to give some up."""
    with case(settings, tmp_path) as world:
        first = world.fleet.start().ready()
        with lives(world.settings, "run"):
            world.reader.until(20)
            joining = [world.victim(f"{point} 1 SIGKILL") for point in ("assigned", *IN_A_RESTORE)]
            for victim in joining:
                victim.dies(40)
            until(lambda: world.owns_all(first), TAKEN_OVER_S, "the first one has all partitions again")
            giving = world.victim()
            giving.process.ready()
            giving.plan("revoked 1 SIGKILL")
            world.fleet.start().ready()
            giving.dies()
            time.sleep(1)
        agree(world.settings, world.reader)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("point", [*IN_A_COMMIT, *IN_A_REBALANCE, *IN_A_RESTORE])
def test_consumers_killed_again_and_again_at_one_point_leave_each_event_once(
    settings: Settings, tmp_path: Path, point: str
) -> None:
    """Three in a row, each started anew under its old identity, while another one works beside it."""
    with case(settings, tmp_path) as world:
        world.fleet.start(INSTANCE_ID="steady").ready()
        with lives(world.settings, "run"):
            for number in range(3):
                world.reader.until(20 * (number + 1))
                joining = point in ("assigned", *IN_A_RESTORE)
                victim = world.victim(f"{point} 1 SIGKILL" if joining else "", INSTANCE_ID="victim")
                if not joining:
                    victim.process.ready()
                    victim.plan(f"{point} {number + 1} SIGKILL")
                    if point in IN_A_REBALANCE:
                        guest = world.fleet.start()
                        victim.dies(60)
                        guest.kill()
                victim.dies(60)
        agree(world.settings, world.reader)
