"""Restarts: what users may rely on when processes crash, lag, start for the first time, or lose their place."""

from __future__ import annotations

import pytest

from streams.errors import StateError
from streams.testing import Process
from tests.oracle.oracle import expected_events
from tests.scenarios.world import Play, World, seconds, told
from topology.names import AGENT_HEARTBEAT, FLOW_RUN_STATE

RUNS, AGENTS = (FLOW_RUN_STATE, 0), (AGENT_HEARTBEAT, 0)


def fails(count: int) -> World:
    """Runs that each fail once a second from 10 on."""
    world = World(partitions=1).on_failed()
    for n in range(count):
        world.state(10 + n, "Failed", n + 1)
    return world


# Crashes and aborts


def test_what_a_crashed_process_had_not_committed_comes_once_from_its_successor() -> None:
    play = Play(fails(5)).until(0)
    first = play.driver.start()
    play.until(12.5)
    first.poll()
    first.commit()
    play.until(30)
    first.poll()
    assert seconds(play.work(play.driver.start()).events) == [10, 11, 12, 13, 14]


def test_an_aborted_transaction_is_done_again_not_twice() -> None:
    play = Play(fails(3).sla("NF").state(20, "Running", 9)).until(0)
    process = play.driver.start()
    play.until(100)
    for _ in range(3):
        process.poll()
        process.abort()
    assert seconds(play.work(process).events) == [10, 11, 12, 80]


def test_a_deadline_fired_between_two_commits_is_not_fired_again_by_an_abort_after_the_second() -> None:
    """Firing alone, without a record read, is kept with its position too."""
    play = Play(World(partitions=1).sla("NF").state(100, "Running", 1)).until(0)
    process = play.driver.start()
    play.until(101).work(process)
    play.until(200).work(process)
    assert seconds(play.events) == [160]
    process.poll()
    process.abort()
    play.until(300).work(process)
    assert seconds(play.events) == [160]
    assert seconds(play.until(301).work(play.driver.start()).events) == [160]


def test_records_applied_while_a_later_one_waits_for_the_control_topic_are_committed_with_their_place() -> None:
    """Otherwise a successor reads them again, with what the first one fired and forgot meanwhile."""
    play = Play(World(partitions=1).agents().beat(1_000).beat(9_000).control(500, "automation", "AGENTS")).until(0)
    process = play.driver.start()
    play.until(8_000)
    process.poll()
    play.until(9_000)
    process.poll()
    process.commit()
    partition = process.partitions[AGENTS]
    assert (partition.offset, partition.progress_ms) == (1, 8_000_000)
    assert play.driver.logs[AGENTS].committed == 1
    assert seconds(play.until(9_500).work(play.driver.start()).events) == [300]


def test_progress_counts_for_records_applied_before_one_that_waits_for_the_control_topic() -> None:
    """Two records are read at once; the second is newer than what is known of the automations."""
    world = World(partitions=1).agents().control(400, "automation", "AGENTS").beat(5_000).beat(9_000)
    play = Play(world).until(0)
    process = play.driver.start()
    play.until(9_000)
    process.poll()
    process.commit()
    partition = process.partitions[AGENTS]
    assert (partition.offset, partition.progress_ms) == (1, 5_000_000)
    assert seconds(play.events) == [300]
    second = play.driver.start()
    assert second.partitions[AGENTS].progress_ms == 5_000_000
    play.until(9_001).work(second)
    assert seconds(play.events) == [300]


def test_a_rebalance_takes_state_deadlines_and_place_along() -> None:
    world = World(partitions=1).on_failed().sla("NF").agents()
    play = Play(world.state(10, "Failed", 1).state(100, "Running", 2).beat(120).state(400, "Success", 3)).until(0)
    one, two = play.driver.start(), play.driver.start([])
    for at in (11, 101, 121, 200, 300, 421, 500):
        play.until(at).work(one)
        for place in list(one.partitions):
            del one.partitions[place]
            two.own(place)
        one, two = two, one
    assert seconds(play.events) == [10, 160, 420]


def test_downtime_over_a_deadline_fires_it_once_afterwards() -> None:
    play = Play(World(partitions=1).sla("NF").state(100, "Running", 1).state(5_000, "Success", 2)).until(0)
    play.until(101).work(play.driver.start())
    (event,) = play.until(9_999).work(play.driver.start()).events
    assert (event["timestamp"], event["state"]) == (160_000, "Running")


def test_downtime_over_a_run_that_ended_in_time_fires_nothing() -> None:
    play = Play(World(partitions=1).sla("NF").state(100, "Running", 1).state(150, "Success", 2)).until(0)
    play.until(101).work(play.driver.start())
    assert play.until(9_999).work(play.driver.start()).events == []


