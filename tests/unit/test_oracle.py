"""The oracle, checked by hand: small timelines, one for each sentence of the contract's section 4 on events.

All times are seconds; an expectation is what one works out with pencil and paper. `s(100)` is 100 s in ms.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from tests.oracle.oracle import Appended, Control, History, Rules, expected_events

HOUR, DAY = 3_600, 86_400
END = 2 * HOUR
ALWAYS = 0


def s(seconds: float) -> int:
    return int(seconds * 1000)


def state(
    log: float,
    version: int,
    name: str,
    *,
    at: float | None = None,
    scheduled: float | None = None,
    run: str = "r",
    tenant: str = "t",
    group: str = "g",
    message: str | None = None,
) -> Appended:
    """A state appended at `log`, with the timestamp `at` (the same unless told)."""
    return Appended(
        s(log),
        {
            "tenant_id": tenant,
            "tenant_slug": f"{tenant}-slug",
            "flow_id": "f",
            "flow_name": "etl",
            "flow_group_id": group,
            "flow_run_id": run,
            "flow_run_name": "lark",
            "version": version,
            "state": name,
            "state_message": message,
            "timestamp": s(log if at is None else at),
            "scheduled_start_time": None if scheduled is None else s(scheduled),
            "agent_id": None,
        },
    )


def beat(
    log: float, agent: str = "a", *, at: float | None = None, status: str = "ACTIVE", tenant: str = "t"
) -> Appended:
    return Appended(
        s(log),
        {
            "tenant_id": tenant,
            "tenant_slug": f"{tenant}-slug",
            "agent_config_id": "c",
            "agent_id": agent,
            "agent_name": None,
            "timestamp": s(log if at is None else at),
            "status": status,
        },
    )


def automation(at: float, event_type: str, *, id: str = "x", tenant: str = "t", **fields: Any) -> Control:
    value = {
        "id": id,
        "tenant_id": tenant,
        "tenant_slug": f"{tenant}-slug",
        "name": f"name of {id}",
        "enabled": True,
        "event_type": event_type,
        "action_ids": [],
        "created": "2024-01-01T00:00:00Z",
        "updated": "2024-01-01T00:00:00Z",
        "revision": 1,
    }
    return Control(s(at), f"automation:{id}", {**value, **fields})


def on_states(at: float, states: list[str], **fields: Any) -> Control:
    return automation(at, "FlowRunStateChangedEvent", states=states, **fields)


def on_flow_sla(at: float, **fields: Any) -> Control:
    return automation(at, "FlowSLAFailedEvent", **{"flow_sla_config_id": "sla", **fields})


def on_agents(at: float, *, least: int = 1, after: int = 60, **fields: Any) -> Control:
    return automation(
        at,
        "AgentSLAFailedEvent",
        **{"agent_config_id": "c", "sla_min_healthy": least, "unhealthy_after_seconds": after, **fields},
    )


def sla(at: float, kind: str, seconds: int, *, id: str = "sla", tenant: str = "t", groups: Any = None) -> Control:
    value = {
        "id": id,
        "tenant_id": tenant,
        "kind": kind,
        "duration_seconds": seconds,
        "flow_group_ids": groups,
    }
    return Control(s(at), f"flow_sla_config:{id}", value)


def not_started(at: float, seconds: int, **fields: Any) -> Control:
    return sla(at, "SCHEDULED_NOT_STARTED", seconds, **fields)


def not_finished(at: float, seconds: int, **fields: Any) -> Control:
    return sla(at, "STARTED_NOT_FINISHED", seconds, **fields)


def agent_config(at: float, *, tenant: str = "t", name: str | None = "prod") -> Control:
    return Control(s(at), "agent_config:c", {"id": "c", "tenant_id": tenant, "name": name})


def action(at: float, id: str, *, tenant: str = "t", **fields: Any) -> Control:
    value: dict[str, Any] = {"id": id, "tenant_id": tenant, "tenant_slug": "t-slug", "name": f"name of {id}"}
    value |= {"action_type": "WebhookAction", "config": {"url": "https://example.com"}}
    return Control(s(at), f"action:{id}", {**value, **fields})


def events(
    control: list[Control],
    states: list[Appended] | None = None,
    beats: list[Appended] | None = None,
    *,
    end: float = END,
    first_start: float | None = None,
    **rules: Any,
) -> list[dict[str, Any]]:
    control = sorted(control, key=lambda record: record.log_ms)
    start_ms = None if first_start is None else s(first_start)
    return expected_events(History(control, {0: states or []}, {0: beats or []}, s(end), start_ms), Rules(**rules))


def times(found: list[dict[str, Any]]) -> list[float]:
    return [event["timestamp"] / 1000 for event in found]


NOT_STARTED_60 = [not_started(ALWAYS, 60), on_flow_sla(ALWAYS)]
NOT_FINISHED_60 = [not_finished(ALWAYS, 60), on_flow_sla(ALWAYS)]
AGENTS_60 = [agent_config(ALWAYS), on_agents(ALWAYS)]


# ------------------------------------------------------------------------------------------- clocks, progress


def test_a_record_occurred_at_its_timestamp_within_the_tolerance() -> None:
    """A record occurred at its `timestamp` if that lies within 10 s of its log time (10 s itself
    included)."""
    late = [state(100, 1, "Running"), state(171, 2, "Success", at=161)]
    in_time = [state(100, 1, "Running"), state(170, 2, "Success", at=160)]
    assert times(events(NOT_FINISHED_60, late)) == [160]
    assert events(NOT_FINISHED_60, in_time) == []


def test_a_record_occurred_at_its_log_time_beyond_the_tolerance() -> None:
    """…else at its log time."""
    off, on = state(165, 2, "Success", at=154.999), state(165, 2, "Success", at=155)
    assert times(events(NOT_FINISHED_60, [state(100, 1, "Running", at=80), off])) == [160]
    assert events(NOT_FINISHED_60, [state(100, 1, "Running", at=80), on]) == []
    assert times(events(NOT_FINISHED_60, [state(100, 1, "Running", at=80)])) == [160]
    assert times(events(NOT_FINISHED_60, [state(100, 1, "Running", at=120)])) == [160]


def test_a_raised_tolerance_believes_late_flushes() -> None:
    """Where producers may flush late, raise it."""
    records = [state(100, 1, "Running", at=80)]
    assert times(events(NOT_FINISHED_60, records, clock_tolerance_ms=s(30))) == [140]


def test_a_record_older_than_late_ms_is_as_if_never_sent() -> None:
    """One with a `timestamp` more than `LATE_MS` (48 h) before its log time is dead-lettered."""
    log = 100 + 48 * HOUR
    control = [on_states(ALWAYS, ["Failed"])]
    assert times(events(control, [state(log, 1, "Failed", at=100)], end=log)) == [100]
    assert events(control, [state(log, 1, "Failed", at=99.999)], end=log) == []


def test_what_is_due_before_a_records_log_time_fires_before_it() -> None:
    """Whatever is due before a record's log time fires before that record is applied."""
    found = events(NOT_FINISHED_60, [state(100, 1, "Running"), state(170.001, 2, "Success", at=170)])
    assert [(event["timestamp"], event["state"]) for event in found] == [(s(160), "Running")]


