"""Retention: keys come up to be looked at once their hour has passed, never before."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.retention import HOUR_MS, Retention


def taken(retention: Retention, progress_ms: int) -> list[bytes]:
    return list(iter(lambda: retention.pop_before(progress_ms), None))


def test_a_key_comes_up_within_an_hour_after_it_expired() -> None:
    retention = Retention()
    retention.put(b"a", 10)
    assert taken(retention, HOUR_MS - 1) == []
    assert taken(retention, HOUR_MS) == [b"a"]
    assert taken(retention, 2 * HOUR_MS) == []


def test_nothing_comes_up_where_nothing_was_put() -> None:
    assert taken(Retention(), 10 * HOUR_MS) == []


@given(
    puts=st.lists(st.integers(0, 20 * HOUR_MS)),
    looks=st.lists(st.integers(0, 30 * HOUR_MS)).map(sorted),
)
def test_every_key_comes_up_once_after_it_expired_and_within_an_hour_of_progress(
    puts: list[int], looks: list[int]
) -> None:
    retention, left = Retention(), {}
    for number, expires_ms in enumerate(puts):
        key = str(number).encode()
        retention.put(key, expires_ms)
        left[key] = expires_ms
    for progress_ms in looks:
        for key in taken(retention, progress_ms):
            assert left.pop(key) < progress_ms
        assert all(expires_ms + HOUR_MS >= progress_ms for expires_ms in left.values())