def test_days_of_downtime_with_runs_that_live_meanwhile_change_no_event() -> None:
    """Three processes, each away for ten to a thousand times the SLAs' durations; what falls between is told once."""
    world = World(partitions=2).on_failed().sla("NF").sla("NS", groups=["g"]).agents(after=90)
    for n in range(0, 200_000, 500):
        run, late = f"run-{n}", n % 1_500 == 0
        world.state(n, "Scheduled", 1, run=run, scheduled=n).state(
            n + (70 if n % 2_000 == 0 else 5), "Running", 2, run=run
        )
        if n % 3_500:
            world.state(n + (200 if late else 50), "Failed" if n % 1_000 else "Success", 3, run=run)
        if not 50_000 < n < 90_000:
            world.beat(n).beat(n + 60)
    history = world.history(201_000)
    play = Play(world).until(0)
    for at in (0, 30, 1_000, 11_000, 100_000, 100_030, 201_000):
        play.until(at).work(play.driver.start())
    assert play.events == expected_events(history, world.rules)
    assert {event["event_name"] for event in play.events} == {
        "FlowRunStateChangedEvent", "FlowSLAFailedEvent", "AgentSLAFailedEvent"
    }  # fmt: skip


# The first start


def test_a_first_start_judges_as_if_no_automation_had_been_in_force_before() -> None:
    world = World(first_start=130).on_failed().sla("NF").state(10, "Failed", 1).state(50, "Running", 1, run="old")
    world.state(100, "Running", 1, run="young").state(140, "Failed", 2)
    assert [(e["flow_run_id"], e["timestamp"]) for e in told(world)] == [("r", 140_000), ("young", 160_000)]


def test_a_first_start_from_the_beginning_judges_by_the_automations_as_they_were() -> None:
    world = World(first_start=None).on_failed().sla("NF").state(10, "Failed", 1).state(50, "Running", 1, run="old")
    assert seconds(told(world)) == [10, 110]


def test_agents_are_watched_from_the_first_start_on() -> None:
    world = World(first_start=1_000).agents().beat(10)
    assert seconds(told(world, 2_000)) == [1_300]


def test_a_restart_is_not_another_first_start() -> None:
    play = Play(World(partitions=1, first_start=50).on_failed().state(60, "Failed", 1)).until(50)
    play.work(play.driver.start())
    assert seconds(play.until(500).work(play.driver.start()).events) == [60]


# A lost place


def lose_changelog(play: Play) -> None:
    for log in play.driver.logs.values():
        log.changelog.clear()


def lose_offsets(play: Play) -> None:
    for log in play.driver.logs.values():
        log.committed = None


def reset_offsets(play: Play) -> None:
    play.driver.logs[RUNS].committed = 0


def cut_log(play: Play) -> None:
    """The topic was made anew, with less in it than was read."""
    play.driver.logs[RUNS].records.clear()


@pytest.mark.parametrize(
    ("lose", "named"),
    [
        (lose_changelog, "changelog is empty"),
        (lose_offsets, "no committed offset"),
        (reset_offsets, "not written together"),
        (cut_log, "beyond the log's end"),
    ],
)
def test_state_that_does_not_fit_its_input_ends_the_process_naming_the_gap(lose: object, named: str) -> None:
    play = Play(fails(3)).until(0)
    play.until(20).work(play.driver.start())
    assert callable(lose)
    lose(play)
    with pytest.raises(StateError, match=named) as error:
        play.driver.start()
    assert "flow-run-state [0]" in str(error.value)


def gap(play: Play, at: float) -> Process:
    """What was read up to ``at`` is committed; then offsets are lost, and a new process accepts the gap."""
    play.until(at).work(play.driver.start())
    lose_offsets(play)
    play.driver.accept_gap = True
    return play.driver.start()


def test_after_an_accepted_gap_older_attempts_fire_by_proof_only() -> None:
    world = World(partitions=1).sla("NF").state(100, "Running", 1, run="silent").state(100, "Running", 1, run="proved")
    world.state(130, "Running", 1, run="q").state(200, "Success", 2, run="proved").state(210, "Running", 1, run="young")
    play = Play(world).until(0)
    process = gap(play, 140)
    play.until(400).work(process)
    assert [(e["flow_run_id"], e["timestamp"]) for e in play.events] == [("proved", 160_000), ("young", 270_000)]


def test_after_an_accepted_gap_work_goes_on_where_the_changelog_stands() -> None:
    play = Play(fails(5)).until(0)
    process = gap(play, 12.5)
    assert seconds(play.until(30).work(process).events) == [10, 11, 12, 13, 14]


def test_after_an_accepted_gap_agents_are_watched_as_from_a_first_start() -> None:
    play = Play(World(partitions=1).agents().beat(10)).until(0)
    process = gap(play, 200)
    play.until(201).work(process)
    play.until(1_000).work(process)
    assert seconds(play.events) == [501]


def test_a_restart_after_an_accepted_gap_remembers_it() -> None:
    play = Play(World(partitions=1).sla("NF").state(100, "Running", 1).state(250, "Running", 1, run="q")).until(0)
    gap(play, 140)
    play.driver.accept_gap = False
    assert [event["flow_run_id"] for event in play.until(900).work(play.driver.start()).events] == ["q"]
