"""What becomes of a delivery: before an attempt and after it."""

from typing import Any

import pytest

from actions import decide
from actions.decide import Decision, Limits
from actions.delivery import Unreadable, deliveries, retried, subject
from actions.exchange import Failure, Outcome, Verdict, failed
from actions.schedule import Schedule
from schemas.delivery_headers import DeliveryHeaders
from schemas.ids import delivery_id
from tests.unit.actions_events import EVENT, delivery, entry, fired, source

DAY_MS = 86_400_000
LIMITS = Limits(Schedule(), 12, DAY_MS)
RETRY = Outcome(Verdict.RETRY, "http_500", 500)
NOW_MS = EVENT.detected_at + 1_000
SOURCE = source(7)


def before(now_ms: int = NOW_MS, *, muted: bool = False, supported: bool = True, **policy: Any) -> Decision | None:
    return decide.before(delivery(**policy), now_ms, LIMITS, muted=muted, supported=supported)


def test_a_failure_is_retried_until_the_attempts_are_used_up() -> None:
    first = decide.after(delivery(attempt=3), RETRY, NOW_MS, LIMITS, 0.5)
    assert first == Decision("retrying", 3, "http_500", 500, 30_000)
    assert not first.final
    last = decide.after(delivery(attempt=12), RETRY, NOW_MS, LIMITS, 0.5)
    assert last == Decision("dead", 12, "http_500", 500)
    assert last.final


def test_what_a_receiver_asks_for_lengthens_the_wait() -> None:
    patient = RETRY._replace(retry_after="7")
    assert decide.after(delivery(), patient, NOW_MS, LIMITS, 0.5).delay_ms == 7_000


def test_settings_and_actions_lower_the_number_of_attempts() -> None:
    two = Limits(Schedule(), 2, DAY_MS)
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


def test_who_has_had_the_message_is_left_out_by_each_later_attempt() -> None:
    some = decide.after(delivery(), RETRY._replace(recipients_left=(1, 4)), NOW_MS, LIMITS, 0.5)
    assert some.recipients_left == (1, 4)
    dead = decide.after(delivery(), Outcome(Verdict.FINAL, "http_400", 400, None, (4,)), NOW_MS, LIMITS, 0.5)
    assert dead.recipients_left == (4,)


@pytest.mark.parametrize("final", [True, False])
def test_an_attempt_that_asked_nobody_leaves_those_who_were_left(final: bool) -> None:
    """Such as one without its secret: those served by the first attempt are not served again by the third."""
    left = delivery(attempt=2)._replace(recipients_left=(1, 4))
    decision = decide.after(left, failed(Failure("secret_missing: TOKEN", final)), NOW_MS, LIMITS, 0.5)
    assert decision.recipients_left == (1, 4)
    assert decide.before(left, NOW_MS, LIMITS, muted=False, supported=False) == Decision(
        "dead", 2, "unsupported", None, None, (1, 4)
    )


def test_a_test_is_sent_once_whatever_comes_of_it() -> None:
    once = delivery()._replace(test=True)
    assert decide.after(once, RETRY, NOW_MS, LIMITS, 0.5) == Decision("dead", 1, "http_500", 500)
    assert decide.after(once, Outcome(Verdict.DONE, None, 200), NOW_MS, LIMITS, 0.5).status == "succeeded"


def test_too_old_expires_without_an_attempt_whatever_the_type() -> None:
    at = EVENT.detected_at
    assert before(at + DAY_MS) is None
    for supported in (True, False):
        assert before(at + DAY_MS + 1, supported=supported) == Decision("expired", 0, "too_old")
    assert before(at + DAY_MS + 1, max_age_ms=2 * DAY_MS) is None
    assert before(at + 1_001, max_age_ms=1_000) == Decision("expired", 0, "too_old")


def test_the_age_counts_from_the_latest_redrive() -> None:
    old = EVENT.detected_at + 3 * DAY_MS
    redriven = delivery()._replace(redriven_at_ms=old - 5)
    assert decide.before(redriven, old, LIMITS, muted=False, supported=True) is None
    assert decide.before(redriven, old + DAY_MS, LIMITS, muted=False, supported=True) is not None
    assert delivery()._replace(redriven_at_ms=5).asked_at_ms == EVENT.detected_at


def test_what_is_muted_is_muted_whatever_else_it_is() -> None:
    for now_ms, supported in [(NOW_MS, True), (NOW_MS + 9 * DAY_MS, False)]:
        decision = before(now_ms, muted=True, supported=supported)
        assert decision == Decision("muted", 0, "automation_disabled_or_deleted")


def test_a_type_without_a_channel_is_dead_as_unsupported() -> None:
    assert before(supported=False) == Decision("dead", 1, "unsupported")


def test_an_event_becomes_one_delivery_for_each_action_in_order() -> None:
    policy = {"max_attempts": 2, "max_age_seconds": 60, "timeout_seconds": 3}
    found = deliveries(fired("e1", entry("b"), entry("a", delivery=policy), entry("b")), SOURCE)
    assert not isinstance(found, Unreadable)
    assert [one.action.id for one in found] == ["b", "a"]
    assert [one.id for one in found] == [delivery_id("e1", "b"), delivery_id("e1", "a")]
    assert found[1].action[3:] == (2, 60_000, 3_000)
    assert found[0].action[3:] == (None, None, None)
    assert [one.place for one in found] == [0, 1]
    assert deliveries(fired("e1"), SOURCE) == []


@pytest.mark.parametrize(
    "actions", ["", "no json", "{}", "[1]", "[{}]", '[{"id":"","action_type":"x","config":{}}]',
                '[{"id":"a","action_type":"x","config":"c"}]', "[" * 100_000,
                '[{"id":"\\ud800","action_type":"x","config":{}}]', '[{"id":"a","action_type":"\\udfff","config":{}}]'],
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
    assert subject(EVENT._replace(flow_run_id=None, agent_config_id=None)) == "t/e1"


def test_a_retry_record_is_the_one_delivery_that_its_headers_name_as_they_say() -> None:
    event = fired("e1", entry("a"), entry("b"))
    headers = DeliveryHeaders("d", "b", 3, "timeout", None, 5, (1,), 99)
    found = retried(event, headers, SOURCE)
    assert not isinstance(found, Unreadable)
    assert (found.id, found.action.id, found.place, found.attempt) == (delivery_id("e1", "b"), "b", 0, 4)
    assert (found.recipients_left, found.redriven_at_ms) == ((1,), 99)


@pytest.mark.parametrize(
    ("actions", "headers"),
    [("[]", DeliveryHeaders("d", "a", 1, "x")), ("no json", DeliveryHeaders("d", "a", 1, "x")), ("[]", None)],
)
def test_a_retry_record_that_names_no_delivery_of_its_event_is_unreadable(
    actions: str, headers: DeliveryHeaders | None
) -> None:
    assert isinstance(retried(EVENT._replace(actions=actions), headers, SOURCE), Unreadable)
