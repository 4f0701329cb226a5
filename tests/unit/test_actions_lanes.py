"""Which delivery goes next: bounded, fair, in order, and kept from destinations that are closed."""

from collections import Counter, defaultdict
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.channels.channel import Rate
from actions.delivery import Delivery
from actions.health import FAILURES, NEVER, PAUSE_MS, SLOW_MS
from actions.lanes import HELD_BACK_MS, RETURN_ROOM, Lane, Lanes, Refused
from actions.row import LONGEST_MS
from tests.unit.actions_events import delivery

NOW = 10**9
HOUR = 3_600_000
LANE = Lane("to", "run")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("take"), st.just(0), st.just(0)),
        st.tuples(st.just("give"), st.integers(0, 9), st.sampled_from(["well", "late", "failed"])),
        st.tuples(st.just("drop"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("later"), st.sampled_from([1, SLOW_MS + 1, HOUR]), st.just(0)),
    ),
    max_size=80,
)


def fail(lanes: Lanes, destination: str, now: int, times: int = FAILURES) -> None:
    """Let the destination fail so often, by deliveries of its own."""
    for number in range(times):
        lane = Lane(destination, f"failing{number}")
        assert lanes.add(lane, delivery(), now) is None
        assert lanes.take(now) == (lane, delivery())
        lanes.health(destination).failed(now)
        lanes.give_back(lane, now)


def take_all(lanes: Lanes, now: int) -> list[Lane]:
    found = []
    while (taken := lanes.take(now)) is not None:
        found.append(taken[0])
    return found


@given(STEPS)
def test_bounds_and_order_hold_and_nothing_is_stuck(steps: list[tuple[str, int, object]]) -> None:
    """Whatever comes, ends, fails, is slow or is taken away: what may go goes, and nothing else."""
    lanes, now = Lanes(overall=4, each=2), NOW
    queued: dict[Lane, list[Delivery]] = defaultdict(list)
    out: list[Lane] = []
    added = count()

    def free(lane: Lane) -> bool:
        health = lanes.health(lane.destination)
        busy = Counter(one.destination for one in out)[lane.destination]
        return lane not in out and busy < health.allowed(2) and health.free_at(now) <= now

    def take() -> bool:
        taken = lanes.take(now)
        able = [lane for lane, waiting in queued.items() if waiting and free(lane)]
        if taken is None:
            # Fast ones are held back only by all places, slow ones also by their half of them.
            assert len(out) == 4 or not able or len(out) >= 2
            return False
        lane, found = taken
        assert lane in able
        assert found == queued[lane].pop(0)
        out.append(lane)
        assert len(out) == lanes.out <= 4
        return True

    def give(at: int, how: object) -> None:
        lane = out.pop(at % len(out))
        health = lanes.health(lane.destination)
        if how == "failed":
            health.failed(now)
        else:
            health.answered(5 if how == "well" else 9 * SLOW_MS)
        lanes.give_back(lane, now)
        for gone, refused in lanes.evict(lane.destination, now):
            assert refused.reason == "breaker_open"
            assert any(gone in waiting and not waiting.remove(gone) for waiting in queued.values())  # type: ignore[func-returns-value]

    for what, a, b in steps:
        if what == "add":
            lane, one = Lane(f"to{a}", f"of{b}"), delivery(next(added))
            if lanes.add(lane, one, now) is None:
                queued[lane].append(one)
        elif what == "take":
            take()
        elif what == "give" and out:
            give(a, b)
        elif what == "later":
            now += a
        elif what == "drop":
            for waiting in queued.values():
                waiting[:] = [one for one in waiting if one.source.offset % 3 != a]
            lanes.drop(lambda one, rest=a: one.source.offset % 3 == rest, now)  # type: ignore[misc]
    while out or any(queued.values()):
        if not take():
            if out:
                give(0, "well")
            else:
                assert now < lanes.wakes_at() < NEVER
                now = lanes.wakes_at()
    assert lanes.take(now) is None
    assert lanes.out == 0


def test_destinations_take_turns() -> None:
    lanes = Lanes(overall=4, each=8)
    for number in range(50):
        lanes.add(Lane("busy", f"run{number}"), delivery(number), NOW)
    lanes.add(Lane("quiet", "run"), delivery(99), NOW)
    assert {one[0].destination for one in (lanes.take(NOW), lanes.take(NOW)) if one} == {"busy", "quiet"}


