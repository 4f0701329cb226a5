"""Broker time: what a process may take the brokers' clocks to say, without ever asking the host's."""

from hypothesis import given
from hypothesis import strategies as st

from streams.broker_time import BrokerTime

APPENDS = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 500)), min_size=1)


def test_there_is_no_broker_time_before_an_append_has_been_seen() -> None:
    assert BrokerTime().at(1_000) is None


def test_it_is_the_append_time_seen_plus_the_monotonic_time_since_then() -> None:
    time = BrokerTime()
    time.observe(5_000, 100)
    assert (time.at(100), time.at(350)) == (5_000, 5_250)


def test_an_append_no_greater_than_one_seen_before_changes_nothing() -> None:
    time = BrokerTime()
    time.observe(5_000, 100)
    time.observe(5_000, 200)
    time.observe(4_000, 300)
    assert time.at(300) == 5_200


@given(appends=APPENDS)
def test_it_never_runs_ahead_of_the_brokers_clock_however_late_appends_are_seen(
    appends: list[tuple[int, int]],
) -> None:
    """The broker's clock is the monotonic one here; an append is seen some time after it was made."""
    time = BrokerTime()
    seen = sorted((made_ms + delay_ms, made_ms) for made_ms, delay_ms in appends)
    for now_ms, made_ms in seen:
        time.observe(made_ms, now_ms)
        at = time.at(now_ms)
        assert at is not None
        assert made_ms <= at <= now_ms


@given(appends=APPENDS)
def test_while_appends_are_seen_as_they_are_made_it_never_goes_back(appends: list[tuple[int, int]]) -> None:
    time, before, now_ms = BrokerTime(), 0, 0
    for step_ms, ahead_ms in appends:
        now_ms += step_ms
        time.observe(now_ms + ahead_ms % 2, now_ms)
        at = time.at(now_ms)
        assert at is not None
        assert at >= before
        before = at