def test_nothing_fires_before_progress_has_passed() -> None:
    """…and progress has passed that: at deadline + grace itself it hasn't."""
    records = [state(100, 1, "Running")]
    assert events(NOT_FINISHED_60, records, end=170) == []
    assert times(events(NOT_FINISHED_60, records, end=170.001)) == [160]


# ------------------------------------------------------------------------------------------------ automations


def test_a_record_is_judged_by_the_automations_in_force_at_its_log_time() -> None:
    """A record is judged by the automations in force at its log time (from ≤ x < to)."""
    control = [on_states(100, ["Failed"]), Control(s(200), "automation:x", None)]
    records = [state(at, v, "Failed") for v, at in enumerate((99.999, 100, 199.999, 200), 1)]
    assert times(events(control, records)) == [100, 199.999]


def test_a_deadline_is_judged_by_those_in_force_at_the_deadline() -> None:
    """…a deadline by those in force at the deadline (from ≤ x < to)."""
    records = [state(100, 1, "Running")]
    off = Control(s(160), "automation:x", None)
    assert times(events([not_finished(0, 60), on_flow_sla(160)], records)) == [160]
    assert times(events([not_finished(0, 60), on_flow_sla(160.001)], records)) == []
    assert times(events([*NOT_FINISHED_60, off], records)) == []
    assert times(events([*NOT_FINISHED_60, off._replace(log_ms=s(160.001))], records)) == [160]


def test_a_miss_by_proof_is_judged_at_the_earlier_of_deadline_and_proof() -> None:
    """…a miss by proof by those in force at the earlier of the deadline and the proving record's log time."""
    early_proof = [state(110, 1, "Running", at=100), state(165, 2, "Success")]  # base 100, deadline 170
    made_between, made_before = (
        [not_finished(0, 60), on_flow_sla(166)],
        [not_finished(0, 60), on_flow_sla(165)],
    )
    assert events(made_between, early_proof) == []
    assert times(events(made_before, early_proof)) == [160]
    late_proof = [state(100, 1, "Running"), state(165, 2, "Success")]  # deadline 160
    assert events([not_finished(0, 60), on_flow_sla(161)], late_proof) == []
    assert times(events([*NOT_FINISHED_60, Control(s(161), "automation:x", None)], late_proof)) == [160]


def test_the_actions_are_those_at_the_judging_instant() -> None:
    """…the event's `actions` likewise, in the automation's order; a missing action, or another tenant's,
    is left out."""
    control = [
        action(0, "b"),
        action(0, "a", config={"url": "https://old.example"}, delivery={"max_attempts": 3}),
        action(0, "foreign", tenant="u"),
        on_states(0, ["Failed"], action_ids=["b", "a", "gone", "foreign", "b"]),
        action(100, "a", config={"url": "https://new.example"}),
    ]
    before, after = events(control, [state(99, 1, "Failed"), state(100, 2, "Failed")])
    url = {"url": "https://example.com"}
    b = {"id": "b", "name": "name of b", "action_type": "WebhookAction", "config": url, "delivery": None}
    old = {"config": {"url": "https://old.example"}, "delivery": {"max_attempts": 3}}
    assert before["actions"] == [b, {**b, "id": "a", "name": "name of a", **old}]
    assert after["actions"] == [
        b,
        {**b, "id": "a", "name": "name of a", "config": {"url": "https://new.example"}},
    ]


