"""A replay of a history decides what the live consumer decided, however that one fared."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.app import Options
from consumer.replay import Begin, Replay
from consumer.timing import Timing
from schemas.records import AutomationEvent
from streams.position import POSITION_KEY, decode
from streams.testing import Driver
from tests.oracle.oracle import Rules, expected_events
from tests.scenarios.histories import executed, history
from tests.scenarios.world import comparable, events_of

LAW: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def options(rules: Rules) -> Options:
    timing = Timing(rules.grace_ms, rules.clock_tolerance_ms, rules.late_ms)
    return Options(timing=timing, finished_states=tuple(rules.finished_states), ui_base_url=rules.ui_base_url)


def replayed(driver: Driver, rules: Rules, batch: int, up_to_ms: int | None = None) -> list[AutomationEvent]:
    """What a replay decides up to where each partition's position stands; with ``up_to_ms`` to the end."""
    replay = Replay(options(rules), driver.control.records)
    events: list[AutomationEvent] = []
    for (topic, number), log in driver.logs.items():
        position = decode(log.changelog[POSITION_KEY])
        begin = Begin(0, position.started_ms or 0, position.gap_ms)
        partition = replay.partition(topic, number, driver.inputs[topic], begin)
        for start in range(0, position.offset, batch):
            events += partition.feed(log.records[start : min(start + batch, position.offset)])
        events += partition.reach(position.offset, position.progress_ms)
        if up_to_ms is not None:
            events += partition.feed(log.records[position.offset :])
            events += partition.reach(len(log.records), up_to_ms)
    return events


@settings(max_examples=150, **LAW)
@given(size=st.integers(1, 40), seed=st.integers(0, 2**32), batch=st.integers(1, 50))
def test_a_replay_gives_exactly_the_events_that_were_committed_so_far(size: int, seed: int, batch: int) -> None:
    """Stopped anywhere on its way, with crashes and rebalances; and to the end it gives the oracle's."""
    random = Random(seed)
    world, end = history(random, size)
    told = world.history(end)
    driver = executed(told, world.rules, random, to_the_end=random.random() < 0.3)
    assert comparable(replayed(driver, world.rules, batch)) == events_of(driver)
    assert comparable(replayed(driver, world.rules, batch, told.end_ms)) == expected_events(told, world.rules)
