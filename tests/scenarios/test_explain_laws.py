"""What an explanation says, whatever the history: what fired, and one verdict on everything that might have."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.automations import FlowSLA, StateChange
from consumer.explanation import APPLIED, LATE_VERSION
from tests.scenarios.explaining import app_of, driven, explained, explained_configs, fired_by_config, fired_by_run
from tests.scenarios.histories import history
from tests.scenarios.test_timelines import CASES, END
from tests.scenarios.world import World

LAW: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=60, **LAW)
@given(size=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_an_explanation_says_that_exactly_that_fired_which_the_consumer_fired(size: int, seed: int) -> None:
    _hold(size, seed)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=1_000, **LAW)
@given(size=st.integers(1, 60), seed=st.integers(0, 2**64))
def test_a_thousand_longer_explanations_say_what_the_consumer_fired(size: int, seed: int) -> None:
    _hold(size, seed)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__doc__)
def test_the_worked_timelines_are_explained_as_they_fired(case: Any) -> None:
    world = World()
    case(world)
    _agree(world, END)
    _agents_agree(world, END)


def _agents_agree(world: World, end: float) -> None:
    driver = driven(world.history(end), world.rules)
    fired = fired_by_config(driver)
    configs = explained_configs(driver)
    assert set(fired) <= set(configs)
    for name, config in configs.items():
        told = [fall.event_id for one in config.automations for fall in one.falls if fall.event_id]
        assert sorted(told) == sorted(fired.get(name, []))
        ids = [one.automation_id for one in config.automations]
        assert len(ids) == len(set(ids))
        for automation in config.automations:
            assert automation.reason
            assert all(fall.reason for fall in automation.falls)


def _hold(size: int, seed: int) -> None:
    world, end = history(Random(seed), size)
    _agree(world, end)
    _agents_agree(world, end)


def _agree(world: World, end: float) -> None:
    driver = driven(world.history(end), world.rules)
    fired = fired_by_run(driver)
    runs = explained(driver)
    assert set(fired) <= set(runs)
    automations = app_of(driver).automations
    for name, run in runs.items():
        assert sorted(verdict.event_id for verdict in run.verdicts if verdict.event_id) == sorted(fired.get(name, []))
        assert sorted(event.id for event in run.events) == sorted(fired.get(name, []))
        applied = [(one.version, one.log_ms) for one in run.records if one.outcome in (APPLIED, LATE_VERSION)]
        assert [(one.version, one.log_ms) for one in run.states] == applied
        conditions = {
            one: [stretch.condition for stretch in automations.written(one, run.tenant_id)]
            for one in automations.automations_of(run.tenant_id)
        }
        concerned = {one for one, of in conditions.items() if any(isinstance(c, (StateChange, FlowSLA)) for c in of)}
        assert concerned <= {verdict.automation_id for verdict in run.verdicts}
        on_states = [one for one, of in conditions.items() if any(isinstance(c, StateChange) for c in of)]
        for state in run.states:
            assert [verdict.automation_id for verdict in state.verdicts] == on_states
        for deadline in run.deadlines:
            judged = [verdict.automation_id for verdict in deadline.verdicts]
            assert len(judged) == len(set(judged))
            for one, of in conditions.items():
                if any(isinstance(c, FlowSLA) and c.kind == deadline.kind for c in of):
                    assert one in judged
