"""What is kept of agents and falls: it reads back as it was written, under keys that keep ids apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumer.agent_state import AgentState, Fall, agent_key, decode_agent, decode_fall, fall_key, ids_in

MS = st.integers(0, 2**47)
TEXT = st.text(st.characters(codec="utf-8"), max_size=10)


@given(last_ms=MS, stopped=st.booleans(), read=st.lists(st.tuples(MS, st.integers(0, 3_600_000)), max_size=10))
def test_an_agent_reads_back_as_it_was_written(last_ms: int, stopped: bool, read: list[tuple[int, int]]) -> None:
    agent = AgentState(last_ms, stopped, tuple((timestamp, last_ms - ago) for timestamp, ago in read))
    assert decode_agent(agent.encode()) == agent


def test_a_repeat_read_after_the_last_heartbeat_reads_back_too() -> None:
    agent = AgentState(1_000, False, ((900, 1_000), (800, 2_000)))
    assert decode_agent(agent.encode()) == agent


@given(fall=st.builds(Fall, MS, st.integers(1, 99), MS, MS, st.booleans(), st.lists(TEXT), st.lists(TEXT)))
def test_a_fall_reads_back_as_it_was_written(fall: Fall) -> None:
    assert decode_fall(fall.encode()) == fall


@given(ids=st.lists(TEXT, min_size=6, max_size=6))
def test_keys_keep_ids_apart_and_give_them_back(ids: list[str]) -> None:
    assert ids_in(agent_key(*ids[:3])) == ids[:3]
    assert (agent_key(*ids[:3]) == agent_key(*ids[3:])) == (ids[:3] == ids[3:])
    assert ids_in(fall_key(ids[0], ids[1], ids[2], 7)) == [*ids[:3], 7]
