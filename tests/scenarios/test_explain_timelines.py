"""The worked timelines, explained: the reason of each verdict, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.explanation import UNREAD, RunExplained
from tests.scenarios.explaining import driven, explained, explained_configs
from tests.scenarios.test_timelines import CASES, END
from tests.scenarios.world import World

Told = dict[str, list[str]]
"""By run the reasons of its verdicts: of its states, then of its deadlines."""

RUNS: dict[int, Told] = {
    1: {"r": ["state_not_named", "fired"]},
    2: {"r": ["state_not_named", "state_not_named", "fired"]},
    3: {"r": ["not_made_yet"]},
    4: {"r": ["fired"]},
    5: {"r": ["fired_by_silence"]},
    6: {"r": ["met_in_time"]},
    7: {"r": ["fired_by_proof"]},
    8: {"r": ["met_in_time"]},
    9: {"r": ["fired_by_silence"]},
    11: {"r": ["fired_by_silence"]},
    12: {"r": ["fired_by_silence"]},
    13: {"r": ["moved", "fired_by_proof"]},
    14: {"r": ["met_in_time"]},
    15: {"r": ["met_in_time", "met_in_time"]},
    16: {"r": ["fired_by_silence", "fired_by_silence"]},
    17: {"r": ["met_in_time", "fired_by_silence", "fired_by_silence"]},
    18: {"r": ["met_in_time"], "q": ["met_in_time"]},
    19: {"r": ["fired_by_silence"]},
    20: {"r": ["not_made_yet"], "q": ["fired_by_silence"]},
    21: {"r": ["disabled"], "q": ["fired_by_silence"]},
    22: {"r": ["fired_by_silence"], "q": ["other_condition"]},
    23: {"r": ["fired_by_silence"]},
}


def runs_of(world: World, end: float = END) -> dict[str, RunExplained]:
    """The explanations of tenant t's runs."""
    found = explained(driven(world.history(end), world.rules))
    return {run_id: run for (tenant, run_id), run in found.items() if tenant == "t"}


def reasons(run: RunExplained) -> list[str]:
    return [verdict.reason for verdict in run.verdicts]


@pytest.mark.parametrize("number", RUNS)
def test_each_verdict_of_a_worked_timeline_has_its_reason(number: int) -> None:
    world = World()
    CASES[number - 1](world)
    assert {run_id: reasons(run) for run_id, run in runs_of(world).items()} == RUNS[number]


def test_a_clock_that_is_wrong_by_more_than_the_tolerance_is_told() -> None:
    """Case 10, a thousand seconds later: a timestamp before 1970 would be no timestamp."""
    world = World().sla("NF").state(1_100, "Running", 1, at=980).state(1_130, "Success", 2)
    run = runs_of(world, 2_000)["r"]
    assert reasons(run) == ["met_in_time"]
    assert [(one.timestamp_ms, one.occurred_ms) for one in run.records] == [(980_000, 1_100_000), (1_130_000,) * 2]


