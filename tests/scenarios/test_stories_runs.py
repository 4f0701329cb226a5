"""Flow runs: what users may rely on when runs start, stall, retry, end, or are told of late and twice."""

from __future__ import annotations

import time
import uuid

import pytest

from consumer.runs import Runs
from schemas.states import KNOWN_STATES
from streams.testing import Process
from tests.scenarios.world import Play, World, seconds, told
from topology.names import FLOW_RUN_STATE

DAY = 86_400


def event_id(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"automations:{text}"))


def runs_of(process: Process) -> list[Runs]:
    return [p.logic for p in process.partitions.values() if isinstance(p.logic, Runs)]


# State changes


def test_a_state_change_carries_the_records_own_time_and_names() -> None:
    world = World().on_failed().state(20, "Failed", 2, at=19, message="out of memory")
    (event,) = told(world)
    assert event["id"] == event_id("t/FAIL/r/2")
    assert (event["timestamp"], event["state"], event["state_message"]) == (19_000, "Failed", "out of memory")
    assert (event["flow_run_id"], event["flow_run_name"], event["flow_name"]) == ("r", "run r", "etl")
    assert event["tenant_slug"] == "t-slug"
    assert event["kind"] is event["duration_seconds"] is event["agent_config_id"] is None
    assert "run r of flow etl entered state Failed with message out of memory" in event["message"]


def test_a_state_change_keeps_the_timestamp_of_a_clock_that_is_wrong() -> None:
    world = World().on_failed().state(20, "Failed", 1, at=9_000)
    assert seconds(told(world)) == [9_000]


def test_states_are_compared_without_case_but_exactly() -> None:
    world = World().on_failed().state(10, "FAILED", 1).state(11, "TriggerFailed", 2).state(12, "Fail", 3)
    assert seconds(told(world)) == [10]


def test_a_state_that_nobody_knows_fires_state_changes_only() -> None:
    world = World().on_failed(states=["Baking"]).sla("NS").sla("NF")
    world.state(10, "Scheduled", 1).state(20, "Baking", 2).state(200, "Running", 3).state(210, "Success", 4)
    assert seconds(told(world)) == [20, 70]


def test_states_that_nobody_knows_are_counted() -> None:
    play = Play(World().state(10, "Baking", 1).state(20, "Running", 2))
    process = play.driver.start()
    play.until(30).work(process)
    assert sum(runs.counts.unknown_states for runs in runs_of(process)) == 1


def test_two_automations_on_one_state_fire_each_for_itself() -> None:
    world = World().on_failed(0, "one").on_failed(0, "two", states=["failed", "Success"]).state(10, "Failed", 1)
    assert {event["automation_id"]: event["id"] for event in told(world)} == {
        "one": event_id("t/one/r/1"),
        "two": event_id("t/two/r/1"),
    }


def test_a_second_record_of_a_version_is_a_duplicate_even_with_another_state_and_is_counted() -> None:
    world = World().on_failed().sla("NF").state(10, "Running", 1).state(11, "Failed", 1).state(12, "RUNNING", 1)
    world.state(13, "Baking", 2).state(14, "Running", 2)
    assert seconds(told(world)) == [70]
    play = Play(world)
    process = play.driver.start()
    play.until(20).work(process)
    counts = [runs.counts for runs in runs_of(process)]
    assert sum(c.duplicates for c in counts) == 3
    assert sum(c.conflicts for c in counts) == 2


def test_a_long_message_is_cut_in_events_and_shorter_in_what_is_kept_of_a_run() -> None:
    world = World().on_failed().sla("NF", action_ids=["none"])
    world.state(10, "Running", 1, message="r" * 2_000).state(100, "Failed", 2, message="f" * 9_000)
    failed, late = sorted(told(world), key=lambda event: -event["timestamp"])
    assert failed["state_message"] == "f" * 8_191 + "…"
    assert late["state_message"] == "r" * 1_023 + "…"