def test_a_deadlines_actions_and_name_are_those_at_the_deadline() -> None:
    """…the event's `actions` likewise: not those when it fires, 10 s later."""
    control = [
        action(0, "a"),
        *NOT_FINISHED_60,
        on_flow_sla(159, name="in time", action_ids=["a"]),
        on_flow_sla(161, name="too late"),
    ]
    (found,) = events(control, [state(100, 1, "Running")])
    assert (found["automation_name"], [a["id"] for a in found["actions"]]) == ("in time", ["a"])


def test_a_condition_includes_the_config_it_refers_to() -> None:
    """An automation's condition includes the config that it refers to."""
    records = [state(100, 1, "Running")]
    assert times(events([*NOT_FINISHED_60, not_finished(150, 300)], records)) == [400]
    assert times(events([*NOT_FINISHED_60, not_finished(150, 60, groups=["other"])], records)) == []
    assert times(events([*NOT_FINISHED_60, not_started(150, 60)], records)) == []


def test_a_rename_changes_nothing() -> None:
    """A rewrite with an equal condition (a rename) changes nothing: agents are judged from 60 s after the
    first."""
    control = [*AGENTS_60, on_agents(30, name="new"), agent_config(40, name="renamed")]
    (found,) = events(control)
    assert (found["timestamp"], found["automation_name"]) == (s(60), "new")
    assert times(events([*AGENTS_60, on_agents(30, least=2)])) == [90]


def test_made_enabled_or_shortened_past_the_deadline_never_fires() -> None:
    """An automation made, enabled or shortened when a run is already past its deadline never fires for it."""
    records = [state(100, 1, "Running"), state(500, 2, "Success")]
    config = not_finished(0, 60)
    assert events([config, on_flow_sla(161)], records) == []
    assert events([config, on_flow_sla(0, enabled=False), on_flow_sla(161)], records) == []
    assert events([not_finished(0, 1000), on_flow_sla(0), not_finished(161, 60)], records) == []


def test_a_longer_duration_moves_deadlines_not_yet_passed() -> None:
    """A longer duration moves deadlines not yet passed; what fired stays fired, once."""
    records = [state(100, 1, "Running")]
    assert times(events([*NOT_FINISHED_60, not_finished(160, 90)], records)) == [190]
    assert times(events([*NOT_FINISHED_60, not_finished(160.001, 90)], records)) == [160]


def test_a_shorter_duration_takes_deadlines_still_ahead() -> None:
    """A deadline is judged by those in force at the deadline: shortened in time, it is earlier."""
    control = [not_finished(0, 1000), on_flow_sla(0), not_finished(150, 60)]
    assert times(events(control, [state(100, 1, "Running")])) == [160]


def test_disabled_over_a_deadline_that_deadline_is_gone() -> None:
    """Disabled over a deadline, that deadline is gone."""
    control = [*NOT_FINISHED_60, on_flow_sla(150, enabled=False), on_flow_sla(170)]
    assert events(control, [state(100, 1, "Running"), state(300, 2, "Success")]) == []


def test_disabled_within_the_grace_it_fires_all_the_same() -> None:
    """A deadline is judged by those in force at the deadline, not when it fires."""
    control = [*NOT_FINISHED_60, on_flow_sla(165, enabled=False)]
    assert times(events(control, [state(100, 1, "Running")])) == [160]


def test_a_first_start_judges_as_if_nothing_had_been_in_force_before() -> None:
    """A group's first start learns from the inputs' beginning and judges as if no automation had been in
    force before that start."""
    control = [*NOT_FINISHED_60, on_states(0, ["Running"], id="y")]
    records = [state(100, 1, "Running", run="old"), state(150, 1, "Running", run="new")]
    assert [event["flow_run_id"] for event in events(control, records, first_start=210.001)] == []
    found = events(control, records, first_start=161)
    assert [(event["flow_run_id"], event["timestamp"]) for event in found] == [("new", s(210))]
    assert times(events(AGENTS_60, first_start=500)) == [560]


def test_of_several_control_records_at_one_log_time_the_last_counts() -> None:
    """In force means from ≤ x < to: what lies in between at one log time never was."""
    off = Control(s(150), "automation:x", None)
    records = [state(150, 1, "Failed")]
    assert times(events([on_states(0, ["Failed"]), off, on_states(150, ["Failed"])], records)) == [150]
    assert times(events([on_states(0, ["Failed"]), on_states(150, ["Failed"]), off], records)) == []
    restarted = [*AGENTS_60, off._replace(log_ms=s(30)), on_agents(30)]
    assert times(events(restarted)) == [60]


def test_an_invalid_control_record_is_skipped() -> None:
    """Invalid records never stop a process: skipped. An empty list of groups or states is invalid."""
    good = on_states(0, ["Failed"])
    records = [state(100, 1, "Failed")]
    for bad in (
        on_states(50, []),
        on_states(50, ["Success"], flow_group_ids=[]),
        on_states(50, ["Success"], enabled="yes"),
        automation(50, "Unheard"),
        good._replace(log_ms=s(50), value={}),
        good._replace(log_ms=s(50), value={**(good.value or {}), "id": "other", "states": ["Success"]}),
    ):
        assert times(events([good, bad], records)) == [100]
        assert events([bad], records) == []
    assert times(events([*NOT_FINISHED_60, not_finished(50, 0)], [state(100, 1, "Running")])) == [160]


