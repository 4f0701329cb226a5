"""Agents: what users may rely on when agents come, stop, fall silent and come back."""

from __future__ import annotations

import uuid

from consumer.agents import Agents
from streams.testing import Process
from tests.scenarios.world import Play, World, seconds, told

HOUR, DAY = 3_600, 86_400


def agents_of(process: Process) -> list[Agents]:
    return [p.logic for p in process.partitions.values() if isinstance(p.logic, Agents)]


def test_the_event_names_the_fall_and_who_was_healthy_then_and_who_was_not() -> None:
    world = World().agents(minimum=2, action_ids=["page"]).action(0, "page", "page")
    world.beat(200, "a").beat(210, "b").beat(300, "b")
    (event,) = told(world, 505)
    assert event["timestamp"] == 500_000
    assert event["id"] == str(uuid.uuid5(uuid.NAMESPACE_URL, "automations:t/AGENTS/c/500000"))
    assert (event["healthy_agent_ids"], event["unhealthy_agent_ids"]) == (["b"], ["a"])
    assert (event["agent_config_id"], event["sla_min_healthy"]) == ("c", 2)
    assert event["message"].endswith("are unhealthy: a")
    assert [action["name"] for action in event["actions"]] == ["page"]
    assert event["flow_run_id"] is event["state"] is event["flow_link"] is None


def test_a_config_without_any_agent_fires_once_the_automation_is_old_enough() -> None:
    world = World().agents(50, after=100)
    (event,) = told(world)
    assert event["timestamp"] == 150_000
    assert event["healthy_agent_ids"] == event["unhealthy_agent_ids"] == []


def test_a_fall_fires_only_once_progress_has_passed_it_and_grace() -> None:
    assert told(World().agents(), 302) == []
    assert seconds(told(World().agents(), 302.001)) == [300]


def test_a_fall_is_not_fired_again_while_it_lasts() -> None:
    world = World().agents(minimum=2).beat(10, "a").beat(400, "a").beat(800, "a")
    assert seconds(told(world, 5_000)) == [300]


def test_only_a_heartbeat_that_restores_the_number_lets_it_fire_again() -> None:
    world = World().agents(minimum=2).beat(400, "a").beat(500, "b")
    assert seconds(told(world, 5_000)) == [300, 700]


def test_a_heartbeat_within_grace_of_the_fall_prevents_it() -> None:
    world = World().agents(after=300).beat(100).beat(402)
    assert seconds(told(world, 600)) == []
    world = World().agents(after=300).beat(100).beat(402.001)
    assert seconds(told(world, 600)) == [400]


def test_a_heartbeat_exactly_when_the_last_one_runs_out_leaves_no_gap() -> None:
    world = World().agents(after=300).beat(100).beat(400).beat(700)
    assert told(world, 999) == []


def test_a_repeated_heartbeat_changes_nothing_within_an_hour_of_its_last_reading() -> None:
    """A producer's retries: each repeat hides the next one for an hour more."""
    world = World().agents(after=HOUR).beat(10, at=10).beat(HOUR, at=10).beat(HOUR + 1_800, at=10)
    assert seconds(told(world, 3 * HOUR)) == [HOUR + 10]
    play = Play(world)
    process = play.driver.start()
    play.until(2 * HOUR).work(process)
    assert sum(agents.counts.duplicates for agents in agents_of(process)) == 2


def test_a_timestamp_read_more_than_an_hour_ago_counts_as_a_new_heartbeat() -> None:
    world = World().agents(after=HOUR + 10).beat(10, at=10).beat(HOUR + 11, at=10)
    assert seconds(told(world, 3 * HOUR)) == [2 * HOUR + 21]


def test_the_same_timestamp_of_another_agent_is_no_repeat() -> None:
    world = World().agents(minimum=2).beat(10, "a", at=10).beat(20, "b", at=10)
    assert seconds(told(world, 400)) == [310]


def test_an_agent_counts_from_its_log_time_whatever_its_clock_says() -> None:
    world = World().agents().beat(10, at=100_000).beat(300, at=200)
    assert seconds(told(world, 1_000)) == [600]


def test_an_agent_that_stops_on_purpose_stays_healthy_for_a_while_and_is_never_listed() -> None:
    world = World().agents().beat(10, "a").beat(100, "a", status="STOPPED").beat(20, "b")
    (event,) = told(world)
    assert event["timestamp"] == 400_000
    assert event["unhealthy_agent_ids"] == ["b"]


def test_an_agent_that_stopped_and_comes_back_is_as_any_other() -> None:
    world = World().agents().beat(10, status="STOPPED").beat(200)
    (event,) = told(world)
    assert (event["timestamp"], event["unhealthy_agent_ids"]) == (500_000, ["a"])


