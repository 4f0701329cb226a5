"""What is committed of a partition: how far it has come, and what has ended beyond that."""

from base64 import b85decode, b85encode
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actions.offsets import (
    ALL_ENDED,
    FULL,
    MOST_BYTES,
    MOST_TRIES,
    PRESSED,
    PartitionOffsets,
    Position,
    Resumed,
    resumed,
)

RECORDS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4)), max_size=12)
"""Gaps between offsets (markers of transactions take some), and deliveries of each record."""
RANDOM = st.randoms(use_true_random=False)


def laid_out(records: list[tuple[int, int]]) -> dict[int, int]:
    """Offsets and how many deliveries the record there has."""
    offset, found = 0, {}
    for gap, count in records:
        offset += gap
        found[offset] = count
    return found


def places(bits: int, count: int) -> set[int]:
    return {place for place in range(count) if bits >> place & 1}


def taken_up(position: Position) -> PartitionOffsets:
    return PartitionOffsets(resumed(position.metadata, position.offset))


@given(RECORDS, RANDOM)
def test_the_commit_point_never_passes_an_open_delivery_and_reaches_the_end(
    records: list[tuple[int, int]], random: Random
) -> None:
    """Records are read and deliveries end in any interleaving; at the end all may be committed."""
    offsets, to_read = PartitionOffsets(), list(laid_out(records).items())
    open_: list[tuple[int, int]] = []
    last_read = last_point = -1
    while to_read or open_:
        if to_read and (not open_ or random.random() < 0.5):
            last_read, count = to_read.pop(0)
            assert offsets.read(last_read, count, 10) == 0
            open_ += [(last_read, place) for place in range(count)]
        else:
            offsets.ended(*open_.pop(random.randrange(len(open_))))
        position = offsets.position("me")
        assert position is not None
        assert position.offset == (min(open_)[0] if open_ else last_read + 1)
        assert position.offset >= last_point
        assert offsets.open_deliveries == len(open_)
        assert offsets.open_bytes == 10 * len({offset for offset, _ in open_})
        last_point = position.offset


@given(RECORDS, RANDOM, st.integers(1, 5))
def test_whoever_goes_on_repeats_exactly_what_had_not_ended(
    records: list[tuple[int, int]], random: Random, generations: int
) -> None:
    """Over several owners, each of which may give up before it has read all that the one before had read."""
    laid = laid_out(records)
    ended: set[tuple[int, int]] = set()
    point, offsets = 0, PartitionOffsets()
    for _ in range(generations):
        open_: list[tuple[int, int]] = []
        ahead = [(offset, count) for offset, count in laid.items() if offset >= point]
        for offset, count in ahead[: random.randint(0, len(ahead))]:
            assert places(offsets.read(offset, count), count) == {place for at, place in ended if at == offset}
            open_ += [(offset, place) for place in range(count) if (offset, place) not in ended]
            while open_ and random.random() < 0.6:
                one = open_.pop(random.randrange(len(open_)))
                offsets.ended(*one)
                ended.add(one)
        assert offsets.open_deliveries == len(open_)
        position = offsets.position(f"owner-{random.random()}")
        if position is not None:
            assert all(
                (at, place) in ended for at, count in laid.items() if at < position.offset for place in range(count)
            )
            point, offsets = position.offset, taken_up(position)
        else:
            offsets = PartitionOffsets(offsets.resumed)


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.integers(1_000, 6_000), st.sampled_from([1, 3, 200]), st.text("abc-", max_size=300))
def test_past_the_brokers_limit_only_later_ones_are_repeated_and_none_is_lost(
    seed: int, count: int, deliveries: int, owner: str
) -> None:
    offsets, random = PartitionOffsets(), Random(seed)
    ended: dict[int, set[int]] = {}
    for offset in range(0, 2 * count, 2):
        offsets.read(offset, deliveries)
        ended[offset] = set(random.sample(range(deliveries), random.randint(0, deliveries)))
        for place in ended[offset]:
            offsets.ended(offset, place)
    position = offsets.position(owner)
    assert position is not None
    assert len(position.metadata.encode()) <= MOST_BYTES
    again, repeating = taken_up(position), False
    for offset, done in ended.items():
        if offset < position.offset:
            assert len(done) == deliveries
            continue
        skipped = places(again.read(offset, deliveries), deliveries)
        assert skipped == done or not skipped
        repeating = repeating or skipped != done
        assert not (repeating and skipped), "after the first that is repeated, all are"
    assert repeating <= offsets.full
    assert again.resumed.owner == owner


@pytest.mark.parametrize(("gap", "seed"), [(1, 1), (4, 2), (30, 3)])
def test_until_it_is_full_nothing_is_repeated(gap: int, seed: int) -> None:
    """As events have them: few actions each, and records close together."""
    offsets, offset, random = PartitionOffsets(), 0, Random(seed)
    ended: dict[int, set[int]] = {}
    while not offsets.full:
        offset += random.randint(1, gap)
        offsets.read(offset, 3)
        ended[offset] = set(random.sample(range(3), random.choice([0, 0, 1, 3])))
        for place in ended[offset]:
            offsets.ended(offset, place)
    position = offsets.position("automations-actions-0123456789abcdef0123456789abcdef")
    assert position is not None
    again = taken_up(position)
    for at, done in ended.items():
        assert at < position.offset or places(again.read(at, 3), 3) == done