def test_null_groups_are_all_flows_and_an_sla_configs_empty_list_is_none() -> None:
    """`flow_group_ids` null or absent means all of the tenant's flows; in a `flow_sla_config` an empty
    list means no flow yet."""
    failed = [state(100, 1, "Failed", group="g"), state(101, 1, "Failed", group="h", run="q")]
    assert times(events([on_states(0, ["Failed"], flow_group_ids=None)], failed)) == [100, 101]
    assert times(events([on_states(0, ["Failed"], flow_group_ids=["h", "h"])], failed)) == [101]
    running = [state(100, 1, "Running")]
    assert times(events([not_finished(0, 60, groups=["g"]), on_flow_sla(0)], running)) == [160]
    assert times(events([not_finished(0, 60, groups=[]), on_flow_sla(0)], running)) == []


def test_a_missing_config_keeps_an_automation_out_of_force() -> None:
    """A reference to a missing config keeps an automation out of force until it is there."""
    records = [state(100, 1, "Running")]
    assert events([on_flow_sla(0), not_finished(161, 60)], records) == []
    assert times(events([on_flow_sla(0), not_finished(159, 60)], records)) == [160]
    assert times(events([on_agents(0), agent_config(100)])) == [160]


def test_references_across_tenants_are_invalid() -> None:
    """References across tenants are invalid."""
    assert events([not_finished(0, 60, tenant="u"), on_flow_sla(0)], [state(100, 1, "Running")]) == []
    assert events([agent_config(0, tenant="u"), on_agents(0)]) == []


def test_no_automation_matches_another_tenants_records() -> None:
    """No automation matches another tenant's records, and state is kept by (tenant, id)."""
    assert events([on_states(0, ["Failed"])], [state(100, 1, "Failed", tenant="u")]) == []
    records = [
        state(100, 1, "Running"),
        state(110, 2, "Success", tenant="u"),
        state(120, 1, "Failed", tenant="u"),
    ]
    assert times(events(NOT_FINISHED_60, records)) == [160]
    assert times(events(AGENTS_60, beats=[beat(50, tenant="u")])) == [60]


# ----------------------------------------------------------------------------------------------------- states


def test_states_are_compared_without_case_exactly() -> None:
    """States are compared without case, exactly."""
    records = [
        state(100, 1, "FAILED"),
        state(101, 2, "failed"),
        state(102, 3, "Failed "),
        state(103, 4, "Fail"),
    ]
    found = events([on_states(0, ["fAILED"])], records)
    assert [(event["timestamp"], event["state"]) for event in found] == [
        (s(100), "FAILED"),
        (s(101), "failed"),
    ]


def test_running_and_cancelling_start_a_run() -> None:
    """Running and Cancelling start a run; only Running arms `STARTED_NOT_FINISHED`."""
    for name in ("running", "Cancelling"):
        assert events(NOT_STARTED_60, [state(100, 1, "Scheduled"), state(150, 2, name)]) == []
    assert events(NOT_FINISHED_60, [state(150, 1, "Cancelling")]) == []


def test_these_states_finish_a_run() -> None:
    """Finished, Success, Cached, … Deleted and those in `FINISHED_STATES` finish it."""
    names = "Finished Success Cached Mapped Skipped Failed TimedOut TriggerFailed ValidationFailed Cancelled"
    for name in [*names.split(), "Looped", "Completed", "Crashed", "Deleted", "done"]:
        records = [state(100, 1, "Running"), state(150, 2, name)]
        assert events(NOT_FINISHED_60, records, finished_states=frozenset({"DONE"})) == []


def test_these_states_wait() -> None:
    """Scheduled, Paused, Resume, Retrying, Pending, Submitted, Queued wait."""
    for name in ["Scheduled", "Paused", "Resume", "Retrying", "Pending", "Submitted", "Queued"]:
        assert times(events(NOT_STARTED_60, [state(100, 1, name)])) == [160]


def test_other_names_only_fire_state_changes() -> None:
    """Other names only fire state changes: they don't start, finish, arm or begin an attempt."""
    records = [state(90, 1, "Dreaming"), state(100, 2, "Running"), state(120, 3, "Dreaming")]
    found = events([*NOT_STARTED_60, on_states(0, ["dreaming"], id="y")], records)
    assert times(found) == [90, 120]
    (missed,) = events(NOT_FINISHED_60, records)
    assert (missed["timestamp"], missed["state"]) == (s(160), "Dreaming")


# ---------------------------------------------------------------------------------------------- state changes


def test_a_state_change_fires_once_for_each_automation_and_version() -> None:
    """Fires once for each automation and (run, version) whose state it names; `timestamp` is the record's
    own."""
    control = [on_states(0, ["Failed", "failed"]), on_states(0, ["Success", "Failed"], id="y")]
    found = events(control, [state(100, 1, "Failed", at=20), state(100, 2, "Failed", at=95), state(101, 3, "Running")])
    assert sorted((event["automation_id"], event["timestamp"]) for event in found) == [
        ("x", s(20)),
        ("x", s(95)),
        ("y", s(20)),
        ("y", s(95)),
    ]


def test_a_second_record_of_a_version_is_a_duplicate_whatever_it_says() -> None:
    """A second record of a (run, version) is a duplicate, whatever it says."""
    assert events([on_states(150, ["Failed"])], [state(100, 1, "Failed"), state(200, 1, "Failed")]) == []
    assert events([on_states(0, ["Failed"])], [state(100, 1, "Running"), state(101, 1, "Failed")]) == []
    assert times(events(NOT_FINISHED_60, [state(100, 1, "Running"), state(101, 1, "Success")])) == [160]


