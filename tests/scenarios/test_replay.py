"""A replay of a history decides what the live consumer decided, however that one fared."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.agreement import Agreement
from consumer.app import Options
from consumer.replay import Begin, Replay
from consumer.timing import Timing
from schemas.records import AutomationEvent, FlowRunState
from streams.partition import Unread
from streams.position import POSITION_KEY, decode
from streams.testing import Driver
from tests.oracle.oracle import Rules, expected_events
from tests.scenarios.histories import executed, history
from tests.scenarios.world import CODEC, committed_events, comparable, events_of
from topology.names import AGENT_HEARTBEAT, FLOW_RUN_STATE
from topology.partitioner import murmur2_partition

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


@settings(max_examples=100, **LAW)
@given(size=st.integers(5, 40), seed=st.integers(0, 2**32))
def test_over_a_log_cut_off_by_retention_nothing_is_called_wrong_that_was_right(size: int, seed: int) -> None:
    """What the missing records would have decided is told as unproven, and never as a difference."""
    random = Random(seed)
    world, end = history(random, size)
    driver = executed(world.history(end), world.rules, random)
    found = list(committed_events(driver))
    agreement, replays = Agreement(), {}
    for offset, event in enumerate(found):
        agreement.found(event, (0, offset))
    replay, told_anew = Replay(options(world.rules), driver.control.records), set()
    for (topic, number), log in driver.logs.items():
        position = decode(log.changelog[POSITION_KEY])
        cut = random.randint(0, len(log.records))
        kept = log.records[cut:]
        cut_ms = kept[0].log_ms if kept else position.progress_ms
        if topic == FLOW_RUN_STATE:
            told_anew |= runs_told_anew(log.records[:cut], kept, cut_ms)
        begin = Begin(cut, position.started_ms or 0, position.gap_ms, cut_ms if cut else None)
        partition = replays[topic, number] = replay.partition(topic, number, driver.inputs[topic], begin)
        for event in partition.feed(kept) + partition.reach(position.offset, position.progress_ms):
            agreement.decided(event, sure=True, provable=partition.provable(event))
        partition.end({(event.tenant_id, event.flow_run_id or "") for event in found})
    for _, offset in agreement.places:
        event = found[offset]
        topic = FLOW_RUN_STATE if event.flow_run_id else AGENT_HEARTBEAT
        key = (event.flow_run_id or event.agent_config_id or "").encode()
        partition = replays[topic, murmur2_partition(key, driver.inputs[topic])]
        agreement.left_over(event, (0, offset), provable=partition.provable(event))
    wrong = [one.event for one in agreement.verdict().differences if one.event is not None]
    assert [event for event in wrong if (event.tenant_id, event.flow_run_id) not in told_anew] == []


def runs_told_anew(gone: list[Unread], kept: list[Unread], cut_ms: int) -> set[tuple[str, str]]:
    """Runs that began before the cut, and whose version 1 is told after it, with a timestamp of then.

    They can't be told from runs that begin there.
    """
    before, begun = (
        {
            (state.tenant_id, state.flow_run_id)
            for record in records
            if isinstance(state := CODEC.decode_state(record.value), FlowRunState)
            and (not begins or (state.version == 1 and state.timestamp >= cut_ms))
        }
        for records, begins in ((gone, False), (kept, True))
    )
    return before & begun
