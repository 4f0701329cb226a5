"""A broker whose disk is full: it goes down, and once it has room again, nothing is lost and nothing twice."""

import errno
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.lives import agree, lives
from tests.faults.victims import START_S, case
from tests.kafka.consumer_process import until
from topology.embedded import EmbeddedKafka
from topology.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]

MEBIBYTE = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 200 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no file system of a chosen size can be mounted here: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leaves no byte free; the file to remove for room."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        size = MEBIBYTE
        while size:
            try:
                file.write(b"\0" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2
    return filler


def test_a_broker_with_a_full_disk_that_is_given_room_has_lost_nothing(
    settings: Settings, small_disk: Path, tmp_path: Path
) -> None:
    """Consumers wait while it is away, and runs go on living: afterwards the events are the oracle's."""
    with EmbeddedKafka(small_disk / "kafka") as kafka:
        own = settings.model_copy(update={"bootstrap_servers": kafka.bootstrap_servers})
        with case(own, tmp_path, runs=2, agents=1) as world:
            world.fleet.start().ready(START_S)
            with lives(world.settings, "run"):
                world.reader.until(20, START_S)
                filler = fill(small_disk)
                until(lambda: not kafka.running(), START_S, "the broker is down")
                time.sleep(2)
                filler.unlink()
                kafka.restart(1)
                seen = len(world.reader.values)

                def goes_on() -> bool:
                    if not world.fleet.processes[-1].running:
                        # A call of the client hung when the broker went down: it has ended itself to be started again.
                        assert world.fleet.processes[-1].wait() == 1
                        world.fleet.start()
                    return len(world.reader.values) > seen + 20

                until(goes_on, 2 * START_S, "the consumer goes on")
            agree(world.settings, world.reader, START_S)