def test_a_partition_is_pressed_then_full_and_neither_any_more_when_enough_has_ended() -> None:
    offsets = PartitionOffsets()
    told = []
    for offset in range(FULL):
        told.append((offsets.pressed, offsets.full))
        offsets.read(offset, 1)
    assert told == [(False, False)] * PRESSED + [(True, False)] * (FULL - PRESSED)
    assert (offsets.pressed, offsets.full) == (True, True)
    for offset in range(FULL - PRESSED):
        offsets.ended(offset, 0)
    offsets.position("me")
    assert (offsets.pressed, offsets.full) == (True, False)
    offsets.ended(FULL - 1, 0)
    assert not offsets.pressed


def test_records_far_apart_fill_it_earlier_until_they_fit() -> None:
    offsets = PartitionOffsets()
    for offset in range(0, 1_000 * 10**6, 10**6):
        offsets.read(offset, 1)
    assert not offsets.full
    offsets.position("me")
    assert offsets.full
    for offset in range(0, 500 * 10**6, 10**6):
        offsets.ended(offset, 0)
    offsets.position("me")
    assert not offsets.full


def test_a_record_with_more_actions_than_the_metadata_can_tell_is_repeated_not_lost() -> None:
    offsets = PartitionOffsets()
    offsets.read(7, 50_000)
    offsets.read(8, 1)
    offsets.ended(7, 49_999)
    offsets.ended(8, 0)
    position = offsets.position("me")
    assert position is not None
    assert not offsets.full, "waiting helps nothing: one record alone is too long"
    assert (position.offset, taken_up(position).resumed.ended(7), taken_up(position).resumed.ended(8)) == (7, 0, 0)


@pytest.mark.parametrize(
    "metadata",
    [None, "", "1", ";", ";;", "1;;", "1;me;", "3;me;1p", "me;1;1p", "1;me;0", "1;me; ", "1;me;1px", "1;me;g#",
     "1;me;1p$E",     "1;me;\N{SNOWMAN}", "\x00", "x" * 5_000],
)  # fmt: skip
def test_metadata_of_another_format_says_nothing(metadata: str | None) -> None:
    assert resumed(metadata, 10) == Resumed()
    assert PartitionOffsets(resumed(metadata, 10)).read(10, 3) == 0


@given(
    st.text()
    | st.builds(lambda version, noise: f"{version};me;" + b85encode(noise).decode(), st.integers(1, 2), st.binary()),
    st.integers(-1_001, 2**40),
)
def test_whatever_the_metadata_is_reading_it_raises_nothing(metadata: str, offset: int) -> None:
    PartitionOffsets(resumed(metadata, offset)).read(max(0, offset), 3)


def test_a_record_that_had_ended_is_passed_without_a_delivery() -> None:
    before = PartitionOffsets()
    before.read(5, 2)
    before.read(6, 2)
    before.ended(6, 1)
    before.ended(6, 0)
    position = before.position("me")
    assert position is not None
    after = taken_up(position)
    assert after.read(5, 2) == 0
    assert after.read(6, 2) == 0b11
    assert after.resumed.ended(6) == ALL_ENDED
    assert after.resumed.ended(7) == 0
    assert after.open_deliveries == 2


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=40), st.integers(1, 3))
def test_how_often_each_was_tried_is_known_to_whoever_goes_on(tries: list[tuple[int, int]], generations: int) -> None:
    """Up to three times, however many owners there were; who has not read a record again hands it on."""
    counted: dict[tuple[int, int], int] = {}
    offsets = PartitionOffsets()
    for generation in range(generations):
        for offset in range(6):
            assert offsets.read(offset, 10) == 0
            for place in range(10):
                assert offsets.resumed.tried(offset, place) == counted.get((offset, place), 0)
        for offset, place in tries[generation::generations]:
            offsets.tried(offset, place)
            counted[offset, place] = min(MOST_TRIES, counted.get((offset, place), 0) + 1)
        position = offsets.position("me")
        assert position is not None
        between = taken_up(position)
        between.read(0, 10)
        position = between.position("other")
        assert position is not None
        offsets = taken_up(position)


def test_what_each_was_answered_last_is_known_to_whoever_goes_on() -> None:
    offsets = PartitionOffsets()
    for _ in range(2):
        for offset in range(3):
            offsets.read(offset, 2)
        for place, status in ((0, 500), (1, 429), (0, 503)):
            offsets.tried(1, place, status)
        offsets.tried(2, 1, None)
        position = offsets.position("me")
        assert position is not None
        offsets = taken_up(position)
        assert [offsets.resumed.status(offset, place) for offset in (1, 2) for place in (0, 1)] == [
            503,
            429,
            None,
            None,
        ]
    offsets.read(0, 2)
    position = offsets.position("me")
    assert position is not None
    assert taken_up(position).resumed.status(1, 0) == 503, "who has not read a record again hands it on"


