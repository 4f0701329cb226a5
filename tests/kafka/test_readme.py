"""The producer example in the README works as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.codec import Codec
from schemas.records import FlowRunState
from streams.topic_reader import read_to_end
from topology import apply as topics
from topology.names import FLOW_RUN_STATE
from topology.partitioner import partition_of
from topology.settings import Settings

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]
EXAMPLE = re.compile(r"<!-- test: producer -->\n```python\n(.*?)^```", re.M | re.S)
PARTITIONS = 4
RUNS = 8


@pytest.fixture
def laid(settings: Settings) -> Settings:
    """Settings whose topics are there, with several partitions of flow-run-state."""
    wider = settings.model_copy(update={"partitions": {**settings.partitions, FLOW_RUN_STATE: PARTITIONS}})
    topics.apply(wider, lambda line: None)
    return wider


def test_the_producer_example_writes_records_that_the_consumer_reads_where_it_expects_them(
    laid: Settings,
) -> None:
    """A user who copies it gets states that decode and whose keys lie where the partitioner says."""
    found = EXAMPLE.search((ROOT / "README.md").read_text())
    assert found is not None, "the README has no example marked for this test"
    env = {
        "PATH": os.environ["PATH"],
        "BOOTSTRAP_SERVERS": laid.bootstrap_servers,
        "TOPIC_PREFIX": laid.topic_prefix,
    }
    for _ in range(RUNS):
        ran = subprocess.run(
            [sys.executable, "-"],
            input=found.group(1),
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
    reads = read_to_end(laid, laid.topic(FLOW_RUN_STATE))
    states: dict[str, list[str]] = {}
    for read in reads:
        state = Codec().decode_state(read.value)
        assert isinstance(state, FlowRunState), state
        assert read.key == state.flow_run_id.encode()
        assert read.partition == partition_of("murmur2", read.key, PARTITIONS)
        assert state.version == len(states.setdefault(state.flow_run_id, [])) + 1
        states[state.flow_run_id].append(state.state)
    assert list(states.values()) == [["Scheduled", "Running", "Failed"]] * RUNS