def test_an_agent_silent_for_a_day_is_no_longer_listed() -> None:
    world = World().agents().beat(0, "old").beat(100, "new").beat(DAY - 350, "new")
    first, second = told(world, 2 * DAY)
    assert (first["timestamp"], first["unhealthy_agent_ids"]) == (400_000, ["new", "old"])
    assert second["timestamp"] == (DAY - 50) * 1000
    assert second["unhealthy_agent_ids"] == ["new", "old"]
    world.beat(DAY + 100, "new")
    assert told(world, 2 * DAY)[-1]["unhealthy_agent_ids"] == ["new"]


def test_what_is_kept_of_agents_is_forgotten_in_the_end() -> None:
    play = Play(World(partitions=1).agents().beat(10).agents(enabled=False, log=1_000))
    process = play.driver.start()
    play.until(900).work(process)
    partition = process.partitions["agent-heartbeat", 0]
    assert len(partition.store.data) == 2
    play.until(2 * DAY).work(process)
    assert partition.store.data == {}
    assert seconds(play.events) == [310]


def test_an_automation_starts_as_recovered_and_is_judged_a_while_after_it_came_into_force() -> None:
    world = World().beat(10).agents(1_000, after=300)
    assert seconds(told(world, 5_000)) == [1_300]


def test_a_rename_neither_ends_a_fall_nor_begins_a_new_wait() -> None:
    world = World().agents().beat(10).agents(305, action_ids=["x"]).agents(400, action_ids=["y"])
    assert seconds(told(world, 5_000)) == [310]


def test_the_config_written_again_as_it_was_changes_nothing() -> None:
    world = World().agents().control(200, "agent_config", "c", name="another name")
    assert seconds(told(world, 1_000)) == [300]


def test_disabled_over_the_fall_it_does_not_fire_and_enabled_again_it_waits_anew() -> None:
    world = World().agents().beat(10).agents(300, enabled=False).agents(320)
    assert seconds(told(world, 1_000)) == [620]


def test_deleted_after_the_fall_but_within_grace_it_still_fires() -> None:
    """The fall is judged by the automations in force at its instant, whenever that becomes known."""
    world = World().agents().beat(10).control(311, "automation", "AGENTS")
    assert seconds(told(world, 1_000)) == [310]


def test_each_automation_on_a_config_falls_for_itself() -> None:
    world = World().agents(name="one", after=100).agents(name="two", minimum=2, after=200).beat(50, "a").beat(60, "b")
    assert [(e["automation_id"], e["timestamp"]) for e in told(world)] == [("one", 160_000), ("two", 250_000)]


def test_agents_of_another_tenant_or_config_do_not_help() -> None:
    world = World().agents().beat(200, tenant="u").beat(200, config="d")
    (event,) = told(world)
    assert (event["timestamp"], event["healthy_agent_ids"]) == (300_000, [])


def test_heartbeats_from_long_ago_are_dead_lettered_and_count_for_nothing() -> None:
    world = World(partitions=1).agents(3 * DAY).beat(3 * DAY + 10, at=DAY)
    (event,) = told(world, 4 * DAY)
    assert event["timestamp"] == (3 * DAY + 300) * 1000
    assert event["unhealthy_agent_ids"] == []


def test_an_outage_of_the_consumer_is_no_outage_of_the_agents() -> None:
    world = World().agents(minimum=1)
    for at in range(0, 900, 30):
        world.beat(at)
    assert told(world, 901) == []


def test_a_heartbeat_repeated_for_days_never_revives_the_agent_that_sent_it() -> None:
    """A backend that goes on publishing an agent's last query says nothing new of it, however long it does."""
    world = World().agents(after=300)
    for minutes in range(0, 30 * 60, 30):
        world.beat(10 + minutes * 60, "a", at=10)
    assert seconds(told(world, 31 * HOUR)) == [310]


def test_a_fall_from_before_the_first_control_record_that_is_left_fires_once_all_the_same() -> None:
    """Compaction took the record that began the automation, and left a later one that says the same."""
    world = World().agents(0, minimum=2).agents(600, minimum=2)
    world.beat(200, "a").beat(200, "b").beat(501, "a")
    play = Play(world)
    play.until(501.5).work(play.driver.start())
    assert play.events == []
    for index, record in enumerate(play.driver.control.records):
        play.driver.control.records[index] = record._replace(key=b"agent_config:compacted")
    play.until(700).work(play.driver.start())
    assert seconds(play.events) == [500]
    play.until(800).work(play.driver.start())
    assert seconds(play.events) == [500]
