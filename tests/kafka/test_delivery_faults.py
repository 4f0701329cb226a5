"""No delivery is lost, and none that had ended is repeated, whatever is killed: judged by the oracle."""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.kafka.delivery_campaign import Plan, campaign, verdict
from topology.settings import Settings
from topology.topics import AUTOMATION_EVENTS, RETRY_1M

pytestmark = pytest.mark.kafka


def judge(settings: Settings, folder: Path, plan: Plan) -> None:
    """Run a campaign and print what came of it; fail where the contract was not kept."""
    widths = {**settings.partitions, AUTOMATION_EVENTS: 6, RETRY_1M: 3}
    world = campaign(settings.model_copy(update={"partitions": widths}), folder, plan)
    violations, counts = verdict(world)
    print(counts)
    assert not violations, (Counter(one.name for one in violations), violations[:20])
    assert counts["posts"] >= plan.deliveries


def test_three_runners_killed_again_and_again_lose_nothing_and_repeat_only_what_was_in_flight(
    settings: Settings, tmp_path: Path
) -> None:
    judge(settings, tmp_path, Plan(3_000, 4, 3, 30, (3, 7), random.randrange(10**9)))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_during_twenty_thousand_deliveries(settings: Settings, tmp_path: Path) -> None:
    judge(settings, tmp_path, Plan(20_000, 20, 3, 200, (4, 12), random.randrange(10**9)))
