"""When a delivery is tried again, and where it waits until then."""

import os
import subprocess
import sys
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.schedule import Schedule, next_delay_ms, parked_delay_ms, retry_after_ms, spread
from topology.names import RETRY_1H, RETRY_1M, RETRY_10M

S, M, H = 1_000, 60_000, 3_600_000
ROLLS = st.floats(0, 1, exclude_max=True)
NOW = 1_000_000_000


def test_twelve_attempts_over_a_day() -> None:
    delays = [next_delay_ms(Schedule(), attempt, 12, None, 0.5) for attempt in range(1, 13)]
    assert delays == [S, 5 * S, 30 * S, 2 * M, 10 * M, 30 * M, H, 2 * H, 4 * H, 8 * H, 8 * H, None]
    assert Schedule().attempts == 12
    assert next_delay_ms(Schedule(), 12, 99, None, 0.5) is None


@given(st.integers(1, 11), ROLLS, st.none() | st.integers(0, 10**12))
def test_a_delay_varies_by_a_fifth_and_retry_after_only_lengthens_it(
    attempt: int, roll: float, asked_ms: int | None
) -> None:
    step = Schedule().delays_ms[attempt - 1]
    delay = next_delay_ms(Schedule(), attempt, 12, asked_ms, roll)
    assert delay is not None
    assert step * 0.8 - 1 <= delay <= max(step * 1.2 + 1, min(asked_ms or 0, H))
    if asked_ms is not None:
        assert delay >= min(asked_ms, H)


@given(st.integers(1, 20), st.integers(1, 20), ROLLS)
def test_an_attempt_follows_only_within_both_limits(attempt: int, most: int, roll: float) -> None:
    assert (next_delay_ms(Schedule(), attempt, most, None, roll) is None) == (attempt >= min(most, 12))


@given(st.integers(0, 10**12), st.integers(0, 10**12), ROLLS)
def test_what_finds_its_destination_closed_waits_half_of_its_age_within_bounds(
    age_ms: int, closed_ms: int, roll: float
) -> None:
    delay = parked_delay_ms(Schedule(), age_ms, closed_ms, roll)
    assert 12 * S <= delay <= 1.2 * H
    assert delay >= min(closed_ms, H), "it comes back when the destination may be asked again, not before"
    assert parked_delay_ms(Schedule(), 20 * M, 0, 0.5) == 10 * M


@given(st.integers(0, 10**11))
def test_a_record_waits_in_the_topic_with_the_longest_stay_that_is_not_longer(delay_ms: int) -> None:
    tier = Schedule().tier(delay_ms)
    longer = [other for other in Schedule().tiers if other.stay_ms > tier.stay_ms]
    assert tier == Schedule().tiers[0] or tier.stay_ms <= delay_ms * 1.25 + 1
    assert all(other.stay_ms * 0.8 > delay_ms for other in longer)


@given(st.integers(0, 10**8), st.integers(0, 10**8), st.sampled_from([1.0, 0.1, 0.001]))
def test_what_waits_no_longer_than_a_bound_is_in_the_topics_of_that_bound(
    delay_ms: int, most_ms: int, factor: float
) -> None:
    schedule = Schedule().scaled(factor)
    topics = schedule.topics_within(most_ms)
    assert delay_ms > most_ms or schedule.tier(delay_ms).topic in topics
    assert all(schedule.tier(most_ms).stay_ms >= tier.stay_ms for tier in schedule.tiers if tier.topic in topics)
    assert Schedule().topics_within(5 * M) == [RETRY_1M], "what waits for hours is in other topics"


def test_each_delay_has_its_topic() -> None:
    topics = [Schedule().tier(delay).topic for delay in Schedule().delays_ms]
    assert topics == [RETRY_1M] * 4 + [RETRY_10M] * 2 + [RETRY_1H] * 5
    for delay in Schedule().delays_ms[4:]:
        assert {Schedule().tier(spread(delay, roll)).topic for roll in (0, 0.5, 0.999)} == {
            Schedule().tier(delay).topic
        }


def test_a_scaled_schedule_keeps_its_shape() -> None:
    small = Schedule().scaled(0.001)
    assert small.delays_ms == (1, 5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 28_800)
    assert (small.in_memory_ms, small.retry_after_max_ms, small.parked_ms) == (10, 3_600, (15, 3_600))
    assert [(tier.topic, tier.stay_ms) for tier in small.tiers] == [(RETRY_1M, 60), (RETRY_10M, 600), (RETRY_1H, 3_600)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("999999999999", 999_999_999_999_000),
     ("0", 0), ("7", 7_000), (" 120 ", 120_000), ("", None), ("-1", None), ("NaN", None), ("inf", None),
     ("1.5", 1_500), ("9e99", None), ("٣", None), ("soon", None), ("9" * 400, None), (None, None),
     (formatdate(1_000_010, usegmt=True), 10_000), (formatdate(999_000, usegmt=True), 0),
     ("Mon, 01 Jan 1900 00:00:00 GMT", 0), ("Wed, 99 Foo 9999 99:99:99 GMT", None),
     ("Monday, 12-Jan-70 13:46:50 GMT", 10_000), ("Mon Jan 12 13:46:50 1970", 10_000),
     ("Mon, 12 Jan 1970 13:46:50 -0000", 10_000), ("Mon, 12 Jan 1970 14:46:50 +0100", 10_000)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_of_any_http_form_and_nothing_else(
    text: str | None, expected: int | None
) -> None:
    assert retry_after_ms(text, NOW) == expected


def test_a_date_without_a_zone_is_gmt_wherever_the_process_runs() -> None:
    asked = "from actions.schedule import retry_after_ms; print(retry_after_ms('Mon Jan 12 13:46:50 1970', 10**9))"
    found = subprocess.run(
        [sys.executable, "-c", asked], env={**os.environ, "TZ": "XYZ8"}, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "10000"


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, ?[0-9]{1,5} [A-Z][a-z]{2} [0-9]{0,12} [0-9:]{0,12} [-+A-Z0-9]{0,9}"))
def test_whatever_a_receiver_asks_for_is_a_delay_or_nothing(text: str) -> None:
    found = retry_after_ms(text, NOW)
    assert found is None or found >= 0
    assert next_delay_ms(Schedule(), 1, 12, found, 0.5) in range(800, H + 1)
