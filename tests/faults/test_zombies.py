"""A consumer frozen at a chosen point until it is declared dead: it commits nothing when it wakes up, and goes on."""

import signal
import time
from pathlib import Path

import pytest

from tests.faults.lives import agree, lives
from tests.faults.points import IN_A_COMMIT, IN_A_REBALANCE, IN_A_RESTORE
from tests.faults.victims import START_S, Case, Victim, case
from tests.kafka.consumer_process import until
from topology.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(280)]

TAKEN_OVER_S = 60
SHORT_TRANSACTIONS = {"TRANSACTION_TIMEOUT_MS": "4000"}
FROZEN_S = 7.0
"""Longer than the session and the transaction timeout."""


def wake(victims: list[Victim]) -> None:
    for victim in victims:
        victim.process.signal(signal.SIGCONT)


def come_back(world: Case, victims: list[Victim]) -> None:
    """Each is a member again; alone, they do all the work."""
    for victim in victims:
        victim.process.ready(START_S)
    steady = world.fleet.processes[0]
    assert steady.terminate()[0] == 0
    seen = len(world.reader.values)
    with lives(world.settings, "afterwards"):
        world.reader.until(seen + 50, START_S)


def test_consumers_frozen_at_every_point_of_a_commit_commit_nothing_when_they_wake_up(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four freeze at the same time, each at another point; they wake up after one has taken all of it over."""
    with case(settings, tmp_path, env=SHORT_TRANSACTIONS) as world:
        steady = world.fleet.start()
        victims = {point: world.victim() for point in IN_A_COMMIT}
        for process in world.fleet.processes:
            process.ready(START_S)
        with lives(world.settings, "run"):
            world.reader.until(50, START_S)
            for point, victim in victims.items():
                victim.plan(f"{point} 2 SIGSTOP")
            for victim in victims.values():
                victim.freezes(START_S)
            frozen_s = time.monotonic()
            until(lambda: world.owns_all(steady), TAKEN_OVER_S, "the steady one has all partitions")
            until(lambda: time.monotonic() - frozen_s > FROZEN_S, FROZEN_S + 1)
            wake(list(victims.values()))
            come_back(world, list(victims.values()))
        agree(world.settings, world.reader)
        anew = {point: one.process.logged("starting over with new clients") for point, one in victims.items()}
    with capsys.disabled():
        print(f"\nclients made anew after waking up: {anew}")


@pytest.mark.slow
@pytest.mark.parametrize("point", [*IN_A_COMMIT, *IN_A_REBALANCE, *IN_A_RESTORE])
@pytest.mark.parametrize("frozen_s", [FROZEN_S, 20.0], ids=["session", "broker-ends-transaction"])
def test_a_consumer_frozen_at_one_point_commits_nothing_when_it_wakes_up(
    settings: Settings, tmp_path: Path, point: str, frozen_s: float
) -> None:
    """Frozen until another one has its partitions; or until the broker, too, has ended what it had open."""
    with case(settings, tmp_path, env=SHORT_TRANSACTIONS) as world:
        steady = world.fleet.start().ready(START_S)
        with lives(world.settings, "run"):
            joining = point in ("assigned", *IN_A_RESTORE)
            victim = world.victim(f"{point} 1 SIGSTOP" if joining else "")
            if not joining:
                victim.process.ready(START_S)
                victim.plan(f"{point} 2 SIGSTOP" if point in IN_A_COMMIT else f"{point} 1 SIGSTOP")
            guest = world.fleet.start() if point in IN_A_REBALANCE else None
            victim.freezes(START_S)
            began_s = time.monotonic()
            if guest is not None:
                guest.ready(START_S)
                guest.kill()
            until(lambda: world.owns_all(steady), TAKEN_OVER_S, "the steady one has all partitions")
            until(lambda: time.monotonic() - began_s > frozen_s, frozen_s + 1)
            wake([victim])
            come_back(world, [victim])
        agree(world.settings, world.reader)