def test_a_late_version_still_fires_its_own_state_change() -> None:
    """A late version still fires its own state change."""
    found = events([on_states(0, ["Running"])], [state(100, 2, "Success"), state(101, 1, "Running", at=98)])
    assert times(found) == [98]


def test_a_late_version_is_put_in_its_place() -> None:
    """…and is put in its place: what the versions now show is judged."""
    records = [state(100, 1, "Running"), state(120, 3, "Running"), state(125, 2, "Failed", at=118)]
    # Now 1-2 is an attempt that ended in time, and 3 began one of its own.
    assert times(events(NOT_FINISHED_60, records)) == [180]
    # A success with a lower version than the Running that is there doesn't finish it.
    assert times(events(NOT_FINISHED_60, [state(100, 2, "Running"), state(120, 1, "Success")])) == [160]


def test_what_has_fired_stays_fired() -> None:
    """…what has fired stays fired."""
    records = [state(100, 1, "Running"), state(200, 3, "Running"), state(201, 2, "Success", at=150)]
    assert times(events(NOT_FINISHED_60, records)) == [160, 260]


def test_a_late_start_meets_a_deadline_in_time() -> None:
    """A deadline that some meeting record met in time is not missed, in whatever order they come within
    grace."""
    records = [state(100, 1, "Scheduled"), state(168, 3, "Success", at=165), state(169, 2, "Running", at=159)]
    assert times(events(NOT_STARTED_60, records)) == [160]  # proved at 168, before the start was known
    records = [state(100, 1, "Scheduled"), state(168, 2, "Running", at=159), state(169, 3, "Success", at=165)]
    assert events(NOT_STARTED_60, records) == []


# ----------------------------------------------------------------------------------------- flow SLA: attempts


def test_an_attempt_begins_with_the_first_unfinished_record_after_a_finished_one() -> None:
    """An attempt begins with its first record and with the first unfinished record after a finished one."""
    records = [
        state(100, 1, "Running"),
        state(110, 2, "Failed"),
        state(112, 3, "Failed"),
        state(200, 4, "Scheduled"),
        state(300, 5, "Running"),
    ]
    assert times(events(NOT_FINISHED_60, records)) == [360]
    assert times(events(NOT_STARTED_60, records)) == [260]


def test_records_are_taken_in_order_of_version() -> None:
    """A run's records are taken in order of `version`, not of arrival or time."""
    records = [state(100, 2, "Running"), state(101, 1, "Scheduled", at=30, scheduled=20)]
    assert events(NOT_STARTED_60, records) == []
    assert events(NOT_FINISHED_60, [state(100, 2, "Success"), state(101, 1, "Running")]) == []


# ------------------------------------------------------------------------------------------------ not started


def test_not_started_is_armed_by_the_first_waiting_record() -> None:
    """`SCHEDULED_NOT_STARTED` is armed by the attempt's first waiting record: later ones don't move it."""
    records = [state(100, 1, "Scheduled"), state(130, 2, "Pending"), state(150, 3, "Submitted")]
    assert times(events(NOT_STARTED_60, records)) == [160]


def test_not_started_is_not_armed_if_a_lower_version_started_it() -> None:
    """…unless a lower version started it."""
    assert events(NOT_STARTED_60, [state(100, 1, "Running"), state(110, 2, "Retrying")]) == []


def test_base_is_the_later_of_schedule_and_occurrence() -> None:
    """base = the later of its `scheduled_start_time`, if any, and when it occurred."""
    assert times(events(NOT_STARTED_60, [state(100, 1, "Scheduled", scheduled=500)])) == [560]
    assert times(events(NOT_STARTED_60, [state(100, 1, "Scheduled", scheduled=20)])) == [160]


def test_another_schedule_arms_a_new_deadline() -> None:
    """A `scheduled_start_time` other than the armed one, non-null, in a later waiting record before any
    start, meets the old deadline and arms a new one by the same rule."""
    first = state(100, 1, "Scheduled", scheduled=500)
    assert times(events(NOT_STARTED_60, [first, state(200, 2, "Scheduled", scheduled=800)])) == [860]
    assert times(events(NOT_STARTED_60, [first, state(200, 2, "Scheduled", scheduled=150)])) == [260]
    assert times(events(NOT_STARTED_60, [first, state(200, 2, "Scheduled", scheduled=500)])) == [560]
    assert times(events(NOT_STARTED_60, [first, state(200, 2, "Pending")])) == [560]


def test_a_reschedule_too_late_proves_the_old_deadline_missed() -> None:
    """…meets the old deadline: one that occurred later than base + duration proves the miss."""
    records = [state(100, 1, "Scheduled"), state(165, 2, "Scheduled", scheduled=800)]
    assert times(events(NOT_STARTED_60, records)) == [160, 860]


def test_a_schedule_there_and_back_is_armed_again() -> None:
    """…other than the armed one: the armed one is the last."""
    records = [
        state(100, 1, "Scheduled", scheduled=500),
        state(200, 2, "Scheduled", scheduled=800),
        state(300, 3, "Scheduled", scheduled=500),
    ]
    assert times(events(NOT_STARTED_60, records)) == [560]


