"""What a user of the simulated fleet can rely on."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.simulation import FAILED, KINDS, LATE, LOST, STUCK, Emission, FleetShape, Injected
from cli.simulator import Fleet, RunWindow
from schemas.records import STOPPED, AgentHeartbeat, FlowRunState
from tests.examples import examples

SHAPE = FleetShape(
    tenant_id="t",
    tenant_slug="acme",
    runs_per_second=4.0,
    agent_config_ids=("config-a", "config-b"),
    late_ms=4_000,
    stuck_ms=5_000,
    unhealthy_ms=5_000,
    settle_ms=4_500,
)
START_MS = 1_700_000_000_000


def fleet_of(seed: int, seconds: int = 40) -> tuple[list[Emission], list[Injected]]:
    last_ms = START_MS + seconds * 1000
    fleet = Fleet(SHAPE, seed, RunWindow(START_MS, last_ms, last_ms + SHAPE.drain_ms))
    return list(fleet.emissions()), fleet.truth


def runs_of(emissions: list[Emission]) -> dict[str, list[Emission]]:
    runs: dict[str, list[Emission]] = {}
    for emission in emissions:
        if isinstance(emission.record, FlowRunState):
            runs.setdefault(emission.record.flow_run_id, []).append(emission)
    return runs


def test_the_same_seed_gives_the_same_fleet_and_the_same_truth() -> None:
    assert fleet_of(7) == fleet_of(7)


def test_another_seed_gives_another_fleet() -> None:
    assert fleet_of(7) != fleet_of(8)


@settings(max_examples=examples(20), deadline=None)
@given(st.integers(0, 1_000_000))
def test_emissions_come_in_the_order_of_their_time(seed: int) -> None:
    times = [emission.at_ms for emission in fleet_of(seed)[0]]
    assert times == sorted(times)


def test_a_short_simulation_shows_everything_that_can_go_wrong() -> None:
    assert {injected.kind for injected in fleet_of(1, seconds=20)[1]} == set(KINDS)


@settings(max_examples=examples(20), deadline=None)
@given(st.integers(0, 1_000_000))
def test_the_truth_is_what_a_plain_reading_of_the_records_says(seed: int) -> None:
    """Far from the deadlines, a run that is late, stuck or failed can be told without any subtlety."""
    emissions, truth = fleet_of(seed)
    read: Counter[tuple[str, str]] = Counter()
    for run_id, sent in runs_of(emissions).items():
        records = {e.record.version: e.record for e in sent if isinstance(e.record, FlowRunState)}
        states = [records[version] for version in sorted(records)]
        read[FAILED, run_id] += sum(state.state in ("Failed", "TimedOut") for state in states)
        begin = states[0].scheduled_start_time
        assert begin is not None
        left = [s.timestamp for s in states if s.state in ("Running", "Cancelled")]
        read[LATE, run_id] += not left or left[0] > begin + SHAPE.late_ms
        started = next((s.timestamp for s in states if s.state == "Running"), None)
        ended = next((s.timestamp for s in states if s.state in ("Success", "Failed", "TimedOut")), None)
        if started is not None:
            read[STUCK, run_id] += ended is None or ended > started + SHAPE.stuck_ms
    told = Counter((one.kind, one.subject) for one in truth if one.kind != LOST)
    assert told == +read


def test_what_behaves_well_keeps_far_from_its_deadline() -> None:
    """Half of a deadline is left for a busy machine to be slow in."""
    emissions, truth = fleet_of(3, seconds=120)
    bad = {one.subject for one in truth if one.kind in (LATE, STUCK)}
    for run_id, sent in runs_of(emissions).items():
        if run_id in bad:
            continue
        times = {e.record.state: e.at_ms for e in reversed(sent) if isinstance(e.record, FlowRunState)}
        first = sent[0].record
        assert isinstance(first, FlowRunState)
        if "Running" in times and "Success" in times and "Failed" not in times:
            assert times["Success"] - times["Running"] < SHAPE.stuck_ms / 2 + 1600


def test_all_agents_of_a_lost_config_are_silent_until_it_is_noticed() -> None:
    emissions, truth = fleet_of(5)
    for lost in (one for one in truth if one.kind == LOST):
        silent_from = lost.at_ms - SHAPE.unhealthy_ms
        beats = [
            e.at_ms
            for e in emissions
            if isinstance(e.record, AgentHeartbeat) and e.record.agent_config_id == lost.subject
        ]
        # Agents begin their silence within a heartbeat of each other.
        noticed = range(silent_from + 2 * SHAPE.heartbeat_ms, lost.at_ms + SHAPE.settle_ms - 1500)
        assert not [at for at in beats if at in noticed]


def test_an_agent_that_leaves_says_so_and_the_others_of_its_config_stay() -> None:
    emissions, truth = fleet_of(5)
    leaving = {
        e.record.agent_id for e in emissions if isinstance(e.record, AgentHeartbeat) and e.record.status == STOPPED
    }
    assert len(leaving) == 1
    assert "config-b" not in {one.subject for one in truth}


@pytest.mark.parametrize("rate", [1.0, 50.0])
def test_runs_begin_at_the_rate_that_was_asked_for(rate: float) -> None:
    last_ms = START_MS + 30_000
    fleet = Fleet(SHAPE._replace(runs_per_second=rate), 1, RunWindow(START_MS, last_ms, last_ms + 60_000))
    assert len(runs_of(list(fleet.emissions()))) == int(30 * rate)


def test_some_records_are_sent_twice_and_some_after_those_that_followed_them() -> None:
    sent = [e.record for e in fleet_of(2, seconds=60)[0] if isinstance(e.record, FlowRunState)]
    assert len(sent) > len(set(sent))
    highest: dict[str, int] = {}
    overtaken = 0
    for record in sent:
        overtaken += record.version < highest.get(record.flow_run_id, 0)
        highest[record.flow_run_id] = max(highest.get(record.flow_run_id, 0), record.version)
    assert overtaken
