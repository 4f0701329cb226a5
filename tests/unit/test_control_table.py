"""The control table: which automations were in force at an instant, whatever came later."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consumer.automations import AgentSLA, Automations, FlowSLA, InForce
from schemas.control import InvalidControl, Tombstone, parse_control
from schemas.records import AGENT_SLA_FAILED, STARTED_NOT_FINISHED


def put(table: Automations, log_ms: int, key: str, /, **fields: Any) -> None:
    """Writes a control record; without fields a tombstone."""
    value = {"id": key.partition(":")[2], "tenant_id": "t", "tenant_slug": "slug", **fields} if fields else None
    parsed = parse_control(key, None if value is None else json.dumps(value).encode())
    assert not isinstance(parsed, InvalidControl), parsed
    table.apply(log_ms, key, None if isinstance(parsed, Tombstone) else parsed)


def on_states(table: Automations, log_ms: int, *states: str, **fields: Any) -> None:
    base = {"name": "x", "event_type": "FlowRunStateChangedEvent", "states": list(states), "action_ids": []}
    put(table, log_ms, "automation:x", **{**base, **fields})


def on_sla(table: Automations, log_ms: int, **fields: Any) -> None:
    base = {"name": "x", "event_type": "FlowSLAFailedEvent", "flow_sla_config_id": "s", "action_ids": []}
    put(table, log_ms, "automation:x", **{**base, **fields})


def sla(table: Automations, log_ms: int, duration: int = 60, **fields: Any) -> None:
    put(table, log_ms, "flow_sla_config:s", **{"kind": STARTED_NOT_FINISHED, "duration_seconds": duration, **fields})


def slas(table: Automations, group: str = "g") -> list[tuple[int, int, int]]:
    """(duration, from, to) of the intervals that cover a group."""
    found = table.flow_slas("t", STARTED_NOT_FINISHED, group)
    return [(one.condition.duration_ms, one.interval.from_ms, one.interval.to_ms) for one in found]


def in_force(table: Automations, state: str, at_ms: int, group: str = "g", tenant: str = "t") -> list[str]:
    return [interval.automation_id for interval in table.state_change(tenant, state, group, at_ms)]


FOREVER = InForce("t", "x", AgentSLA("c", 1, 1), 0).to_ms


def test_it_is_in_force_from_its_log_time_on_and_not_at_the_instant_it_ends() -> None:
    table = Automations()
    on_states(table, 10, "Failed")
    put(table, 20, "automation:x")
    assert [in_force(table, "failed", at) for at in (9, 10, 19, 20)] == [[], ["x"], ["x"], []]


def test_it_answers_for_any_instant_however_much_came_later() -> None:
    table = Automations()
    on_states(table, 10, "Failed")
    on_states(table, 20, "Success")
    on_states(table, 30, "Failed", "Success")
    assert [in_force(table, "failed", at) for at in (15, 25, 35)] == [["x"], [], ["x"]]
    assert [in_force(table, "success", at) for at in (15, 25, 35)] == [[], ["x"], ["x"]]


def test_an_interval_goes_on_over_a_rewrite_with_an_equal_condition() -> None:
    table = Automations()
    sla(table, 10)
    on_sla(table, 10)
    on_sla(table, 20, name="renamed", action_ids=["a"])
    sla(table, 30)
    assert slas(table) == [(60_000, 10, FOREVER)]


def test_another_condition_begins_another_interval_where_the_old_one_ends() -> None:
    table = Automations()
    sla(table, 10)
    on_sla(table, 10)
    sla(table, 20, 90)
    assert slas(table) == [(60_000, 10, 20), (90_000, 20, FOREVER)]


def test_what_lasted_no_time_never_was() -> None:
    table = Automations()
    sla(table, 10)
    on_sla(table, 10)
    sla(table, 20, 90)
    sla(table, 20, 60)
    assert slas(table) == [(60_000, 10, FOREVER)]


def test_an_automation_waits_for_its_config_and_ends_with_it() -> None:
    table = Automations()
    on_sla(table, 10)
    assert slas(table) == []
    sla(table, 20)
    put(table, 30, "flow_sla_config:s")
    assert slas(table) == [(60_000, 20, 30)]


def test_a_config_of_another_tenant_is_as_if_missing() -> None:
    table = Automations()
    on_sla(table, 10)
    sla(table, 20, tenant_id="u")
    assert slas(table) == []
    assert list(table.flow_slas("u", STARTED_NOT_FINISHED, "g")) == []


def test_an_automation_that_refers_to_another_config_no_longer_follows_the_old_one() -> None:
    table = Automations()
    sla(table, 10)
    on_sla(table, 10)
    put(table, 10, "flow_sla_config:other", kind=STARTED_NOT_FINISHED, duration_seconds=5)
    on_sla(table, 20, flow_sla_config_id="other")
    sla(table, 30, 600)
    assert slas(table) == [(60_000, 10, 20), (5_000, 20, FOREVER)]


def test_groups_and_all_of_a_tenants_flows() -> None:
    table = Automations()
    on_states(table, 10, "Failed", flow_group_ids=["g", "h", "g"])
    assert [in_force(table, "failed", 10, group) for group in "ghi"] == [["x"], ["x"], []]
    on_states(table, 20, "Failed")
    assert in_force(table, "failed", 20, "i") == ["x"]
    assert in_force(table, "failed", 20, "i", tenant="u") == []


def test_agent_slas_carry_their_numbers_and_defaults() -> None:
    table = Automations()
    put(table, 5, "agent_config:c", name=None)
    put(table, 10, "automation:x", name="x", event_type=AGENT_SLA_FAILED, agent_config_id="c", action_ids=[])
    (interval,) = table.agent_slas("t", "c")
    assert interval.condition == AgentSLA("c", 1, 300_000)
    assert list(table.agent_configs()) == [("t", "c")]
    assert table.agent_slas("u", "c") == []


def test_what_an_event_shows_is_as_of_its_instant() -> None:
    table = Automations()
    put(table, 10, "action:a", name="one", action_type="CancelFlowRunAction", config={})
    on_states(table, 10, "Failed", action_ids=["a", "gone", "a"])
    put(table, 20, "action:a", name="two", action_type="CancelFlowRunAction", config={})
    on_states(table, 30, "Failed", name="renamed", action_ids=["a"])
    shown = [table.shown("x", at) for at in (15, 25, 35)]
    assert [one.name for one in shown] == ["x", "x", "renamed"]
    assert [[action["name"] for action in json.loads(one.actions)] for one in shown] == [["one"], ["two"], ["two"]]
    assert list(json.loads(shown[0].actions)[0]) == ["id", "name", "action_type", "config", "delivery"]


def test_a_log_time_that_goes_back_counts_as_the_greatest_before_it() -> None:
    table = Automations()
    on_states(table, 20, "Failed")
    on_states(table, 10, "Success")
    assert in_force(table, "failed", 20) == []
    assert in_force(table, "success", 15) == []
    assert in_force(table, "success", 20) == ["x"]


STEP = st.tuples(
    st.integers(0, 3),
    st.one_of(
        st.tuples(st.just("automation"), st.none() | st.booleans()),
        st.tuples(st.just("config"), st.none() | st.sampled_from([60, 90])),
    ),
)


@given(steps=st.lists(STEP, max_size=12))
def test_its_intervals_say_of_every_instant_what_the_records_up_to_then_say(
    steps: list[tuple[int, tuple[str, Any]]],
) -> None:
    table, log_ms = Automations(), 0
    enabled: dict[int, bool] = {}
    durations: dict[int, int | None] = {}
    for pause_ms, (what, value) in steps:
        log_ms += pause_ms
        if what == "automation":
            enabled[log_ms] = bool(value)
            on_sla(table, log_ms, enabled=value) if value is not None else put(table, log_ms, "automation:x")
        else:
            durations[log_ms] = value
            sla(table, log_ms, value) if value is not None else put(table, log_ms, "flow_sla_config:s")

    def last(values: dict[int, Any], at_ms: int) -> Any:
        return (
            values[max((log for log in values if log <= at_ms), default=-1)]
            if min(values, default=at_ms + 1) <= at_ms
            else None
        )

    for at_ms in range(log_ms + 2):
        duration = last(durations, at_ms) if last(enabled, at_ms) else None
        found = [one.condition for one in table.flow_slas("t", STARTED_NOT_FINISHED, "g") if one.interval.at(at_ms)]
        assert found == ([] if duration is None else [FlowSLA("s", STARTED_NOT_FINISHED, duration * 1000, None)])
    neighbours = slas(table)
    for (before, _, to_ms), (after, from_ms, _) in pairwise(neighbours):
        assert to_ms < from_ms or before != after