def test_a_subject_that_has_much_to_say_takes_turns_with_the_others_of_its_destination() -> None:
    lanes = Lanes(each=1)
    for number in range(5):
        lanes.add(Lane("to", "loud"), delivery(number), NOW)
    lanes.add(Lane("to", "quiet"), delivery(9), NOW)
    order = []
    for _ in range(6):
        taken = lanes.take(NOW)
        assert taken is not None
        order.append(taken[0].subject)
        lanes.give_back(taken[0], NOW)
    assert order[:3] == ["loud", "quiet", "loud"]


def test_a_destination_that_never_answers_leaves_places_to_the_others() -> None:
    lanes = Lanes()
    for number in range(100):
        lanes.add(Lane("dead", f"run{number}"), delivery(number), NOW)
    assert len(take_all(lanes, NOW)) == lanes.out == 8
    lanes.add(Lane("well", "run"), delivery(100), NOW)
    assert lanes.take(NOW) is not None


def test_slow_destinations_have_half_of_the_places_however_many_they_are() -> None:
    lanes = Lanes(overall=8, each=4)
    for name in range(6):
        fail(lanes, f"slow{name}", NOW, times=1)
    for name in range(6):
        for number in range(4):
            lanes.add(Lane(f"slow{name}", f"run{number}"), delivery(number), NOW)
    assert len(take_all(lanes, NOW)) == 4
    for number in range(9):
        lanes.add(Lane(f"well{number}", "run"), delivery(number), NOW)
    assert [lane.destination[:4] for lane in take_all(lanes, NOW)] == ["well"] * 4


def test_one_that_becomes_slow_while_it_waits_for_its_turn_counts_as_slow() -> None:
    """Its turn came as a fast one, while all places were taken; by now its first request hangs."""
    lanes = Lanes(overall=4, each=2)
    for name in ("a", "b", "c", "d"):
        lanes.add(Lane(name, "hangs"), delivery(), NOW)
    first = take_all(lanes, NOW)
    for name in ("a", "b"):
        lanes.add(Lane(name, "next"), delivery(), NOW)
    later = NOW + SLOW_MS + 1
    lanes.give_back(first[3], later)
    lanes.give_back(first[2], later)
    lanes.add(Lane("well", "run"), delivery(), later)
    lanes.add(Lane("well", "other"), delivery(), later)
    names = [lane.destination for lane in take_all(lanes, later)]
    assert "well" in names, "the fast one has its turn at once"


def test_neither_slow_nor_fast_ones_starve_the_others() -> None:
    lanes = Lanes(overall=2, each=2)
    for number in range(40):
        for name in ("well", "slow"):
            lanes.add(Lane(name, f"run{number}"), delivery(number), NOW)
    lanes.health("slow").failed(NOW)
    went = Counter[str]()
    for _ in range(40):
        taken = lanes.take(NOW)
        assert taken is not None
        went[taken[0].destination] += 1
        lanes.give_back(taken[0], NOW)
    assert min(went.values()) >= 18


def test_a_closed_destination_takes_nothing_then_one_at_a_time_until_it_answers() -> None:
    lanes = Lanes()
    fail(lanes, "to", NOW)
    assert lanes.closed() == ["to"]
    assert lanes.add(Lane("to", "run"), delivery(), NOW) == Refused("breaker_open", PAUSE_MS[0])
    soon = NOW + PAUSE_MS[0] - HELD_BACK_MS
    for number in range(4):
        assert lanes.add(Lane("to", f"run{number}"), delivery(number), soon) is None
    assert take_all(lanes, soon) == []
    assert lanes.wakes_at() == NOW + PAUSE_MS[0]
    now = lanes.wakes_at()
    probes = take_all(lanes, now)
    assert len(probes) == 1
    lanes.health("to").answered(5)
    lanes.give_back(probes[0], now)
    assert lanes.closed() == []
    assert len(take_all(lanes, now)) == 3


