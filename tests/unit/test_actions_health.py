"""When a destination may be asked: its breaker, its patience, its rate."""

from hypothesis import given
from hypothesis import strategies as st

from actions.channels.channel import Rate
from actions.health import FAILURES, FORGOTTEN_AFTER_MS, PAUSE_MS, SLOW_MS, Health

SHORTEST, LONGEST = PAUSE_MS


def closed_at(now_ms: int) -> Health:
    health = Health()
    assert [health.failed(now_ms) for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    return health


@given(st.lists(st.tuples(st.sampled_from(["failed", "answered", "early"]), st.integers(0, 10**6)), max_size=60))
def test_so_many_failures_in_a_row_close_it_for_pauses_that_double_and_any_answer_opens_it(
    steps: list[tuple[str, int]],
) -> None:
    health, now, in_a_row, pause = Health(), 10**12, 0, SHORTEST
    for what, later in steps:
        if what == "early":
            # What was under way when it was closed fails after that, and before the pause is over.
            if health.closed:
                until = health.closed_until_ms
                assert not health.failed(until - 1)
                assert health.closed_until_ms == until
            continue
        now = max(now, health.closed_until_ms) + later
        if what == "answered":
            health.answered(5)
            in_a_row, pause = 0, SHORTEST
            assert health.free_at(now) <= now
        else:
            in_a_row += 1
            assert health.failed(now) == (in_a_row >= FAILURES)
            if in_a_row >= FAILURES:
                assert health.free_at(now) == health.closed_until_ms == now + pause
                pause = min(2 * pause, LONGEST)
        assert health.closed == (in_a_row >= FAILURES)
        assert health.allowed(8) == (1 if health.closed else 8)


def test_the_pause_doubles_from_half_a_minute_to_five() -> None:
    health, now, pauses = closed_at(0), 0, []
    for _ in range(6):
        pauses.append(health.closed_until_ms - now)
        now = health.closed_until_ms
        health.failed(now)
    assert pauses == [30_000, 60_000, 120_000, 240_000, 300_000, 300_000]


def test_patience_is_given_whatever_comes_meanwhile_and_a_shorter_one_takes_nothing_back() -> None:
    health = Health()
    health.patience(1_000, 9_000)
    health.patience(2_000, 10)
    health.answered(5)
    assert health.free_at(3_000) == 10_000
    assert health.free_at(10_000) <= 10_000
    assert not health.closed


@given(
    st.sampled_from([Rate(1, 5), Rate(100, 1), Rate(0.5, 3), Rate(1_000, 20)]),
    st.lists(st.integers(0, 4_000), min_size=1, max_size=80),
)
def test_over_no_stretch_of_time_is_it_asked_more_than_its_rate_allows(rate: Rate, waits: list[int]) -> None:
    health, now, sent = Health(rate), 10**12, []
    for wait in waits:
        now = max(now + wait // 40, health.free_at(now + wait // 40))
        assert health.free_at(now) <= now
        health.sent(now)
        sent.append(now)
    for first, begin in enumerate(sent):
        for last in range(first, len(sent)):
            allowed = rate.burst + rate.per_second * (sent[last] - begin) / 1000
            assert last - first + 1 <= allowed + 1e-6


@given(st.sampled_from([Rate(1, 5), Rate(100, 1), Rate(0.5, 3)]), st.integers(1, 50))
def test_it_is_asked_as_often_as_its_rate_allows(rate: Rate, count: int) -> None:
    """No place is lost: what comes without a stop goes at the full rate, but for the rounding to ms."""
    health, now = Health(rate), 10**12
    begin = now
    for _ in range(count):
        now = max(now, health.free_at(now))
        health.sent(now)
    waited = max(0, count - rate.burst)
    assert now - begin <= waited * (1000 / rate.per_second + 1) + 1


def test_a_clock_that_stands_still_or_a_burst_of_nothing_hangs_nothing() -> None:
    health = Health(Rate(1, 0))
    assert health.free_at(5) <= 5
    health.sent(5)
    assert health.free_at(5) == health.free_at(5) == 1_006
    assert health.free_at(1_006) <= 1_006


def test_slow_is_what_answers_late_or_fails() -> None:
    health = Health()
    for _ in range(40):
        health.answered(SLOW_MS + 100)
    assert health.slow
    for _ in range(40):
        health.answered(20)
    assert not health.slow
    health.failed(0)
    assert health.slow
    health.answered(20)
    assert not health.slow


def test_the_pace_is_that_of_its_answers_or_of_its_rate_whichever_is_slower() -> None:
    health = Health(Rate(2, 1))
    assert health.pace_ms(8) == 500
    for _ in range(80):
        health.answered(8_000)
    assert 900 < health.pace_ms(8) <= 1_000
    assert Health().pace_ms(8) == 0


def test_it_is_forgotten_when_a_new_one_would_do_as_well() -> None:
    assert Health().forgettable(0)
    rated = Health(Rate(1, 2))
    rated.sent(1_000)
    assert not rated.forgettable(1_500)
    assert rated.forgettable(2_000)
    failing = closed_at(1_000)
    assert not failing.forgettable(failing.closed_until_ms + 1)
    assert failing.forgettable(failing.closed_until_ms + FORGOTTEN_AFTER_MS + 1)


def test_a_destination_that_asked_for_patience_is_not_forgotten_before_it_had_it() -> None:
    health = Health()
    health.patience(0, 60_000)
    assert not health.forgettable(30_000)
    assert health.forgettable(60_000)
