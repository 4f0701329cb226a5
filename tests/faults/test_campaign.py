"""The fault campaign in a short form, and the proof that it would notice a broken implementation."""

import random
from pathlib import Path

import pytest

from tests.faults import sabotage
from tests.faults.campaign import Plan, run
from tests.faults.report import Report

pytestmark = pytest.mark.kafka

SHORT = Plan(
    seconds=40,
    rate=100,
    partitions=4,
    consumers=2,
    runners=1,
    kinds=("kill a consumer", "pause a consumer", "kill a runner", "kill a broker", "disturb the network"),
)
NO_PROOF = {"stuck", "leaving"}
"""Checks that a slow machine might fail too: a sabotage has to be caught by another."""


def campaign(plan: Plan, folder: Path, capsys: pytest.CaptureFixture[str]) -> Report:
    """Run it and show its report."""
    with capsys.disabled():
        print()
        report = run(plan, folder, lambda line: print(f"    {line}", flush=True))
        print("\n".join(report.lines()))
    return report


@pytest.mark.timeout(1_200)
def test_each_event_and_delivery_is_as_it_must_be_whatever_fails_on_three_brokers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two consumers and a runner under load, faults by a seed that is printed; the oracles judge everything."""
    report = campaign(SHORT._replace(seed=random.randrange(10**6)), tmp_path, capsys)
    assert not report.violations, "\n".join(report.lines())
    assert report.faults
    assert report.events["expected"] > 0


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", sorted(sabotage.KINDS))
def test_the_campaign_notices_a_consumer_that_is_broken_on_purpose(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five mistakes, each of which breaks a promise: a checker that passes one would prove nothing."""
    report = campaign(sabotage.plan(SHORT._replace(seconds=sabotage.SECONDS), name), tmp_path, capsys)
    assert report.caught_by.keys() - NO_PROOF, "\n".join(report.lines())
