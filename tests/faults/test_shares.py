"""More consumers and fewer again, under load: partitions move, and each event comes once."""

from pathlib import Path

import pytest

from tests.faults.lives import agree, lives
from tests.faults.victims import START_S, case
from tests.kafka.consumer_process import until
from topology.settings import Settings

pytestmark = pytest.mark.kafka


@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    ("partitions", "most"), [(16, 3), pytest.param(64, 6, marks=pytest.mark.slow)], ids=["16-by-3", "64-by-6"]
)
def test_from_one_consumer_to_many_and_back_under_load(
    settings: Settings, tmp_path: Path, partitions: int, most: int
) -> None:
    """One has all partitions; others join and take their share; they leave, and the first has all again."""
    with case(settings, tmp_path, runs=partitions, agents=2) as world:
        first = world.fleet.start()
        until(lambda: world.owns_all(first), 120, "one consumer works on all partitions")
        with lives(world.settings, "run"):
            world.reader.until(20, 60)
            others = [world.fleet.start() for _ in range(most - 1)]
            for process in others:
                process.ready(START_S)
            world.reader.until(len(world.reader.values) + 20, 60)
            assert [process.terminate()[0] for process in others] == [0] * len(others)
            until(lambda: world.owns_all(first), 60, "the first one works on all partitions again")
            world.reader.until(len(world.reader.values) + 20, 60)
        agree(world.settings, world.reader)