def test_an_sla_event_says_the_same_of_a_run_whether_proof_or_silence_fires_it() -> None:
    """What is shown of the run comes out of what is kept of it: its message with at most 1,024 characters."""
    world = World().sla("NF").state(100, "Running", 1).state(161, "Success", 2, message="x" * 1_500)
    (event,) = told(world)
    assert event["state"] == "Success"
    assert event["state_message"] == "x" * 1_023 + "…"


# Too late, and clocks


def test_a_record_older_than_late_ms_is_as_if_never_sent_and_is_dead_lettered() -> None:
    world = (
        World(partitions=1).on_failed().state(3 * DAY, "Failed", 1, at=DAY - 0.001).state(3 * DAY, "Failed", 2, at=DAY)
    )
    assert [event["id"] for event in told(world, 4 * DAY)] == [event_id("t/FAIL/r/2")]
    play = Play(world)
    play.until(4 * DAY).work(play.driver.start())
    (letter,) = [output for output in play.driver.committed if output.topic == "input-dlq"]
    assert dict(letter.headers or [])["reason"] == b"too_late"


def test_an_early_timestamp_within_the_tolerance_counts_and_one_beyond_it_does_not() -> None:
    world = World().sla("NF")
    world.state(100, "Running", 1, run="near", at=90).state(151, "Success", 2, run="near", at=151)
    world.state(100, "Running", 1, run="far", at=89.999).state(151, "Success", 2, run="far", at=151)
    assert [(event["flow_run_id"], event["timestamp"]) for event in told(world)] == [("near", 150_000)]


def test_records_appended_more_than_grace_after_they_occurred_are_counted() -> None:
    play = Play(World().state(10, "Running", 1, at=8).state(20, "Failed", 2, at=17))
    process = play.driver.start()
    play.until(30).work(process)
    assert sum(runs.counts.late for runs in runs_of(process)) == 1


# What finishes, starts and waits


@pytest.mark.parametrize("state", [name for name in KNOWN_STATES if name not in ("Running", "Cancelling")])
def test_each_known_state_either_meets_both_slas_or_waits(state: str) -> None:
    waits = state in ("Scheduled", "Paused", "Resume", "Retrying", "Pending", "Submitted", "Queued")
    world = World().sla("NS").sla("NF")
    world.state(10, "Pending", 1, run="w").state(20, state.upper(), 2, run="w")
    world.state(10, "Running", 1, run="s").state(20, state.lower(), 2, run="s")
    missed = ["SCHEDULED_NOT_STARTED", "STARTED_NOT_FINISHED"] if waits else []
    assert sorted(event["kind"] for event in told(world)) == missed


def test_finished_states_of_the_settings_finish_runs_whatever_their_case() -> None:
    world = World().sla("NF").state(10, "Running", 1).state(20, "baked", 2)
    assert seconds(told(world)) == [70]
    world.rules = world.rules._replace(finished_states=frozenset({"Baked"}))
    assert told(world) == []


def test_cancelling_starts_a_run_but_its_time_to_finish_counts_from_running() -> None:
    world = World().sla("NS").sla("NF").state(10, "Scheduled", 1).state(20, "Cancelling", 2)
    assert told(world) == []
    world.state(30, "Running", 3)
    assert seconds(told(world)) == [90]


def test_a_run_that_never_starts_fires_after_its_schedule_time_and_the_duration() -> None:
    world = World().sla("NS").state(90, "Scheduled", 1, scheduled=500)
    (event,) = told(world)
    assert event["timestamp"] == 560_000
    assert event["id"] == event_id("t/NS/r/SCHEDULED_NOT_STARTED/500000")
    assert (event["kind"], event["duration_seconds"], event["flow_sla_config_id"]) == (
        "SCHEDULED_NOT_STARTED",
        60,
        "NS-sla",
    )
    assert event["state"] == "Scheduled"


def test_a_schedule_time_in_the_past_does_not_make_a_run_late_when_it_is_first_heard_of() -> None:
    world = World().sla("NS").state(500, "Scheduled", 1, scheduled=10)
    assert seconds(told(world)) == [560]


def test_a_run_that_was_started_by_a_lower_version_is_not_armed_by_a_later_waiting_one() -> None:
    world = World().sla("NS").state(10, "Running", 1).state(20, "Retrying", 2)
    assert told(world) == []