@pytest.mark.parametrize(
    ("number", "falls"),
    [
        (24, [(300, [], [], 400), (710, [], ["a"], None)]),
        (25, [(900, ["a"], ["d"], None)]),
    ],
)
def test_each_fall_of_the_worked_timelines_is_told_with_who_was_healthy(number: int, falls: list[Any]) -> None:
    world = World()
    CASES[number - 1](world)
    config = explained_configs(driven(world.history(END), world.rules))["t", "c"]
    (automation,) = config.automations
    told = [
        (fall.fall_ms // 1000, fall.healthy, fall.unhealthy, fall.restored_ms and fall.restored_ms // 1000)
        for fall in automation.falls
    ]
    assert told == falls
    assert {fall.reason for fall in automation.falls} == {"fired"}


@pytest.mark.parametrize("lost", range(1, 5))
def test_records_that_retention_has_deleted_are_told_from_state(lost: int) -> None:
    """Whatever number of the oldest records is gone from the log, the verdicts are the same."""
    world = World().sla("NS").sla("NF").on_failed(0, states=["Failed", "Retrying"])
    world.state(90, "Scheduled", 1, scheduled=100).state(170, "Running", 2).state(240, "Retrying", 3)
    world.state(250, "Failed", 4, message="no")
    driver = driven(world.history(END), world.rules)
    whole = explained(driver)["t", "r"]
    for log in driver.logs.values():
        log.records = [record for record in log.records if record.offset >= lost]
    cut = explained(driver)["t", "r"]
    assert [one.outcome for one in cut.records] == ["from_state"] * lost + ["applied"] * (4 - lost)
    assert [one.occurred_ms for one in cut.records] == [one.occurred_ms for one in whole.records]
    assert cut.verdicts == whole.verdicts
    assert reasons(cut).count("fired") == 2


def test_before_progress_has_passed_the_grace_a_deadline_is_not_judged_yet() -> None:
    world = World().sla("NF").state(100, "Running", 1)
    (verdict,) = runs_of(world, 162)["r"].verdicts
    assert (verdict.reason, verdict.due_ms, verdict.pending, verdict.fired) == ("not_due_yet", 160_000, True, False)


def test_what_would_keep_a_coming_deadline_from_firing_is_told_before_it_passes() -> None:
    world = World().sla("NF").state(100, "Running", 1).sla("NF", 120, enabled=False)
    (verdict,) = runs_of(world, 130)["r"].verdicts
    assert (verdict.reason, verdict.pending, verdict.since_ms, verdict.until_ms) == ("disabled", True, 120_000, None)


def test_what_fired_by_silence_stays_told_when_the_run_finishes_afterwards() -> None:
    world = World().sla("NF").state(100, "Running", 1).state(400, "Success", 2)
    run = runs_of(world)["r"]
    assert reasons(run) == ["fired_by_silence"]
    assert (run.deadlines[0].armed.met_version, run.deadlines[0].armed.met_log_ms) == (2, 400_000)


def test_an_automation_that_covers_other_flow_groups_says_so() -> None:
    world = World().sla("NF", groups=["h"]).on_failed(0, flow_group_ids=["h"])
    world.state(100, "Running", 1).state(110, "Failed", 2)
    assert reasons(runs_of(world)["r"]) == ["state_not_named", "out_of_scope", "out_of_scope"]


def test_an_automation_whose_config_was_never_there_says_so() -> None:
    world = World().automation(0, "NF", "FlowSLAFailedEvent", flow_sla_config_id="gone").state(100, "Running", 1)
    assert reasons(runs_of(world)["r"]) == ["config_missing"]


def test_an_automation_that_no_record_of_the_run_concerns_appears_too() -> None:
    world = World().sla("NS").state(100, "Running", 1)
    assert reasons(runs_of(world)["r"]) == ["not_armed"]


def test_a_deleted_automation_says_since_when() -> None:
    world = World().sla("NF").state(100, "Running", 1).control(140, "automation", "NF")
    (verdict,) = runs_of(world)["r"].verdicts
    assert (verdict.reason, verdict.since_ms, verdict.automation_name) == ("deleted", 140_000, "NF")


def test_before_the_first_start_nothing_was_in_force() -> None:
    world = World(first_start=200).sla("NF").on_failed().state(100, "Running", 1).state(150, "Failed", 2)
    world.state(100, "Running", 1, run="q")
    runs = runs_of(world)
    assert reasons(runs["q"]) == ["state_not_named", "before_first_start"]
    assert reasons(runs["r"]) == ["state_not_named", "before_first_start", "met_in_time"]


def test_a_miss_fires_once_for_an_attempt_and_says_so_of_its_other_base() -> None:
    world = World().sla("NF").state(150, "Running", 3).state(215, "Running", 1, at=214).state(216, "Running", 2, at=207)
    run = runs_of(world)["r"]
    assert "fired_by_silence" in reasons(run)
    assert "fired_already" in reasons(run)


def test_a_dead_lettered_record_is_told_with_its_reason() -> None:
    world = World().on_failed().state(300_000, "Failed", 1, at=100).state(300_010, "Running", 2)
    run = runs_of(world, 300_100)["r"]
    assert [one.outcome for one in run.records] == ["rejected", "applied"]
    assert run.records[0].detail.startswith("too_late: ")
    assert len(run.states) == 1


def test_a_second_state_of_a_version_is_told_as_a_conflict() -> None:
    world = World().state(100, "Running", 1).state(110, "Failed", 1).state(120, "Running", 1)
    assert [one.outcome for one in runs_of(world)["r"].records] == ["applied", "conflict", "duplicate"]


def test_a_run_told_of_again_after_its_state_was_dropped_has_both_lives_explained() -> None:
    day = 86_400
    world = World().sla("NF").state(100, "Running", 1).state(300, "Success", 2)
    world.state(5 * day, "Running", 1).state(5 * day + 30, "Success", 2)
    run = runs_of(world, 5 * day + 100)["r"]
    assert reasons(run) == ["fired_by_silence", "met_in_time"]
    assert len(run.forgotten_ms) == 1
    assert UNREAD not in {one.outcome for one in run.records}
