"""Which delivery goes next: bounded, fair, in order."""

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from actions.delivery import Delivery
from actions.lanes import Lane, Lanes
from tests.unit.actions_events import delivery

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("take"), st.just(0), st.just(0)),
        st.tuples(st.just("give"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("drop"), st.integers(0, 2), st.just(0)),
    ),
    max_size=80,
)


@given(STEPS)
def test_bounds_and_order_hold_and_nothing_is_stuck(steps: list[tuple[str, int, int]]) -> None:
    lanes = Lanes(overall=4, each=2)
    queued: dict[Lane, list[Delivery]] = defaultdict(list)
    out: list[Lane] = []
    added = 0

    def take() -> None:
        taken = lanes.take()
        busy = Counter(lane.destination for lane in out)
        free = [lane for lane, waiting in queued.items() if waiting and lane not in out and busy[lane.destination] < 2]
        if taken is None:
            assert len(out) == 4 or not free
            return
        lane, found = taken
        assert lane in free
        assert found == queued[lane].pop(0)
        out.append(lane)
        assert len(out) == lanes.out <= 4

    for what, a, b in steps:
        if what == "add":
            added += 1
            lane = Lane(f"to{a}", f"of{b}")
            queued[lane].append(delivery(added))
            lanes.add(lane, queued[lane][-1])
        elif what == "take":
            take()
        elif what == "give" and out:
            lanes.give_back(out.pop(a % len(out)))
        elif what == "drop":
            for waiting in queued.values():
                waiting[:] = [one for one in waiting if one.source.offset % 3 != a]
            lanes.drop(lambda one, rest=a: one.source.offset % 3 == rest)  # type: ignore[misc]
    while out or any(queued.values()):
        before = sum(map(len, queued.values())), len(out)
        take()
        if before == (sum(map(len, queued.values())), len(out)):
            lanes.give_back(out.pop())
    assert lanes.take() is None


def test_destinations_take_turns() -> None:
    lanes = Lanes(overall=4, each=8)
    for number in range(50):
        lanes.add(Lane("busy", f"run{number}"), delivery(number))
    lanes.add(Lane("quiet", "run"), delivery(99))
    taken = [lanes.take() for _ in range(2)]
    assert {one[0].destination for one in taken if one} == {"busy", "quiet"}


def test_a_destination_that_never_answers_leaves_slots_to_the_others() -> None:
    lanes = Lanes()
    for number in range(100):
        lanes.add(Lane("dead", f"run{number}"), delivery(number))
    while lanes.take() is not None:
        pass
    assert lanes.out == 8
    lanes.add(Lane("well", "run"), delivery(100))
    assert lanes.take() is not None