def test_a_run_that_never_waited_is_never_late_to_start() -> None:
    world = World().sla("NS").state(10, "Running", 1)
    assert told(world) == []


def test_each_attempt_of_a_run_has_its_own_time_to_finish() -> None:
    world = World().sla("NF").state(10, "Running", 1).state(20, "Failed", 2)
    world.state(100, "Running", 3).state(300, "Running", 4).state(500, "Success", 5)
    assert seconds(told(world)) == [160]


def test_a_finish_that_occurred_exactly_at_the_deadline_is_in_time() -> None:
    world = World().sla("NF").state(100, "Running", 1).state(160, "Success", 2)
    assert told(world) == []


def test_a_finish_appended_exactly_at_the_end_of_grace_is_judged_by_when_it_occurred() -> None:
    world = World().sla("NF").state(100, "Running", 1).state(162, "Success", 2, at=160)
    assert told(world) == []
    world = World().sla("NF").state(100, "Running", 1).state(162.001, "Success", 2, at=160)
    assert seconds(told(world)) == [160]


def test_a_late_start_fires_by_proof_at_once_though_it_started_within_grace() -> None:
    world = World().sla("NS").state(100, "Scheduled", 1).state(161, "Running", 2)
    (event,) = told(world)
    assert (event["timestamp"], event["state"]) == (160_000, "Running")


def test_a_start_told_of_late_counts_from_its_log_time_so_that_it_can_be_met() -> None:
    """Running occurred at 100 but came at 105; only at 165 + grace is it silent, though its base is 100."""
    world = World().sla("NF").state(105, "Running", 1, at=100)
    assert seconds(told(world)) == [160]
    assert told(world, 167) == []
    assert seconds(told(world, 167.001)) == [160]


def test_what_has_fired_stays_fired_when_a_late_version_shows_that_all_was_well() -> None:
    world = World().sla("NF").state(100, "Running", 1).state(300, "Success", 2, at=299)
    world.state(301, "Failed", 3, at=150)
    assert seconds(told(world)) == [160]


def test_a_late_version_moves_the_base_of_an_attempt_that_has_not_fired() -> None:
    world = World().sla("NF").state(120, "Running", 2).state(125, "Running", 1, at=118).state(400, "Success", 3)
    assert seconds(told(world)) == [178]


def test_a_late_version_does_not_make_an_attempt_fire_twice() -> None:
    world = World().sla("NF").state(120, "Running", 2).state(400, "Running", 1, at=118).state(500, "Success", 3)
    assert seconds(told(world)) == [180]


def test_the_event_shows_the_runs_highest_version_though_a_late_one_proves_the_miss() -> None:
    world = World().sla("NF").state(100, "Running", 1).state(101, "Baking", 5).state(161, "Success", 2)
    (event,) = told(world)
    assert event["state"] == "Baking"


def test_a_longer_and_a_shorter_sla_on_one_run_fire_each_at_its_own_time() -> None:
    world = World().sla("NF", seconds=60, name="short").sla("NF", seconds=120, name="long").state(100, "Running", 1)
    assert [(e["automation_id"], e["timestamp"]) for e in told(world)] == [("short", 160_000), ("long", 220_000)]


def test_an_sla_on_flow_groups_watches_only_their_runs() -> None:
    world = (
        World()
        .sla("NF", groups=["g", "g"])
        .state(100, "Running", 1, run="in")
        .state(100, "Running", 1, run="out", group="h")
    )
    assert [event["flow_run_id"] for event in told(world)] == ["in"]


def test_an_sla_on_no_flow_groups_yet_watches_none() -> None:
    world = World().sla("NF", groups=[]).state(100, "Running", 1)
    assert told(world) == []


def test_links_lead_to_the_ui_where_its_address_is_set() -> None:
    world = World().on_failed().state(10, "Failed", 1)
    (event,) = told(world)
    assert event["flow_link"] is event["flow_run_link"] is None
    world.rules = world.rules._replace(ui_base_url="https://ui.example/")
    (event,) = told(world)
    assert event["flow_link"] == "https://ui.example/t-slug/flow/flow"
    assert event["flow_run_link"] == "https://ui.example/t-slug/flow-run/r"


