"""When events on a topic agree with what a history decides, and how each way of differing is called."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from consumer.agreement import DIFFERENT, MISSING, SHOWN, TWICE, UNEXPECTED, UNREADABLE, Agreement, Verdict
from schemas.records import FLOW_RUN_STATE_CHANGED, AutomationEvent


def event(number: int, message: str = "said", detected_at: int = 0) -> AutomationEvent:
    return AutomationEvent(
        f"event-{number}", FLOW_RUN_STATE_CHANGED, message, "t", "acme", 1_000 + number, "a", "failures",
        "f", "etl", "g", None, "r", "amber-fox", "Failed",
        None, None, None, None, None, None, None, None, None, detected_at, "[]",
    )  # fmt: skip


def compared(found: list[AutomationEvent], decided: list[AutomationEvent], provable: bool = True) -> Verdict:
    agreement = Agreement()
    for offset, one in enumerate(found):
        agreement.found(one, (0, offset))
    for one in decided:
        agreement.decided(one, sure=True, provable=provable)
    for place in sorted(agreement.places):
        agreement.left_over(found[place[1]], place, provable=provable)
    return agreement.verdict()


SOME_EVENTS = st.lists(st.builds(event, st.integers(0, 5), st.sampled_from(["said", "else"])), max_size=12)


@given(SOME_EVENTS, st.integers())
def test_the_same_events_agree_in_whatever_order_and_whenever_they_were_detected(
    decided: list[AutomationEvent], seed: int
) -> None:
    """Also where an id comes more than once, as it may after its run was forgotten."""
    found = [one._replace(detected_at=number) for number, one in enumerate(decided)]
    Random(seed).shuffle(found)
    verdict = compared(found, decided)
    assert (verdict.agrees, verdict.agree) == (True, len(decided))


@given(SOME_EVENTS, SOME_EVENTS)
def test_any_other_multiset_of_events_differs_by_as_many_as_are_only_on_one_side(
    found: list[AutomationEvent], decided: list[AutomationEvent]
) -> None:
    verdict = compared(found, decided)
    counts = Counter(verdict.counts)
    here, there = Counter(map(repr, found)), Counter(map(repr, decided))
    assert verdict.agree == (here & there).total()
    assert counts[MISSING] + counts[DIFFERENT] == (there - here).total()
    assert counts[UNEXPECTED] + counts[TWICE] + counts[DIFFERENT] == (here - there).total()


def test_each_way_of_differing_has_its_name_and_says_where() -> None:
    found = [event(1), event(1), event(2, "other"), event(3)]
    agreement = Agreement()
    for offset, one in enumerate(found):
        agreement.found(one, (4, offset))
    agreement.unreadable((4, 9))
    for number in (1, 2, 5):
        agreement.decided(event(number), sure=True, provable=True)
    for place in sorted(agreement.places):
        agreement.left_over(found[place[1]], place, provable=True)
    told = [(one.kind, one.place, one.fields) for one in agreement.verdict().differences]
    assert told == [
        (UNREADABLE, (4, 9), ()),
        (MISSING, None, ()),
        (TWICE, (4, 1), ()),
        (DIFFERENT, (4, 2), ("message",)),
        (UNEXPECTED, (4, 3), ()),
    ]


def test_what_the_consumer_has_still_to_decide_and_what_nobody_can_prove_is_counted_apart() -> None:
    agreement = Agreement()
    agreement.found(event(1), (0, 0))
    agreement.found(event(2), (0, 1))
    agreement.decided(event(1, "as it will be told once more"), sure=False, provable=True)
    agreement.decided(event(1), sure=False, provable=True)
    agreement.decided(event(3), sure=False, provable=True)
    agreement.decided(event(4), sure=True, provable=False)
    agreement.left_over(event(2), (0, 1), provable=False)
    assert agreement.verdict() == Verdict(agree=1, ahead=2, unproven=2, counts={}, differences=[])


def test_differences_are_all_counted_though_only_the_first_are_kept() -> None:
    verdict = compared([event(n) for n in range(SHOWN + 5)], [])
    assert verdict.counts == {UNEXPECTED: SHOWN + 5}
    assert len(verdict.differences) == SHOWN
