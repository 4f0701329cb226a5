"""Automations: what users may rely on when they make, change, disable, refer, and share a cluster."""

from __future__ import annotations

import json

from tests.scenarios.world import Play, World, seconds, told


def test_an_automation_counts_from_its_log_time_on_and_no_longer_at_the_instant_it_ends() -> None:
    world = World().on_failed(10).on_failed(20, enabled=False)
    world.state(9.999, "Failed", 1).state(10, "Failed", 2).state(19.999, "Failed", 3).state(20, "Failed", 4)
    assert seconds(told(world)) == [10, 19.999]


def test_a_deleted_automation_fires_no_more() -> None:
    world = World().on_failed().control(20, "automation", "FAIL").state(10, "Failed", 1).state(30, "Failed", 2)
    assert seconds(told(world)) == [10]


def test_of_several_records_at_one_instant_the_last_counts() -> None:
    world = World().on_failed(10, enabled=False).on_failed(10).on_failed(10, states=["Success"])
    world.state(20, "Failed", 1).state(21, "Success", 2)
    assert seconds(told(world)) == [21]


def test_a_deadline_disabled_over_is_gone_and_stays_gone() -> None:
    world = World().sla("NF").sla("NF", 159, enabled=False).sla("NF", 161).state(100, "Running", 1)
    assert told(world) == []


def test_disabled_and_enabled_before_the_deadline_it_still_fires() -> None:
    world = World().sla("NF").sla("NF", 120, enabled=False).sla("NF", 160).state(100, "Running", 1)
    assert seconds(told(world)) == [160]


def test_disabled_after_the_deadline_but_within_grace_it_still_fires() -> None:
    world = World().sla("NF").sla("NF", 160.001, enabled=False).state(100, "Running", 1)
    assert seconds(told(world)) == [160]


def test_a_miss_by_proof_is_judged_at_the_deadline_if_that_comes_first() -> None:
    world = World().sla("NF").sla("NF", 160.5, enabled=False).state(100, "Running", 1).state(161, "Success", 2)
    assert seconds(told(world)) == [160]


def test_a_miss_by_proof_is_judged_at_the_proving_record_if_that_comes_first() -> None:
    """The clock of who ends the run is ahead, so that the proof comes before the deadline."""
    world = World().sla("NF").sla("NF", 158, enabled=False).state(100, "Running", 1).state(157, "Success", 2, at=161)
    assert seconds(told(world)) == [160]
    world = World().sla("NF").sla("NF", 156, enabled=False).state(100, "Running", 1).state(157, "Success", 2, at=161)
    assert told(world) == []


def test_a_config_made_longer_moves_deadlines_not_yet_passed() -> None:
    world = World().sla("NF").sla_config("NF", 150, 120).state(100, "Running", 1)
    (event,) = told(world)
    assert (event["timestamp"], event["duration_seconds"]) == (220_000, 120)


def test_a_config_made_shorter_than_a_runs_age_does_not_fire_for_that_run() -> None:
    world = World().sla("NF", seconds=600).sla_config("NF", 200, 60).state(100, "Running", 1)
    assert told(world) == []


def test_a_reference_to_a_missing_config_waits_until_that_is_there() -> None:
    world = World().sla("NF").control(1, "flow_sla_config", "NF-sla")
    world.state(100, "Running", 1, run="before").sla_config("NF", 200).state(300, "Running", 1, run="after")
    assert [(e["flow_run_id"], e["timestamp"]) for e in told(world)] == [("after", 360_000)]


def test_a_config_deleted_takes_its_automation_out_of_force() -> None:
    world = World().sla("NF").control(150, "flow_sla_config", "NF-sla").state(100, "Running", 1)
    assert told(world) == []


def test_a_reference_to_another_tenants_config_is_as_if_it_were_missing() -> None:
    world = World().sla("NF").sla_config("NF", 1, tenant_id="u").state(100, "Running", 1)
    assert told(world) == []
    assert seconds(told(world.sla_config("NF", 150))) == [160]


def test_a_reference_to_another_tenants_agent_config_keeps_the_automation_out_of_force() -> None:
    world = World().agents().control(1, "agent_config", "c", tenant_id="u", name="theirs")
    assert told(world) == []


def test_actions_are_those_of_the_instant_judged_in_the_automations_order_each_once() -> None:
    world = World().action(0, "a", "first").action(0, "b", "second", delivery={"max_attempts": 3})
    world.on_failed(0, action_ids=["b", "a", "b"]).state(10, "Failed", 1)
    world.action(20, "a", "renamed").state(30, "Failed", 2).on_failed(40, action_ids=["a"]).state(50, "Failed", 3)
    shown = [[action["name"] for action in event["actions"]] for event in told(world)]
    assert shown == [["second", "first"], ["second", "renamed"], ["renamed"]]
    assert told(world)[0]["actions"][0]["delivery"] == {"max_attempts": 3}