# How long runs are kept


def test_an_unfinished_run_is_dropped_and_counted_30_days_after_its_last_record_and_schedule_time() -> None:
    world = World(partitions=1).sla("NF", seconds=31 * DAY)
    world.state(100, "Running", 1, run="gone").state(100, "Scheduled", 1, run="kept", scheduled=2 * DAY)
    assert told(world, 40 * DAY) == []
    play = Play(world)
    process = play.driver.start()
    play.until(30 * DAY + 4_000).work(process)
    (runs,) = runs_of(process)
    assert (runs.counts.dropped_runs, runs.active_runs) == (1, 1)
    play.until(32 * DAY + 4_000).work(process)
    assert (runs.counts.dropped_runs, runs.active_runs, runs.armed_timers) == (2, 0, 0)
    assert process.partitions[FLOW_RUN_STATE, 0].store.data == {}


def test_a_duplicate_of_a_finished_run_is_known_as_one_as_long_as_it_can_come() -> None:
    world = World().on_failed().state(100, "Failed", 1).state(100 + 3 * DAY, "Failed", 1, at=100 + 2 * DAY)
    assert len(told(world, 4 * DAY)) == 1


def test_a_version_told_of_anew_after_the_run_was_forgotten_is_a_first_one() -> None:
    """A true duplicate can't come so late; what comes has a time of its own, and is news."""
    world = World().on_failed().state(100, "Failed", 1).state(100 + 3 * DAY + 0.001, "Failed", 1)
    first, second = told(world, 4 * DAY)
    assert first["id"] == second["id"]
    assert (first["timestamp"], second["timestamp"]) == (100_000, (100 + 3 * DAY) * 1000 + 1)


def test_finished_runs_are_forgotten_without_being_counted_as_dropped() -> None:
    play = Play(World(partitions=1).state(100, "Failed", 1))
    process = play.driver.start()
    play.until(3 * DAY + 4_000).work(process)
    (runs,) = runs_of(process)
    assert runs.counts.dropped_runs == 0
    assert process.partitions[FLOW_RUN_STATE, 0].store.data == {}


# Size and time


def test_three_days_of_a_run_play_in_milliseconds() -> None:
    world = World().sla("NF", seconds=2 * DAY).state(100, "Running", 1).state(3 * DAY, "Success", 2)
    began = time.perf_counter()
    assert seconds(told(world, 3 * DAY + 10)) == [100 + 2 * DAY]
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_herd_of_deadlines_in_one_second_fires_in_slices_each_once(count: int) -> None:
    """All runs start within a second and none of them ends; commits and an abort fall in between."""
    play = Play(World(partitions=1).sla("NF").state(200, "Baking", 1, run="last"))
    driver = play.driver
    play.until(0)
    sample = World(partitions=1).state(100, "Running", 1, run="r" * 6)
    record = Play(sample)
    record.until(100)
    template = record.driver.logs[FLOW_RUN_STATE, 0].records[0].value
    assert template is not None
    for n in range(count):
        driver.clock_ms = 100_000 + n * 1_000 // count
        run = f"{n:06}".encode()
        driver.append((FLOW_RUN_STATE, 0), run, template.replace(b"r" * 6, run))
    process = driver.start()
    partition = process.partitions[FLOW_RUN_STATE, 0]
    play.until(150).work(process)
    assert play.events == []
    play.until(200)
    driver.clock_ms = 200_001
    slices, most = 0, 0
    partition.offer(driver.logs[FLOW_RUN_STATE, 0].records[-1])
    while not partition.work(driver.clock_ms, driver.clock_ms):
        slices += 1
        most = max(most, len(partition.logic.out))
        if slices == 4:
            process.abort()
            partition.offer(driver.logs[FLOW_RUN_STATE, 0].records[-1])
        elif slices % 3 == 0:
            process.commit()
    process.commit()
    fired = [output.key for output in driver.committed if output.topic == "automation-events"]
    assert len(fired) == len(set(fired)) == count
    assert slices >= count // 1_000
    assert most <= 4_000