def test_a_schedule_after_the_start_arms_nothing() -> None:
    """…before any start."""
    records = [
        state(100, 1, "Scheduled"),
        state(120, 2, "Running"),
        state(130, 3, "Scheduled", scheduled=800),
    ]
    assert events(NOT_STARTED_60, records) == []


def test_not_started_is_met_by_a_state_that_starts_or_finishes() -> None:
    """met by a state that starts or finishes."""
    for name in ("Running", "Cancelled"):
        assert events(NOT_STARTED_60, [state(100, 1, "Scheduled"), state(160, 2, name)]) == []


# ----------------------------------------------------------------------------------------------- not finished


def test_not_finished_counts_from_the_attempts_first_running() -> None:
    """`STARTED_NOT_FINISHED`: base = when the attempt's first Running occurred (retries don't move it)."""
    records = [state(100, 1, "Running", at=95), state(120, 2, "Retrying"), state(140, 3, "Running")]
    assert times(events(NOT_FINISHED_60, records)) == [155]


def test_not_finished_is_met_only_by_a_state_that_finishes() -> None:
    """met by a state that finishes."""
    assert times(events(NOT_FINISHED_60, [state(100, 1, "Running"), state(130, 2, "Cancelling")])) == [160]
    assert events(NOT_FINISHED_60, [state(100, 1, "Running"), state(160, 2, "Cancelled")]) == []


def test_the_deadline_counts_from_the_log_time_where_that_is_later() -> None:
    """deadline = max(base, log time of the arming record; …) + duration."""
    records = [state(108, 1, "Running", at=100)]  # base 100, deadline 168
    assert events(NOT_FINISHED_60, records, end=178) == []
    assert times(events(NOT_FINISHED_60, records, end=178.001)) == [160]
    ahead = [state(100, 1, "Running", at=108)]  # base and deadline from 108
    assert events(NOT_FINISHED_60, ahead, end=178) == []
    assert times(events(NOT_FINISHED_60, ahead, end=178.001)) == [168]


def test_the_deadline_counts_from_the_earliest_log_time_of_the_runnings() -> None:
    """…for `STARTED_NOT_FINISHED` the earliest log time of the attempt's Running records."""
    records = [state(100, 2, "Running"), state(109, 1, "Running", at=99)]  # base 99, deadline 100 + 60
    assert events(NOT_FINISHED_60, records, end=170) == []
    assert times(events(NOT_FINISHED_60, records, end=170.001)) == [159]


def test_by_proof_is_strictly_later() -> None:
    """It is missed by proof: the record that meets it occurred later than base + duration."""
    assert events(NOT_FINISHED_60, [state(100, 1, "Running"), state(160, 2, "Success")]) == []
    (found,) = events(NOT_FINISHED_60, [state(100, 1, "Running"), state(160.001, 2, "Success")], end=160.001)
    assert (found["timestamp"], found["state"]) == (s(160), "Success")


def test_a_record_in_time_within_the_grace_meets_it() -> None:
    """…or by silence: no record that meets it has a log time ≤ deadline + grace."""
    in_grace = [state(100, 1, "Running"), state(170, 2, "Success", at=160)]
    assert events(NOT_FINISHED_60, in_grace) == []
    after = [state(100, 1, "Running"), state(170.001, 2, "Success", at=160.001)]
    assert times(events(NOT_FINISHED_60, after)) == [160]


def test_a_miss_fires_once() -> None:
    """A miss fires once for each (automation, run, kind, base): by silence, then not by proof too."""
    control = [*NOT_FINISHED_60, on_flow_sla(0, id="y")]
    found = events(control, [state(100, 1, "Running"), state(500, 2, "Success")])
    assert sorted(event["automation_id"] for event in found) == ["x", "y"]


def test_not_started_fires_again_for_another_base() -> None:
    """…for each base: a rescheduled run may miss again."""
    records = [state(100, 1, "Scheduled"), state(300, 2, "Scheduled", scheduled=400)]
    assert times(events(NOT_STARTED_60, records)) == [160, 460]


def test_once_fired_late_versions_no_longer_move_the_base() -> None:
    """Once `STARTED_NOT_FINISHED` has fired for an automation, late versions no longer move that attempt's
    base for it."""
    records = [state(100, 2, "Running"), state(200, 1, "Running", at=195)]
    assert times(events(NOT_FINISHED_60, records)) == [160]
    # For an automation for which it hadn't fired, they do.
    other = [not_finished(0, 200, id="long"), on_flow_sla(0, id="y", flow_sla_config_id="long")]
    found = events([*NOT_FINISHED_60, *other], records)
    assert [(event["automation_id"], event["timestamp"]) for event in found] == [("x", s(160)), ("y", s(395))]


def test_the_event_carries_the_state_of_the_highest_version() -> None:
    """The event carries `timestamp` = base + duration and the state of the run's highest version."""
    records = [state(100, 2, "Running"), state(120, 5, "Retrying", message="again"), state(130, 3, "Paused")]
    (found,) = events(NOT_FINISHED_60, records)
    assert (found["timestamp"], found["state"], found["state_message"]) == (s(160), "Retrying", "again")


