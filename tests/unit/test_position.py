"""Where a partition goes on: only where state, committed offset and log fit together, or a gap is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import StateError
from streams.position import GAP_AHEAD, Position, Resume, changelog_gap, decode, low_header, resume_at


def at(offset: int) -> Position:
    return Position(offset, 1_000, 1_000, 0, 0, 6, "owner")


def test_the_first_start_begins_at_the_logs_first_record() -> None:
    assert resume_at("runs [0]", None, None, 17, 30, False) == Resume(17, gap=False)


@pytest.mark.parametrize("offset", [10, 20, 30])
def test_what_fits_together_goes_on_where_it_stood(offset: int) -> None:
    assert resume_at("runs [0]", offset, at(offset), 10, 30, False) == Resume(offset, gap=False)


@pytest.mark.parametrize(
    ("committed", "position", "named", "resumed"),
    [
        (None, at(20), "no committed offset", 20),
        (20, None, "changelog is empty", 20),
        (5, at(5), "offsets 5 to 9 are gone", 10),
        (40, at(40), "beyond the log's end 30", 10),
        (None, at(5), "no committed offset", 10),
        (40, None, "changelog is empty", 10),
    ],
)
def test_what_does_not_fit_ends_the_process_unless_the_gap_is_accepted(
    committed: int | None, position: Position | None, named: str, resumed: int
) -> None:
    with pytest.raises(StateError, match=named) as error:
        resume_at("runs [0]", committed, position, 10, 30, False)
    assert str(error.value).startswith("runs [0]: ")
    assert "--accept-gap" in str(error.value)
    assert resume_at("runs [0]", committed, position, 10, 30, True) == Resume(resumed, gap=True)


@pytest.mark.parametrize("accept_gap", [False, True])
def test_state_and_offset_that_were_not_written_together_are_never_joined(accept_gap: bool) -> None:
    """Going on from either would read records twice or not at all."""
    with pytest.raises(StateError, match="not written together"):
        resume_at("runs [0]", 12, at(20), 10, 30, accept_gap)


@pytest.mark.parametrize(("committed", "high"), [(20, 30), (None, 30), (5, 30), (20, 12)])
def test_a_topic_made_anew_is_read_from_its_beginning_once_that_is_accepted(committed: int | None, high: int) -> None:
    """None of its records was read, whatever offsets say; the group's were deleted with the old topic, or not."""
    with pytest.raises(StateError, match="made anew since its offset 20"):
        resume_at("runs [0]", committed, at(20), 3, high, False, input_anew=True)
    assert resume_at("runs [0]", committed, at(20), 3, high, True, input_anew=True) == Resume(3, gap=True)


def test_a_changelog_that_has_lost_state_ends_the_process_unless_the_gap_is_accepted() -> None:
    with pytest.raises(StateError, match=r"runs \[0\]: its changelog was cut\. With --accept-gap"):
        resume_at("runs [0]", 20, at(20), 0, 30, False, changelog_gap="its changelog was cut")
    assert resume_at("runs [0]", 20, at(20), 0, 30, True, changelog_gap="its changelog was cut") == Resume(20, gap=True)


def test_what_was_cut_from_a_changelog_is_a_gap_until_it_is_accepted_and_no_longer() -> None:
    """The position that is written after it says so, in a header that older builds write none of."""
    for headers in (None, [], [("topic-ids", b"a b")], [low_header(0)]):
        assert "first 7 offsets of its changelog runs-log" in (changelog_gap("runs-log", False, 7, headers) or "")
        assert changelog_gap("runs-log", False, 0, headers) is None
    accepted = [("topic-ids", b"a b"), low_header(7)]
    assert changelog_gap("runs-log", False, 7, accepted) is None
    assert "first 8 offsets" in (changelog_gap("runs-log", False, 8, accepted) or "")
    assert "made anew" in (changelog_gap("runs-log", True, 7, accepted) or "")


@given(
    committed=st.none() | st.integers(0, 50), offset=st.none() | st.integers(0, 50), low=st.integers(0, 25),
    length=st.integers(0, 25),
)  # fmt: skip
def test_work_only_ever_goes_on_within_the_log(
    committed: int | None, offset: int | None, low: int, length: int
) -> None:
    position = None if offset is None else at(offset)
    try:
        resume = resume_at("runs [0]", committed, position, low, low + length, True)
    except StateError:
        assert committed != offset
    else:
        assert low <= resume.offset <= low + length


def test_a_position_reads_back_as_it_was_written() -> None:
    assert decode(at(7).encode()) == at(7)
    assert decode(at(7)._replace(started_ms=None).encode()).started_ms is None


def test_a_gap_that_no_record_has_ended_yet_reaches_beyond_all_that_was_judged() -> None:
    assert at(7)._replace(gap_ms=500).gap_ends_ms == 500
    assert at(7)._replace(gap_ms=GAP_AHEAD).gap_ends_ms == 1_001


def test_a_position_of_a_newer_program_asks_for_that() -> None:
    with pytest.raises(StateError, match="newer version"):
        decode(at(7).encode().replace(b'"format":1', b'"format":2'))
