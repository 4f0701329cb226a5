"""What the demo's verdict means."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cli.demo_report import Notification, compare
from cli.simulation import FAILED, KINDS, LATE, Injected

PLACES = dict.fromkeys(KINDS, ("webhook",)) | {LATE: ("webhook", "slack")}


def injected(kind: str, subject: str) -> Injected:
    return Injected(kind, subject, 0, f"etl/{subject}")


def agree(truth: list[Injected], arrived: list[Notification]) -> bool:
    return all(report.agrees for report in compare(truth, arrived, PLACES))


def test_one_notification_at_each_place_for_each_thing_injected_agrees() -> None:
    truth = [injected(FAILED, "r1"), injected(LATE, "r2")]
    arrived = [
        Notification("webhook", FAILED, "r1", "e1"),
        Notification("webhook", LATE, "r2", "e2"),
        Notification("slack", LATE, "r2", "e2"),
    ]
    assert agree(truth, arrived)


def test_a_run_that_failed_twice_is_due_two_notifications() -> None:
    truth = [injected(FAILED, "r1")] * 2
    first = Notification("webhook", FAILED, "r1", "e1")
    assert not agree(truth, [first])
    assert not agree(truth, [first, first])
    assert agree(truth, [first, first._replace(event_id="e2")])


def test_each_way_of_disagreeing_is_told_by_name() -> None:
    truth = [injected(FAILED, "r1"), injected(FAILED, "r2")]
    seen = Notification("webhook", FAILED, "r1", "e1")
    arrived = [seen, seen, Notification("webhook", FAILED, "r3", "e3")]
    report = next(r for r in compare(truth, arrived, PLACES) if r.kind == FAILED)
    assert report.missing == ("run failed: etl/r2",)
    assert report.doubled == ("run failed: etl/r1, event e1, 2 times",)
    assert report.false == ("run failed: something unknown to the fleet (r3)",)


subjects = st.sampled_from(["r1", "r2", "r3"])
kinds = st.sampled_from(KINDS)


@settings(deadline=None)
@given(st.lists(st.tuples(kinds, subjects)), st.data())
def test_leaving_out_or_doubling_any_notification_is_noticed(wrong: list[tuple[str, str]], data: st.DataObject) -> None:
    truth = [injected(kind, subject) for kind, subject in wrong]
    arrived = [
        Notification(place, kind, subject, f"event-{number}")
        for number, (kind, subject) in enumerate(wrong)
        for place in PLACES[kind]
    ]
    assert agree(truth, arrived)
    if arrived:
        at = data.draw(st.integers(0, len(arrived) - 1))
        assert not agree(truth, arrived[:at] + arrived[at + 1 :])
        assert not agree(truth, [*arrived, arrived[at]])
        assert not agree(truth, [*arrived, arrived[at]._replace(event_id="another")])
