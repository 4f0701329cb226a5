"""A newer build reads the changelogs of an older one: samples of each value format, frozen when it was made.

A new format gets a folder of its own beside these; no sample is ever rewritten.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from consumer.agent_state import AgentState, Fall, decode_agent, decode_fall
from consumer.run_state import NO_TIME, Entry, Fired, Other, automation_bytes, decode, state_mark
from schemas.codec import Codec
from schemas.records import FlowRunState
from schemas.states import RUNS, WAITS
from streams import position
from streams.errors import StateError

FROZEN = Path(__file__).parent / "frozen" / "changelog-1"


def sample(name: str) -> bytes:
    text = (FROZEN / name).read_text()
    return bytes.fromhex(text) if name.endswith(".hex") else text.strip().encode()


def test_a_run_of_format_1_is_still_read() -> None:
    run = decode(sample("run.hex"))
    assert (run.last_log_ms, run.floor, run.top_version) == (1_700_000_200_005, 0, 3)
    assert run.entries == (
        Entry(1, state_mark("scheduled"), WAITS, 1_700_000_000_000, 1_700_000_000_005, 1_700_000_100_000),
        Entry(3, state_mark("running"), RUNS, 1_700_000_200_000, 1_700_000_200_005, NO_TIME),
    )
    assert run.others == (Other(2, state_mark("baking")),)
    automation = automation_bytes("6f2a1c9e-0000-4000-8000-000000000001")
    assert run.fired == (Fired(automation, 0, 1_700_000_100_000, 1),)
    assert Codec().decode_state(run.body) == FlowRunState(
        "tenant", "acme", "flow", "etl", "group", "run-1", "brisk lark", 3, "Running", "working…",
        1_700_000_200_000, None, "agent",
    )  # fmt: skip


def test_an_agent_of_format_1_is_still_read() -> None:
    read = ((1_700_000_000_000, 1_700_000_000_100), (1_700_000_000_400, 1_700_000_000_500))
    assert decode_agent(sample("agent.hex")) == AgentState(1_700_000_000_500, True, read)


def test_a_fall_of_format_1_is_still_read() -> None:
    expected = Fall(1_700_000_000_000, 2, 300_000, 1_700_000_300_000, True, ["a"], ["b"])
    assert decode_fall(sample("fall.json")) == expected


def test_a_position_of_format_1_is_still_read() -> None:
    assert position.decode(sample("position.json")) == position.Position(
        42, 1_700_000_000_000, 1_699_999_999_000, 1_600_000_000_000, 0, 6, "automations-consumer-1"
    )


def test_what_is_written_now_is_what_was_frozen() -> None:
    assert decode(sample("run.hex")).encode() == sample("run.hex")
    assert decode_agent(sample("agent.hex")).encode() == sample("agent.hex")
    assert decode_fall(sample("fall.json")).encode() == sample("fall.json")
    assert position.decode(sample("position.json")).encode() == sample("position.json")


def test_a_newer_format_is_refused_wherever_it_stands() -> None:
    """Reading it by the old rules would give wrong state: the process stops, and says which build to run."""
    readers: list[tuple[str, Callable[[bytes], object]]] = [
        ("run.hex", decode),
        ("agent.hex", decode_agent),
        ("fall.json", decode_fall),
        ("position.json", position.decode),
    ]
    for name, read in readers:
        value = sample(name)
        newer = value.replace(b'"format":1', b'"format":2') if name.endswith("json") else b"\x02" + value[1:]
        assert newer != value
        with pytest.raises(StateError, match="written by a newer version of this program: run that version"):
            read(newer)