def tried_all(count: int, status: int | None, deliveries: int = 3) -> PartitionOffsets:
    """Each record's last delivery was tried, and of every other one the first has ended."""
    offsets = PartitionOffsets()
    for offset in range(count):
        offsets.read(offset, deliveries)
        offsets.tried(offset, deliveries - 1, status)
        if offset % 2:
            offsets.ended(offset, 0)
    return offsets


@pytest.mark.parametrize("deliveries", [2, 3, 7])
def test_statuses_give_way_before_anything_that_has_ended_does(deliveries: int) -> None:
    """Who goes on without a status has lost a word in a header; what is cut off is delivered twice."""
    offsets = tried_all(600, 503, deliveries)
    position = offsets.position("automations-actions-0123456789abcdef0123456789abcdef")
    assert position is not None
    assert len(position.metadata.encode()) <= MOST_BYTES
    again = taken_up(position)
    for offset in range(600):
        assert again.resumed.tried(offset, deliveries - 1) == 1
        assert again.read(offset, deliveries) == offset % 2
    assert again.resumed.status(0, deliveries - 1) is None
    assert not offsets._overfull


def test_tries_give_way_too_before_anything_that_has_ended_does() -> None:
    """All that was read may be tried after it was read, when it is too late to read less."""
    offsets = tried_all(FULL, 503)
    position = offsets.position("automations-actions-0123456789abcdef0123456789abcdef")
    assert position is not None
    again = taken_up(position)
    assert [again.read(offset, 3) for offset in range(FULL)] == [0, 1] * (FULL // 2)
    assert again.resumed.tried(0, 2) == 0
    assert offsets.full


def test_one_that_was_tried_counts_double() -> None:
    assert not tried_all(PRESSED // 2 - 1, None).pressed
    assert tried_all(PRESSED // 2, None).pressed
    assert not tried_all(FULL // 2 - 1, None).full
    offsets = tried_all(FULL // 2, None)
    assert offsets.full
    for place in range(3):
        offsets.ended(0, place)
    assert not offsets.full


def test_what_has_no_status_to_tell_is_written_so_that_the_version_before_reads_it() -> None:
    for status, version in ((None, "1"), (503, "2")):
        position = tried_all(10, status).position("me")
        assert position is not None
        written, _, encoded = position.metadata.split(";", 2)
        assert written == version
    offsets = PartitionOffsets()
    for offset in range(3):
        offsets.read(offset, 1)
    offsets.tried(1, 0)
    position = offsets.position("me")
    assert position is not None
    version, _, encoded = position.metadata.split(";", 2)
    assert (version, list(b85decode(encoded))) == ("1", [3, 0, 0, 3, 0, 1, 2, 0])


def test_metadata_of_the_version_before_is_understood() -> None:
    varints = bytes([5, 2, 0, 5, 1, 2])
    found = resumed("1;me;" + b85encode(varints).decode(), 10)
    assert found == Resumed("me", 15, {11: (0, 0), 13: (1, 2)})


def test_nothing_read_is_nothing_to_commit() -> None:
    offsets = PartitionOffsets()
    assert not offsets.moved()
    assert offsets.position("me") is None


def test_what_was_committed_is_committed_again_only_if_it_moved_or_failed() -> None:
    offsets = PartitionOffsets()
    offsets.read(5, 1)
    assert offsets.moved()
    offsets.position("me")
    assert not offsets.moved()
    offsets.uncommitted()
    assert offsets.moved()
    offsets.position("me")
    offsets.ended(5, 0)
    assert offsets.moved()


def test_a_mistake_is_loud() -> None:
    offsets = PartitionOffsets()
    offsets.read(5, 2)
    with pytest.raises(ValueError, match="offset 5 was read after 5"):
        offsets.read(5, 1)
    offsets.ended(5, 1)
    for offset, place in [(5, 1), (4, 0)]:
        with pytest.raises(KeyError):
            offsets.ended(offset, place)
    assert offsets.open_deliveries == 1


def test_a_position_passes_what_holds_no_records_and_nothing_that_is_open() -> None:
    """At a log's end there may be what a killed process wrote in vain: whoever reads the position knows it is none."""
    offsets = PartitionOffsets()
    offsets.passed(0)
    assert not offsets.moved()
    offsets.passed(3)
    found = offsets.position("")
    assert found is not None
    assert found.offset == 3
    offsets.read(4, 1)
    offsets.passed(9)
    offsets.passed(7)
    found = offsets.position("")
    assert found is not None
    assert (found.offset, resumed(found.metadata, 4).end) == (4, 9)
    offsets.ended(4, 0)
    found = offsets.position("")
    assert found is not None
    assert found.offset == 9
