"""What is kept of a run: it reads back as it was written, stays small, and never forgets what was read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.attempts import NOT_FINISHED, NOT_STARTED, Armed, armed
from consumer.run_state import (
    MAX_LISTED,
    NO_TIME,
    Entry,
    Fired,
    Other,
    RunState,
    automation_bytes,
    decode,
    flow_group_of,
    run_key,
    state_mark,
    tenant_of,
)
from schemas.avro_schemas import FLOW_RUN_STATE
from schemas.codec import Codec
from schemas.records import FlowRunState
from schemas.states import FINISHES, RUNS, STARTS, WAITS
from tests.examples import examples
from tests.unit.records_strategies import records

MS = st.integers(0, 2**47)
VERSION = st.integers(1, 2**31 - 1)
MARK = st.integers(0, 2**16 - 1)
CLASS = st.sampled_from([WAITS, STARTS, RUNS, FINISHES])
ENTRY = st.builds(Entry, VERSION, MARK, CLASS, MS, MS, MS | st.just(NO_TIME))
OTHER = st.builds(Other, VERSION, MARK)
FIRED = st.builds(Fired, st.binary(min_size=16, max_size=16), st.integers(0, 1), MS, VERSION)
STATE = st.builds(
    RunState,
    MS,
    st.lists(ENTRY, max_size=5).map(tuple),
    st.lists(OTHER, max_size=5).map(tuple),
    st.lists(FIRED, max_size=3).map(tuple),
    st.binary(max_size=50),
    st.integers(0, 2**31 - 1),
)
NAME = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10)


@given(run=STATE)
def test_a_run_reads_back_as_it_was_written(run: RunState) -> None:
    assert decode(run.encode()) == run


def test_what_is_kept_of_a_usual_run_is_little_more_than_its_record() -> None:
    entries = tuple(Entry(n, 0, RUNS, 0, 0, NO_TIME) for n in (1, 2, 3))
    assert len(RunState(0, entries, (), (), b"x" * 200).encode()) < 350


@given(tenant=NAME, run=NAME, other_tenant=NAME, other_run=NAME)
def test_a_key_keeps_tenant_and_run_apart_and_gives_the_tenant_back(
    tenant: str, run: str, other_tenant: str, other_run: str
) -> None:
    key = run_key(tenant, run)
    assert tenant_of(key) == tenant
    assert (key == run_key(other_tenant, other_run)) == ((tenant, run) == (other_tenant, other_run))


def test_an_automations_id_of_any_form_has_16_bytes() -> None:
    uuid = "6f2a1c9e-0000-4000-8000-000000000001"
    assert automation_bytes(uuid).hex() == uuid.replace("-", "")
    assert len(automation_bytes("nightly")) == 16
    assert automation_bytes("nightly") != automation_bytes("Nightly")


def test_a_state_read_before_is_told_from_another_one() -> None:
    run = RunState(
        0, (Entry(1, state_mark("running"), RUNS, 0, 0, NO_TIME),), (Other(2, state_mark("odd")),), (), b"", 0
    )
    assert run.mark_of(1) == state_mark("running") != state_mark("failed")
    assert run.mark_of(2) == state_mark("odd")
    assert run.mark_of(3) is None


def in_order(steps: list[tuple[int, int | None]]) -> tuple[Entry, ...]:
    """Entries as a run's records come: versions, log times and occurrences grow together."""
    return tuple(
        Entry(n, 0, state_class, n * 10, n * 10, NO_TIME if scheduled is None else scheduled)
        for n, (state_class, scheduled) in enumerate(steps, start=1)
    )


def deadlines_ahead(entries: tuple[Entry, ...]) -> dict[int, Armed]:
    """The last deadline of each kind that the last attempt arms."""
    last = {NOT_STARTED: None, NOT_FINISHED: None} | {deadline.kind: deadline for deadline in armed(entries)}
    return {
        kind: deadline._replace(first_version=0)
        for kind, deadline in last.items()
        if deadline is not None and deadline.last_version == entries[-1].version
    }


LONG = st.tuples(
    st.lists(st.tuples(CLASS, st.none() | st.sampled_from([5, 20, 9_999])), min_size=1, max_size=12),
    st.integers(MAX_LISTED // 8, MAX_LISTED // 2),
    st.lists(st.tuples(CLASS, st.none() | st.sampled_from([5, 20, 9_999])), max_size=12),
).map(lambda parts: parts[0] * parts[1] + parts[2])


@settings(max_examples=examples(60), deadline=None)
@given(steps=LONG)
def test_a_run_of_very_many_states_keeps_its_last_deadlines_and_counts_the_rest_as_read(
    steps: list[tuple[int, int | None]],
) -> None:
    run = RunState(1, in_order(steps), (), (), b"")
    bounded = run.bounded()
    assert len(bounded.entries) <= MAX_LISTED
    assert deadlines_ahead(bounded.entries) == deadlines_ahead(run.entries)
    assert all(bounded.mark_of(entry.version) is not None for entry in run.entries)
    assert bounded.top_version == run.top_version
    assert bounded.finished == run.finished
    assert (bounded == run) == (len(run.entries) <= MAX_LISTED)


def test_states_that_nobody_knows_are_bounded_too() -> None:
    run = RunState(1, (), tuple(Other(n, 7) for n in range(1, 1_001)), (), b"")
    bounded = run.bounded()
    assert len(bounded.others) <= MAX_LISTED
    assert bounded.mark_of(1) == -1
    assert bounded.mark_of(1_000) == 7
    assert bounded.mark_of(1_001) is None


@given(record=records(FLOW_RUN_STATE))
def test_a_flow_group_is_found_in_a_body_without_decoding_it(record: FlowRunState) -> None:
    assert flow_group_of(Codec().encode_state(record)) == record.flow_group_id


@given(size=st.integers(0, 20_000))
def test_a_flow_group_is_found_behind_texts_of_any_length(size: int) -> None:
    record = FlowRunState("t", "s" * size, "f", "é" * size, "group", "r", "n", 1, "Failed", None, 0)
    assert flow_group_of(Codec().encode_state(record)) == "group"
