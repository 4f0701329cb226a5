"""A restart within the session is nobody else's business where processes have an ``INSTANCE_ID``."""

from pathlib import Path

import pytest

from tests.kafka.consumer_process import consumers, until
from tests.kafka.consumer_world import make_topics, on_states, put_control, put_states, reading_events, state
from topology.settings import Settings

pytestmark = pytest.mark.kafka

LONG_SESSION = {"SESSION_TIMEOUT_MS": "30000"}
AT_WORK = "partition at work"


def test_a_restarted_instance_has_its_partitions_back_and_no_other_hears_of_it(
    settings: Settings, tmp_path: Path
) -> None:
    """It does not leave the group, so nothing is handed over: the others' assignments stay as they are."""
    make_topics(settings)
    put_control(settings, [on_states("failed", "Failed")])
    with consumers(settings, tmp_path, **LONG_SESSION) as fleet, reading_events(settings) as reader:
        stays = fleet.start(INSTANCE_ID="stays").ready()
        leaves = fleet.start(INSTANCE_ID="leaves")
        until(lambda: leaves.logged(AT_WORK), 40, "it has been given partitions")
        leaves.ready()
        had = {str(line["partition"]) for line in leaves.lines() if line.get("event") == AT_WORK}
        before = stays.metric("automations_rebalances_total")
        assert leaves.terminate()[0] == 0
        back = fleet.start(INSTANCE_ID="leaves")
        until(lambda: back.logged(AT_WORK), 25, "it has its partitions back, within the session")
        back.ready()
        put_states(settings, *(state(f"run-{n}", 1, "Failed") for n in range(20)))
        reader.until(20)
        assert {str(line["partition"]) for line in back.lines() if line.get("event") == AT_WORK} == had
        assert stays.metric("automations_rebalances_total") == before