def test_what_waits_for_a_destination_that_closes_is_told_at_once() -> None:
    lanes = Lanes()
    for number in range(FAILURES + 3):
        lanes.add(Lane("to", f"run{number}"), delivery(number), NOW)
    lanes.add(Lane("other", "run"), delivery(99), NOW)
    out = take_all(lanes, NOW)
    for number in range(20, 23):
        lanes.add(Lane("to", "run0"), delivery(number), NOW)
    for lane in [lane for lane in out if lane.destination == "to"][:FAILURES]:
        assert list(lanes.evict("to", NOW)) == []
        lanes.health("to").failed(NOW)
        lanes.give_back(lane, NOW)
    gone = list(lanes.evict("to", NOW))
    assert [one.id for one, _ in gone] == ["d20", "d21", "d22"]
    assert {refused for _, refused in gone} == {Refused("breaker_open", PAUSE_MS[0])}
    assert list(lanes.evict("nobody", NOW)) == []


def test_patience_holds_back_even_one_whose_turn_had_come() -> None:
    """All places were taken when its turn came; then its answer asks for some seconds."""
    lanes = Lanes(overall=2, each=2)
    lanes.add(Lane("to", "first"), delivery(1), NOW)
    lanes.add(Lane("other", "run"), delivery(2), NOW)
    first = take_all(lanes, NOW)[0]
    lanes.add(Lane("to", "second"), delivery(3), NOW)
    lanes.health("to").patience(NOW, 5_000)
    lanes.give_back(first, NOW)
    assert lanes.take(NOW) is None
    assert lanes.wakes_at() == NOW + 5_000
    assert lanes.take(NOW + 5_000) == (Lane("to", "second"), delivery(3))


def test_short_patience_is_waited_for_here_and_a_long_one_elsewhere() -> None:
    lanes = Lanes()
    lanes.add(Lane("to", "run"), delivery(1), NOW)
    lane = take_all(lanes, NOW)[0]
    lanes.health("to").patience(NOW, HELD_BACK_MS)
    lanes.give_back(lane, NOW)
    assert lanes.add(Lane("to", "run"), delivery(2), NOW) is None
    assert lanes.take(NOW) is None
    lanes.health("to").patience(NOW, HELD_BACK_MS + 1)
    assert list(lanes.evict("to", NOW)) == [(delivery(2), Refused("retry_after", HELD_BACK_MS + 1))]
    assert lanes.add(Lane("to", "run"), delivery(3), NOW) == Refused("retry_after", HELD_BACK_MS + 1)


def test_patience_outlives_the_last_delivery() -> None:
    """A destination is forgotten when it is idle, but not what it asked for."""
    lanes = Lanes()
    lanes.add(Lane("to", "run"), delivery(1), NOW)
    lane = take_all(lanes, NOW)[0]
    lanes.health("to").patience(NOW, HOUR)
    lanes.give_back(lane, NOW)
    assert lanes.add(Lane("to", "run"), delivery(2), NOW + 1) == Refused("retry_after", HOUR - 1)


def test_a_rate_is_the_lower_one_of_the_services_and_the_settings() -> None:
    for own, general in [(Rate(1, 3), None), (None, Rate(1, 3)), (Rate(1, 3), Rate(5, 9)), (Rate(5, 9), Rate(1, 3))]:
        lanes = Lanes(rate=general)
        for number in range(5):
            lanes.add(Lane("to", f"run{number}"), delivery(number), NOW, own)
        assert len(take_all(lanes, NOW)) == 3
        assert 1_000 <= lanes.wakes_at() - NOW <= 1_001
        assert len(take_all(lanes, lanes.wakes_at())) == 1


def paced(lanes: Lanes, took_ms: int, now: int) -> None:
    """Let the destination "to" show by many answers that each takes so long; one delivery waits for it."""
    for subject in ("first", "second"):
        lanes.add(Lane("to", subject), delivery(), now)
    assert lanes.take(now) is not None
    for _ in range(80):
        lanes.health("to").answered(took_ms)
    lanes.give_back(Lane("to", "first"), now)


def fill(lanes: Lanes, now: int, how: str = "") -> int:
    """Queue until one is refused; how many were queued."""
    for number in range(1_000):
        refused = lanes.add(
            Lane("to", f"fill{number}"), delivery(number), now,
            returns=how == "returns", pressed=how == "pressed", strained=how == "strained",
        )  # fmt: skip
        if refused is not None:
            assert refused.reason == "destination_busy"
            return number
    return 1_000


def test_a_destination_holds_what_it_takes_within_seconds_at_its_pace() -> None:
    held = []
    for took_ms, how in [(1_000, ""), (100, ""), (100, "pressed"), (100, "returns"), (0, "")]:
        lanes = Lanes(each=1)
        paced(lanes, took_ms, NOW)
        held.append(fill(lanes, NOW, how))
    assert held == pytest.approx([10, 100, 10, RETURN_ROOM, 1_000], abs=2)


