"""Wrong clocks on the consumers' hosts, and downtime: the events are those of the brokers' time."""

import time
from pathlib import Path

import pytest

from tests.faults.lives import SLA_S, agree, lives
from tests.faults.victims import START_S, Case, case
from tests.kafka.consumer_process import ConsumerProcess
from topology.settings import Settings

pytestmark = pytest.mark.kafka

HOUR_S = 3_600.0


class SkewedHost:
    """A host for consumers whose clock can be set."""

    def __init__(self, world: Case, name: str) -> None:
        self._world, self._file = world, world.folder / name

    def clock(self, wrong_s: float) -> "SkewedHost":
        """Sets the clock so many seconds ahead of the true time."""
        beside = self._file.with_suffix(".new")
        beside.write_text(str(wrong_s))
        beside.replace(self._file)
        return self

    def start(self) -> ConsumerProcess:
        return self._world.fleet.run(("tests.faults.skewed",), {"CLOCK_FILE": str(self._file)})


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_clocks_hours_off_that_jump_and_a_long_downtime_change_no_event(settings: Settings, tmp_path: Path) -> None:
    """One host is hours behind, one ahead, and both jump; then nobody is there for ten times the SLAs' duration."""
    with case(settings, tmp_path, runs=4, agents=1) as world:
        behind, ahead = SkewedHost(world, "behind"), SkewedHost(world, "ahead")
        both = [behind.clock(-5 * HOUR_S).start(), ahead.clock(7 * HOUR_S).start()]
        for process in both:
            process.ready(START_S)
        with lives(world.settings, "run", rate=40):
            for jump_s in (-1.0, 0.25, 24.0):
                world.reader.until(len(world.reader.values) + 15, 60)
                behind.clock(jump_s * HOUR_S)
                ahead.clock(-jump_s * HOUR_S)
            world.reader.until(len(world.reader.values) + 15, 60)
            assert [process.terminate()[0] for process in both] == [0, 0]
            time.sleep(10 * SLA_S)
            last = ahead.clock(-9 * HOUR_S).start().ready(START_S)
        agree(world.settings, world.reader)
        assert str(last.lines()[0]["timestamp"]) < str(both[1].lines()[0]["timestamp"]), "its clock wasn't wrong"
