"""What becomes of a delivery, and when it is tried again."""

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions import decide
from actions.decide import Decision, Limits
from actions.delivery import Source, Unreadable, deliveries, subject
from actions.exchange import Failure, Outcome, Verdict, failed
from actions.schedule import Schedule, next_delay_ms, retry_after_ms
from schemas.ids import delivery_id
from tests.unit.actions_events import EVENT, delivery, entry, fired

LIMITS = Limits(Schedule(), 12, 60_000)
RETRY = Outcome(Verdict.RETRY, "http_500", 500)
NOW_MS = EVENT.detected_at + 1_000


def test_five_attempts_in_about_thirty_seconds_then_dead() -> None:
    delays = []
    for attempt in range(1, 6):
        decision = decide.after(delivery(attempt=attempt), RETRY, NOW_MS, LIMITS, 0.5)
        delays.append(decision.delay_ms)
    assert delays == [1_000, 3_000, 8_000, 18_000, None]
    assert decision == Decision("dead", 5, "http_500", 500)
    assert decision.final


@given(st.integers(1, 4), st.floats(0, 1, exclude_max=True), st.none() | st.integers(0, 10**12))
def test_a_delay_varies_by_a_fifth_and_retry_after_only_lengthens_it(
    attempt: int, roll: float, asked_ms: int | None
) -> None:
    step = Schedule().delays_ms[attempt - 1]
    delay = next_delay_ms(Schedule(), attempt, 12, asked_ms, roll)
    assert delay is not None
    assert step * 0.8 - 1 <= delay
    assert delay <= max(step * 1.2 + 1, min(asked_ms or 0, 60_000))
    if asked_ms is not None:
        assert delay >= min(asked_ms, 60_000)


def test_settings_and_actions_lower_the_number_of_attempts() -> None:
    two = Limits(Schedule(), 2, 60_000)
    assert decide.after(delivery(attempt=2), RETRY, NOW_MS, two, 0).status == "dead"
    assert decide.after(delivery(max_attempts=1), RETRY, NOW_MS, LIMITS, 0).status == "dead"
    assert decide.after(delivery(max_attempts=99, attempt=2), RETRY, NOW_MS, two, 0).status == "dead"


def test_done_succeeds_and_final_is_dead_at_once() -> None:
    assert decide.after(delivery(attempt=3), Outcome(Verdict.DONE, None, 200), NOW_MS, LIMITS, 0) == Decision(
        "succeeded", 3, None, 200
    )
    final = failed(Failure("egress_denied", final=True))
    assert decide.after(delivery(), final, NOW_MS, LIMITS, 0) == Decision("dead", 1, "egress_denied")
    again = failed(Failure("timeout"))
    assert decide.after(delivery(), again, NOW_MS, LIMITS, 0.5).status == "retrying"


def test_too_old_expires_without_an_attempt_whatever_the_type() -> None:
    at = EVENT.detected_at
    assert decide.before(delivery(), at + 60_000, LIMITS, supported=True) is None
    for supported in (True, False):
        decision = decide.before(delivery(), at + 60_001, LIMITS, supported=supported)
        assert decision == Decision("expired", 0, "too_old")
    assert decide.before(delivery(max_age_ms=90_000), at + 60_001, LIMITS, supported=True) is None


def test_a_type_without_a_channel_is_dead_as_unsupported() -> None:
    assert decide.before(delivery(), NOW_MS, LIMITS, supported=False) == Decision("dead", 1, "unsupported")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("7", 7_000), (" 120 ", 120_000), ("", None), ("-1", None), ("NaN", None), ("inf", None),
     ("1.5", None), ("9e99", None), ("٣", None), ("soon", None), ("9" * 400, None), (None, None),
     (formatdate(1_000_010, usegmt=True), 10_000), (formatdate(999_000, usegmt=True), 0),
     ("Wed, 99 Foo 9999 99:99:99 GMT", None)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_and_nothing_else(text: str | None, expected: int | None) -> None:
    assert retry_after_ms(text, 1_000_000_000) == expected


def test_a_scaled_schedule_keeps_its_shape() -> None:
    assert Schedule().scaled(0.01).delays_ms == (10, 30, 80, 180)
    assert Schedule().scaled(0.01).attempts == 5


SOURCE = Source(0, 7, b"r1", b"bytes")


def test_an_event_becomes_one_delivery_for_each_action_in_order() -> None:
    policy = {"max_attempts": 2, "max_age_seconds": 60, "timeout_seconds": 3}
    found = deliveries(fired("e1", entry("b"), entry("a", delivery=policy), entry("b")), SOURCE)
    assert not isinstance(found, Unreadable)
    assert [one.action.id for one in found] == ["b", "a"]
    assert [one.id for one in found] == [delivery_id("e1", "b"), delivery_id("e1", "a")]
    assert found[1].action[3:] == (2, 60_000, 3_000)
    assert found[0].action[3:] == (None, None, None)
    assert deliveries(fired("e1"), SOURCE) == []


@pytest.mark.parametrize(
    "actions", ["", "no json", "{}", "[1]", "[{}]", '[{"id":"","action_type":"x","config":{}}]',
                '[{"id":"a","action_type":"x","config":"c"}]', "[" * 100_000],
)  # fmt: skip
def test_actions_that_can_not_be_read_are_a_value_not_an_error(actions: str) -> None:
    found = deliveries(EVENT._replace(actions=actions), SOURCE)
    assert isinstance(found, Unreadable)
    assert found.reason == "impossible_field"


def test_an_odd_delivery_policy_is_as_none() -> None:
    odd: list[Any] = ["x", {"max_attempts": 0}, {"max_attempts": True}, {"timeout_seconds": "9"}, []]
    for policy in odd:
        found = deliveries(fired("e1", entry("a", delivery=policy)), SOURCE)
        assert not isinstance(found, Unreadable)
        assert found[0].action[3:] == (None, None, None)


def test_the_subject_is_the_run_or_the_agent_config_of_its_tenant() -> None:
    assert subject(EVENT) == "t/r1"
    assert subject(EVENT._replace(flow_run_id=None, agent_config_id="c")) == "t/c"