def test_a_deadlines_actions_and_name_are_those_as_of_the_deadline() -> None:
    world = World().sla("NF", action_ids=["a"]).action(0, "a", "then").state(100, "Running", 1)
    world.action(160.001, "a", "later").sla("NF", 160.001, action_ids=[])
    (event,) = told(world)
    assert [action["name"] for action in event["actions"]] == ["then"]


def test_a_missing_action_is_left_out_and_so_is_one_of_another_tenant() -> None:
    world = World().on_failed(0, action_ids=["gone", "theirs", "mine"]).action(0, "mine", "mine")
    world.action(0, "theirs", "theirs", tenant_id="u").state(10, "Failed", 1).action(11, "gone", "gone")
    (event,) = told(world)
    assert [action["id"] for action in event["actions"]] == ["mine"]


def test_an_automation_without_actions_still_makes_its_events() -> None:
    world = World().on_failed().state(10, "Failed", 1)
    assert told(world)[0]["actions"] == []


def test_secrets_are_in_events_by_name_only() -> None:
    world = World().on_failed(0, action_ids=["s"]).state(10, "Failed", 1)
    world.action(0, "s", "page", action_type="SlackNotificationAction", config={"webhook_url_secret": "SLACK"})
    (event,) = told(world)
    assert event["actions"][0]["config"]["webhook_url_secret"] == "SLACK"


def test_an_invalid_record_is_skipped_and_the_valid_one_before_it_stays() -> None:
    world = World().on_failed().on_failed(5, states=[]).state(10, "Failed", 1)
    assert seconds(told(world)) == [10]
    process = Play(world).until(20).driver.start()
    (problem,) = process.app.invalid_controls.values()  # type: ignore[attr-defined]
    assert problem.key == "automation:FAIL"
    assert "states" in problem.problem


def test_a_limit_longer_than_agents_are_remembered_is_invalid() -> None:
    assert len(told(World().agents(after=86_400), 90_000)) == 1
    assert told(World().agents(after=86_401), 90_000) == []


def test_control_records_that_are_not_even_json_stop_nobody() -> None:
    world = World().on_failed().state(10, "Failed", 1)
    play = Play(world).until(5)
    for key, value in ((b"", b"{}"), (b"\xff", b"\xff"), (b"automation:x", b"[1"), (b"what:ever", b"{}"),
                       (b"automation:y", json.dumps({"id": "z"}).encode())):  # fmt: skip
        play.driver.append_control(key, value)
    process = play.until(20).driver.start()
    assert seconds(play.work(process).events) == [10]


def test_no_automation_matches_another_tenants_records() -> None:
    world = World().on_failed().sla("NF").state(10, "Failed", 1, tenant="u").state(20, "Running", 2, tenant="u")
    assert told(world) == []


def test_tenants_with_the_same_ids_have_runs_automations_and_events_of_their_own() -> None:
    world = World().on_failed(0, "mine").on_failed(0, "theirs", tenant_id="u")
    world.state(10, "Failed", 1).state(11, "Failed", 1, tenant="u").state(12, "Failed", 1, tenant="u")
    events = told(world)
    assert [(e["tenant_id"], e["automation_id"], e["timestamp"]) for e in events] == [
        ("t", "mine", 10_000), ("u", "theirs", 11_000),
    ]  # fmt: skip
    assert len({event["id"] for event in events}) == 2


def test_a_state_change_on_flow_groups_fires_for_their_runs_only() -> None:
    world = World().on_failed(0, flow_group_ids=["g", "h", "g"])
    for group in "ghi":
        world.state(10, "Failed", 1, run=group, group=group)
    assert sorted(event["flow_group_id"] for event in told(world)) == ["g", "h"]


def test_a_state_named_twice_fires_once() -> None:
    world = World().on_failed(0, states=["Failed", "FAILED"]).state(10, "Failed", 1)
    assert seconds(told(world)) == [10]


def test_an_automation_that_becomes_another_kind_leaves_nothing_of_the_old_one() -> None:
    world = World().sla("NF", name="x").on_failed(150, "x").state(100, "Running", 1).state(170, "Failed", 2)
    assert [(e["event_name"], e["timestamp"]) for e in told(world)] == [("FlowRunStateChangedEvent", 170_000)]


def test_what_fired_stays_fired_when_the_automation_changes_afterwards() -> None:
    world = World().sla("NF").state(100, "Running", 1).sla("NF", 200, 300)
    assert seconds(told(world)) == [160]