def test_one_that_does_not_answer_shows_its_pace_by_that() -> None:
    lanes = Lanes(each=1)
    lanes.add(Lane("to", "hangs"), delivery(), NOW)
    take_all(lanes, NOW)
    assert fill(lanes, NOW + 2_500) in range(3, 6)


def test_a_process_that_can_not_keep_up_itself_blames_no_destination_but_a_slow_one() -> None:
    for took_ms, held in [(100, 1_000), (2 * SLOW_MS, 5)]:
        lanes = Lanes(each=1)
        paced(lanes, took_ms, NOW)
        assert fill(lanes, NOW, "strained") == pytest.approx(held, abs=1)


def test_no_room_means_a_place_in_a_row() -> None:
    lanes = Lanes(each=1)
    paced(lanes, 900, NOW)
    fill(lanes, NOW)
    told = [lanes.add(Lane("to", "run"), delivery(number), NOW) for number in range(4)]
    assert all(one is not None and one.exact for one in told)
    waits = [one.for_ms for one in told if one]
    assert waits == sorted(set(waits))
    assert waits[0] >= 1_000


def test_who_is_to_follow_one_from_elsewhere_comes_just_after_it_and_takes_nobodys_room() -> None:
    lanes = Lanes(each=1)
    waits = [lanes.add(LANE, delivery(number), NOW, older_ms=older_ms) for number, older_ms in enumerate((0, 5_000))]
    assert waits == [Refused("destination_busy", 1_000, exact=True), Refused("destination_busy", 5_001, exact=True)]
    assert list(lanes.held(LANE)) == []
    assert lanes.add(Lane("to", "other"), delivery(2), NOW) is None


def test_of_a_lane_those_that_queue_or_are_out_are_told_newest_first() -> None:
    lanes = Lanes()
    for number in range(3):
        lanes.add(LANE, delivery(number), NOW)
    assert lanes.take(NOW) == (LANE, delivery(0))
    assert list(lanes.held(LANE)) == [delivery(2), delivery(1), delivery(0)]
    lanes.give_back(LANE, NOW)
    assert list(lanes.held(LANE)) == [delivery(2), delivery(1)]


def test_nobody_is_told_to_wait_for_longer_than_an_hour() -> None:
    lanes = Lanes(each=1)
    paced(lanes, 60_000, NOW)
    told = [lanes.add(Lane("to", f"run{number}"), delivery(), NOW) for number in range(500)]
    assert max(one.for_ms for one in told if one is not None) == LONGEST_MS


def test_what_is_dropped_is_told_and_what_is_out_stays() -> None:
    lanes = Lanes(each=1)
    for number in range(4):
        lanes.add(Lane("to", f"run{number % 2}"), delivery(number), NOW)
    lane = take_all(lanes, NOW)[0]
    assert {one.id for one in lanes.drop(lambda one: one.source.offset < 3, NOW)} == {"d1", "d2"}
    assert lanes.out == 1
    lanes.give_back(lane, NOW)
    assert lanes.take(NOW) == (Lane("to", "run1"), delivery(3))


def test_destinations_are_forgotten_when_they_are_idle() -> None:
    """A process that has spoken with a million receivers remembers those that it speaks with now."""
    lanes = Lanes()
    for name in ("a", "b"):
        lanes.add(Lane(name, "run"), delivery(), NOW)
    for lane in take_all(lanes, NOW):
        lanes.health(lane.destination).answered(5)
        lanes.give_back(lane, NOW)
    for name in ("a", "b"):
        with pytest.raises(KeyError):
            lanes.health(name)


def test_also_those_that_were_limited_failing_or_patient_are_forgotten_in_time() -> None:
    lanes = Lanes()
    for number in range(50):
        fail(lanes, f"failed{number}", NOW)
    for number in range(50):
        lanes.add(Lane(f"rated{number}", "run"), delivery(), NOW, Rate(1, 2))
    for lane in take_all(lanes, NOW):
        lanes.health(lane.destination).answered(5)
        lanes.give_back(lane, NOW)
    later = NOW + 3 * HOUR
    for number in range(200):
        lanes.add(Lane(f"other{number}", "run"), delivery(), later)
    assert lanes.closed() == []