def test_a_dropped_run_is_forgotten() -> None:
    """Unfinished runs are dropped 30 days after their last record and schedule time."""
    control = [not_finished(0, 31 * DAY), on_flow_sla(0)]
    assert events(control, [state(100, 1, "Running")], end=40 * DAY) == []
    again = [state(100, 1, "Failed"), state(110 + 3 * DAY, 1, "Failed")]
    assert len(events([on_states(0, ["Failed"])], again, end=4 * DAY)) == 2


# ----------------------------------------------------------------------------------------------------- agents


def test_an_agent_is_healthy_until_its_last_heartbeat_plus_the_limit() -> None:
    """An agent is healthy until the log time of its last heartbeat + `unhealthy_after_seconds`."""
    found = events(AGENTS_60, beats=[beat(10), beat(70, at=62), beat(129)])
    assert times(found) == [189]
    assert times(events(AGENTS_60, beats=[beat(10), beat(70)], end=140.001)) == [130]
    assert times(events(AGENTS_60, beats=[beat(10), beat(70)], end=140)) == []


def test_a_repeated_heartbeat_changes_nothing() -> None:
    """A heartbeat whose `timestamp` was already read from it within the hour changes nothing."""
    assert times(events(AGENTS_60, beats=[beat(50, at=48), beat(90, at=48)])) == [110]
    assert times(events(AGENTS_60, beats=[beat(50, "a", at=48), beat(90, "b", at=48)])) == [150]
    hour_later = [beat(50, at=48), beat(50.001 + HOUR, at=48)]
    assert times(events(AGENTS_60, beats=hour_later, end=3 * HOUR)) == [110, 110.001 + HOUR]


def test_a_stopped_agent_is_forgotten_never_listed() -> None:
    """After `STOPPED` an agent stays healthy for `unhealthy_after_seconds` more, then is forgotten, never
    listed as unhealthy."""
    beats = [beat(50, "a"), beat(55, "b"), beat(80, "a", status="STOPPED")]
    (found,) = events(AGENTS_60, beats=beats)
    assert (found["timestamp"], found["healthy_agent_ids"], found["unhealthy_agent_ids"]) == (
        s(140),
        [],
        ["b"],
    )


def test_an_agent_silent_for_a_day_is_forgotten() -> None:
    """Forgotten too is one silent for 24 h."""
    beats = [beat(50, "old"), beat(49 + DAY, "b"), beat(50 + DAY, "c", at=60)]
    control = [agent_config(0), on_agents(0, least=2)]
    found = events(control, beats=beats, end=2 * DAY)
    assert [(e["timestamp"], e["unhealthy_agent_ids"]) for e in found] == [
        (s(60), []),  # too few from the start: "old" alone
        (s(109 + DAY), ["b"]),  # restored by b and c together; then b falls, and "old" has been forgotten
    ]
    before = events(control, beats=[beat(50, "old"), beat(100, "b"), beat(105, "c")], end=2 * DAY)
    assert [(e["timestamp"], e["unhealthy_agent_ids"]) for e in before][1:] == [(s(160), ["b", "old"])]


def test_an_automation_is_judged_from_the_limit_after_it_came_into_force() -> None:
    """An automation starts as recovered and is judged from `unhealthy_after_seconds` after its condition
    came into force, whether there are agents or not."""
    assert times(events([agent_config(0), on_agents(100)])) == [160]
    assert times(events([agent_config(0), on_agents(100)], beats=[beat(30)])) == [160]
    assert times(events([agent_config(0), on_agents(100)], beats=[beat(95), beat(140)])) == [200]
    assert times(events([*AGENTS_60, on_agents(200, least=2)])) == [60, 260]


def test_a_heartbeat_within_the_grace_restores_the_number() -> None:
    """It fires once progress has passed that + grace and no heartbeat with a log time up to there has
    restored the number."""
    assert times(events(AGENTS_60, beats=[beat(50), beat(120)], end=180)) == []
    assert times(events(AGENTS_60, beats=[beat(50), beat(120.001)], end=180)) == [110]
    assert times(events(AGENTS_60, beats=[beat(70)], end=120)) == []  # restores the one from 60 on


def test_it_fires_once_and_again_only_after_a_heartbeat_has_restored_it() -> None:
    """…once, and again only after a heartbeat has restored it."""
    control = [agent_config(0), on_agents(0, least=2)]
    beats = [beat(40, "a"), beat(50, "b"), beat(200, "a"), beat(300, "b"), beat(310, "a")]
    # 100: a falls (110: b too, no second event); 200: only a; 310: both; 360: b falls
    assert times(events(control, beats=beats)) == [100, 360]


def test_a_heartbeat_at_the_very_instant_keeps_it_up() -> None:
    """It fires for an instant at which fewer than `sla_min_healthy` are healthy: not if another is there
    by then."""
    assert times(events(AGENTS_60, beats=[beat(50, "a"), beat(110, "b")])) == [170]


def test_the_lists_are_as_of_the_instant() -> None:
    """The event says which agents were healthy and which not at its instant."""
    control = [agent_config(0), on_agents(0, least=3)]
    beats = [beat(30, "c"), beat(41, "b"), beat(41, "a"), beat(95, "a", at=94), beat(96, "b", at=94)]
    found = events(control, beats=beats)
    assert [(e["timestamp"], e["healthy_agent_ids"], e["unhealthy_agent_ids"]) for e in found] == [
        (s(90), ["a", "b"], ["c"])
    ]


