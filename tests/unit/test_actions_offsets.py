"""How far a partition may be committed, whatever ends in whatever order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.backlog import Backlog
from actions.delivery import Source
from actions.offsets import PartitionOffsets

RECORDS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), max_size=12)
"""Gaps between offsets (markers of transactions take some), and deliveries of each record."""


@given(RECORDS, st.randoms(use_true_random=False))
def test_the_commit_point_never_passes_an_open_delivery_and_reaches_the_end(
    records: list[tuple[int, int]], random: object
) -> None:
    """Records are read and deliveries end in any interleaving; at the end all may be committed."""
    offsets, offset = PartitionOffsets(), 0
    to_read = []
    for gap, count in records:
        offset += gap
        to_read.append((offset, count))
    open_: list[int] = []
    last_read, last_point = None, None
    while to_read or open_:
        if to_read and (not open_ or random.random() < 0.5):  # type: ignore[attr-defined]
            last_read, count = to_read.pop(0)
            offsets.read(last_read, count)
            open_ += [last_read] * count
        else:
            offsets.ended(open_.pop(random.randrange(len(open_))))  # type: ignore[attr-defined]
        point = offsets.commit_point()
        assert point is not None
        assert last_read is not None
        assert point == (min(open_) if open_ else last_read + 1)
        assert last_point is None or point >= last_point
        assert offsets.open_deliveries == len(open_)
        last_point = point
    assert offsets.commit_point() == (None if last_read is None else last_read + 1)


def test_nothing_read_is_nothing_to_commit() -> None:
    assert PartitionOffsets().commit_point() is None
    assert PartitionOffsets().uncommitted() is None


def test_what_was_committed_is_not_committed_again_until_it_moves() -> None:
    offsets = PartitionOffsets()
    offsets.read(5, 1)
    assert offsets.uncommitted() == 5
    offsets.committed(5)
    assert offsets.uncommitted() is None
    offsets.ended(5)
    assert offsets.uncommitted() == 6


def test_a_mistake_is_loud() -> None:
    offsets = PartitionOffsets()
    offsets.read(5, 1)
    with pytest.raises(ValueError, match="offset 5 was read after 5"):
        offsets.read(5, 1)
    with pytest.raises(KeyError):
        offsets.ended(4)


def source(backlog: Backlog, partition: int, offset: int) -> Source:
    return Source(partition, offset, None, b"", backlog.generation(partition) or 0)


def test_what_ends_after_its_partition_was_taken_away_changes_nothing() -> None:
    backlog = Backlog()
    backlog.assign([0, 1])
    before = source(backlog, 0, 7)
    backlog.read(before, 2)
    backlog.read(source(backlog, 1, 3), 1)
    backlog.revoke([0])
    assert backlog.open == 1
    backlog.ended(before)
    backlog.assign([0])
    backlog.read(source(backlog, 0, 7), 2)
    backlog.ended(before)
    assert not backlog.holds(before)
    assert backlog.open == 3
    assert backlog.commit_points() == {0: 7, 1: 3}


def test_a_commit_that_failed_is_made_again() -> None:
    backlog = Backlog()
    backlog.assign([0])
    backlog.read(source(backlog, 0, 7), 0)
    backlog.committed({0: 8})
    assert backlog.commit_points() == {}
    backlog.commit_failed([0, 4])
    assert backlog.commit_points() == {0: 8}


def test_a_full_backlog_has_no_room_but_an_empty_one_takes_any_event() -> None:
    backlog = Backlog(most=3)
    backlog.assign([0])
    assert backlog.has_room(9)
    backlog.read(source(backlog, 0, 1), 2)
    assert backlog.has_room(1)
    assert not backlog.has_room(2)
    assert backlog.room() == 1
