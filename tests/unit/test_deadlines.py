"""Deadlines come up in order of their instants, each key's latest setting only."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.deadlines import Deadlines

# Several in a bucket of about a second, and several buckets.
INSTANTS = st.integers(0, 60) | st.integers(1_000, 1_060) | st.integers(0, 5_000)
STEPS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.none() | INSTANTS, INSTANTS))


def test_a_deadline_comes_up_only_once_its_instant_has_passed() -> None:
    deadlines: Deadlines[bytes] = Deadlines()
    deadlines.set(b"a", 100)
    assert deadlines.pop_before(100) is None
    assert deadlines.pop_before(101) == b"a"
    assert deadlines.pop_before(101) is None


def test_a_key_set_again_comes_up_at_its_new_instant_only() -> None:
    deadlines: Deadlines[bytes] = Deadlines()
    deadlines.set(b"a", 100)
    deadlines.set(b"a", 200)
    assert deadlines.pop_before(150) is None
    assert deadlines.pop_before(201) == b"a"


def test_a_key_that_is_cleared_and_set_to_the_same_instant_comes_up_once() -> None:
    deadlines: Deadlines[bytes] = Deadlines()
    for _ in range(3):
        deadlines.set(b"a", 100)
        deadlines.set(b"a", None)
    deadlines.set(b"a", 100)
    assert deadlines.pop_before(101) == b"a"
    assert deadlines.pop_before(101) is None


@given(steps=STEPS)
def test_they_are_a_sorted_list_with_one_instant_a_key(steps: list[tuple[bytes, int | None, int]]) -> None:
    deadlines: Deadlines[bytes] = Deadlines()
    expected: dict[bytes, int] = {}
    for key, due_ms, progress_ms in steps:
        deadlines.set(key, due_ms)
        if due_ms is None:
            expected.pop(key, None)
        else:
            expected[key] = due_ms
        assert len(deadlines) == len(expected)
        found = deadlines.pop_before(progress_ms)
        due = sorted((due_ms, key) for key, due_ms in expected.items() if due_ms < progress_ms)
        assert found == (due[0][1] if due else None)
        if found is not None:
            del expected[found]


def test_deadlines_that_always_move_do_not_fill_the_memory() -> None:
    deadlines: Deadlines[bytes] = Deadlines()
    for instant in range(10_000):
        deadlines.set(b"a", instant)
    assert deadlines._left < 2_000
    assert deadlines.pop_before(10_000) == b"a"