def test_an_agent_automation_disabled_at_the_instant_does_not_fire() -> None:
    """Automations act in log time: those in force at the instant count, from ≤ x < to."""
    beats = [beat(50)]
    assert events([*AGENTS_60, on_agents(110, enabled=False)], beats=beats) == []
    assert times(events([*AGENTS_60, on_agents(110.001, enabled=False)], beats=beats)) == [110]
    assert times(events([*AGENTS_60, on_agents(90, enabled=False), on_agents(100)], beats=beats)) == [160]


# ----------------------------------------------------------------------------------------- the event's fields


def of_url(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, text))


def test_the_fields_of_a_state_change() -> None:
    """Every field of an `AutomationEvent` but `detected_at`; id = UUIDv5 of
    automations:<tenant>/…/<run>/<version>."""
    records = [state(100, 3, "Failed", message="boom")]
    (found,) = events([on_states(0, ["Failed"])], records, ui_base_url="https://ui.example")
    link = "https://ui.example/t-slug/flow-run/r"
    assert found == {
        "id": of_url("automations:t/x/r/3"),
        "event_name": "FlowRunStateChangedEvent",
        "message": f"Run lark of flow etl entered state Failed with message boom. See {link} for more details.",
        "tenant_id": "t",
        "tenant_slug": "t-slug",
        "timestamp": s(100),
        "automation_id": "x",
        "automation_name": "name of x",
        "flow_id": "f",
        "flow_name": "etl",
        "flow_group_id": "g",
        "flow_link": "https://ui.example/t-slug/flow/f",
        "flow_run_id": "r",
        "flow_run_name": "lark",
        "state": "Failed",
        "state_message": "boom",
        "flow_run_link": link,
        "flow_sla_config_id": None,
        "kind": None,
        "duration_seconds": None,
        "agent_config_id": None,
        "sla_min_healthy": None,
        "healthy_agent_ids": None,
        "unhealthy_agent_ids": None,
        "actions": [],
    }


def test_the_fields_of_a_flow_sla_event() -> None:
    """id = UUIDv5 of …/<flow_run_id>/<kind>/<base in ms>; without `UI_BASE_URL` links are null."""
    (found,) = events(NOT_FINISHED_60, [state(100, 1, "Running")])
    assert found["id"] == of_url("automations:t/x/r/STARTED_NOT_FINISHED/100000")
    assert found["message"] == (
        "Run lark (r) of flow etl failed STARTED_NOT_FINISHED SLA (sla) after 60 seconds. See  for more details."
    )
    shown = {
        "flow_sla_config_id": "sla",
        "kind": "STARTED_NOT_FINISHED",
        "duration_seconds": 60,
        "flow_link": None,
    }
    assert shown.items() <= found.items()


def test_the_fields_of_an_agent_sla_event() -> None:
    """id = UUIDv5 of …/<agent_config_id>/<instant of the fall in ms>."""
    (found,) = events(AGENTS_60, beats=[beat(50, "b"), beat(51, "a")])
    assert found["id"] == of_url("automations:t/x/c/111000")
    assert found["message"] == (
        "Agents sharing the config c have failed the minimum healthy count of 1."
        " The following agents are unhealthy: a, b"
    )
    shown = {
        "agent_config_id": "c",
        "sla_min_healthy": 1,
        "healthy_agent_ids": [],
        "unhealthy_agent_ids": ["a", "b"],
    }
    assert shown.items() <= found.items()
    assert found["flow_run_id"] is None


def test_a_long_state_message_is_cut() -> None:
    """`state_message` is cut at 1,024 characters in state and 8,192 in events, with `…`."""
    (change,) = events([on_states(0, ["Running"])], [state(100, 1, "Running", message="m" * 9000)])
    (missed,) = events(NOT_FINISHED_60, [state(100, 1, "Running", message="m" * 9000)])
    assert change["state_message"] == "m" * 8191 + "…"
    assert missed["state_message"] == "m" * 1023 + "…"


def test_events_come_in_order_of_timestamp_and_id() -> None:
    """Sorted by (timestamp, id), whichever partition a run is in."""
    control = [on_states(0, ["Failed"]), on_states(0, ["Failed"], id="y")]
    partitions = {0: [state(200, 1, "Failed")], 1: [state(100, 1, "Failed", run="q")]}
    found = expected_events(History(control, partitions, {}, s(END)), Rules())
    assert [event["timestamp"] for event in found] == [s(100), s(100), s(200), s(200)]
    assert [(event["timestamp"], event["id"]) for event in found] == sorted((e["timestamp"], e["id"]) for e in found)


def test_a_small_history_takes_milliseconds() -> None:
    """Thirty records and five automations: fast enough for a thousand random histories."""
    control = [
        *NOT_FINISHED_60,
        not_started(0, 30, id="ns"),
        on_flow_sla(0, id="y", flow_sla_config_id="ns"),
        on_states(0, ["Failed"], id="z"),
        agent_config(0),
        on_agents(0, id="v"),
        on_agents(0, id="w", least=2),
    ]
    names = ["Scheduled", "Pending", "Running", "Retrying", "Failed"]
    records = [state(100 + 7 * i, i // 4 + 1, names[i % 5], run=f"r{i % 4}") for i in range(20)]
    beats = [beat(50 + 31 * i, f"a{i % 3}") for i in range(10)]
    began = time.perf_counter()
    for _ in range(20):
        events(control, records, beats)
    assert (time.perf_counter() - began) / 20 < 0.05
