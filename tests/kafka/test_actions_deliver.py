"""What a receiver of actions can rely on, with the runner as a real process on a real Kafka."""

from pathlib import Path

import pytest

from schemas.ids import delivery_id
from tests.kafka.actions_world import (
    CODEC,
    by_delivery,
    committed,
    dead_letters,
    event,
    make_topics,
    publish,
    receiving,
    results,
    running,
    until,
    webhook,
)
from topology.settings import Settings

pytestmark = pytest.mark.kafka


def test_a_receiver_that_fails_twice_gets_it_three_times_with_one_id(settings: Settings, tmp_path: Path) -> None:
    """500, 500, 200: three posts of the same event id; the results say retrying, retrying, succeeded."""
    make_topics(settings)
    with receiving() as receiver, running(settings, tmp_path / "log"):
        receiver.answers["/hook"] = [500, 500]
        publish(settings, event("e1", [webhook("a1", receiver.url("/hook"))]))
        until(lambda: committed(settings) == 1, what="the commit")
        found = by_delivery(results(settings))[delivery_id("e1", "a1")]
        assert receiver.event_ids("/hook") == ["e1", "e1", "e1"]
        assert [(one.status, one.attempt, one.http_status) for one in found] == [
            ("retrying", 1, 500),
            ("retrying", 2, 500),
            ("succeeded", 3, 200),
        ]
        assert [one.error for one in found] == ["http_500", "http_500", None]
        assert all(one.destination == "127.0.0.1" for one in found)
        assert found[0].next_attempt_at is not None
        assert found[2].next_attempt_at is None
        waits = [b.at_s - a.at_s for a, b in zip(receiver.received, receiver.received[1:], strict=False)]
        assert 0.7 < waits[0] < 2
        assert 3.9 < waits[1] < 7.5
        body = receiver.received[0].body
        assert body["event_type"] == "FlowRunStateChangedEvent"
        assert body["flow_link"] is None
        assert "actions" not in body
        assert dead_letters(settings) == []


def test_a_receiver_that_is_down_does_not_stop_the_others(settings: Settings, tmp_path: Path) -> None:
    make_topics(settings)
    with receiving() as receiver, running(settings, tmp_path / "log") as process:
        events = []
        for number in range(100):
            actions = [webhook("down", "http://127.0.0.1:19/hook"), webhook("up", receiver.url("/hook"))]
            events.append(event(f"e{number}", actions, run=f"run-{number}"))
        publish(settings, *events)
        until(lambda: len(receiver.event_ids("/hook")) == 100, 15, "all deliveries to the healthy one")
        assert len(set(receiver.event_ids("/hook"))) == 100
        text = process.get("/metrics")
        assert 'automations_actions_total{action_type="WebhookAction",status="succeeded"} 100.0' in text
        assert {one.status for one in results(settings) if one.action_id == "down"} == {"retrying"}


def test_what_fails_for_good_is_in_the_dlq_with_the_events_own_bytes(settings: Settings, tmp_path: Path) -> None:
    make_topics(settings)
    with receiving() as receiver, running(settings, tmp_path / "log"):
        receiver.answers["/refuses"] = [410]
        receiver.answers["/accepts"] = [202]
        unknown = {"id": "a3", "name": "a3", "action_type": "PigeonNotificationAction", "config": {}}
        fired = event(
            "e1",
            [
                webhook("a1", receiver.url("/refuses")),
                webhook("a2", receiver.url("/accepts")),
                unknown,
                webhook("a4", "http://169.254.169.254/latest"),
                webhook("a5", receiver.url("/fine")),
            ],
        )
        publish(settings, fired)
        until(lambda: committed(settings) == 1, what="the commit")
        ended = {one.action_id: one for one in results(settings)}
        assert {name: (one.status, one.error) for name, one in ended.items()} == {
            "a1": ("dead", "http_410"),
            "a2": ("dead", "http_202"),
            "a3": ("dead", "unsupported"),
            "a4": ("dead", "egress_denied: metadata"),
            "a5": ("succeeded", None),
        }
        letters = {letter.headers["action-id"]: letter for letter in dead_letters(settings)}
        assert set(letters) == {"a1", "a2", "a3", "a4"}
        assert letters["a1"].headers == {
            "delivery-id": delivery_id("e1", "a1"),
            "action-id": "a1",
            "attempt": "1",
            "reason": "http_410",
            "http-status": "410",
        }
        assert "http-status" not in letters["a4"].headers
        assert all(letter.key == b"run-1" for letter in letters.values())
        assert all(CODEC.decode_event(letter.value) == fired for letter in letters.values())
        assert receiver.event_ids("/accepts") == ["e1"]


def test_records_that_are_no_events_are_skipped_and_counted(settings: Settings, tmp_path: Path) -> None:
    make_topics(settings)
    with receiving() as receiver, running(settings, tmp_path / "log") as process:
        odd = event("odd", [])._replace(actions="no json")
        publish(settings, b"", b"\x07junk", b"\x00\x00\x00\x00\x63..", odd, event("none", []))
        publish(settings, event("e1", [webhook("a1", receiver.url("/hook"))]))
        until(lambda: committed(settings) == 6, what="the commit")
        assert receiver.event_ids("/hook") == ["e1"]
        metrics = process.get("/metrics")
        for reason in ("truncated", "bad_magic", "unknown_schema", "impossible_field"):
            name = "automations_records_rejected_total"
            assert f'{name}{{reason="{reason}",topic="automation-events"}} 1.0' in metrics
        assert process.get("/healthz") == "ok\n"
        assert process.get("/readyz") == "ok\n"


def test_a_receiver_that_cannot_keep_up_delays_no_other_and_gets_all_in_order(
    settings: Settings, tmp_path: Path
) -> None:
    """3,000 events at once for a receiver that takes 0.1 s for each: more than is held for one destination."""
    make_topics(settings)
    with receiving(delay_s=0.1) as slow, receiving() as healthy, running(settings, tmp_path / "log") as process:
        until(lambda: "partitions assigned" in process.log.read_text(), what="the assignment")
        url = slow.url("/hook")
        publish(
            settings,
            *(event(f"{n % 300:03}/{n:04}", [webhook("a", url)], run=f"run-{n % 300}") for n in range(3000)),
            *(event(f"h{n}", [webhook("a", healthy.url("/hook"))], run=f"other-{n}") for n in range(100)),
        )
        until(lambda: len(healthy.received) == 100, 15, "what the healthy one gets")
        assert len(slow.received) < 3000
        slow.delay_s = 0.005
        until(lambda: len(slow.received) == 3000, 120, "all of the slow one's")
        got = slow.event_ids("/hook")
        assert len(set(got)) == 3000
        for run in range(300):
            of_run = [one for one in got if one.startswith(f"{run:03}/")]
            assert of_run == sorted(of_run)
        until(lambda: len(results(settings)) == 3100, what="the results")
        assert {one.status for one in results(settings)} == {"succeeded"}
        metrics = process.get("/metrics")
        assert 'automations_deliveries_parked_total{reason="destination_busy"}' in metrics


def test_an_event_older_than_the_age_limit_expires_unsent(settings: Settings, tmp_path: Path) -> None:
    make_topics(settings)
    with receiving() as receiver, running(settings, tmp_path / "log", ACTION_MAX_AGE_S="60"):
        fresh = event("e1", [webhook("a1", receiver.url("/hook"))])
        publish(settings, fresh._replace(id="old", detected_at=fresh.detected_at - 61_000), fresh)
        until(lambda: committed(settings) == 2, what="the commit")
        found = {one.event_id: (one.status, one.attempt) for one in results(settings)}
        assert found == {"old": ("expired", 0), "e1": ("succeeded", 1)}
        assert receiver.event_ids("/hook") == ["e1"]
        assert dead_letters(settings) == []


def test_deliveries_of_one_run_to_one_receiver_keep_their_order(settings: Settings, tmp_path: Path) -> None:
    make_topics(settings)
    with receiving(delay_s=0.01) as receiver, running(settings, tmp_path / "log"):
        url = receiver.url("/hook")
        publish(
            settings,
            *(event(f"{run}/{n:02}", [webhook("a", url)], run=run) for n in range(20) for run in "abc"),
        )
        until(lambda: len(receiver.event_ids("/hook")) == 60, what="all deliveries")
        for run in "abc":
            got = [one for one in receiver.event_ids("/hook") if one.startswith(run)]
            assert got == [f"{run}/{n:02}" for n in range(20)]


def test_a_missing_topic_ends_it_with_exit_code_2_and_one_clear_line(settings: Settings, tmp_path: Path) -> None:
    with running(settings, tmp_path / "log") as process:
        assert process.wait(20) == 2
        assert "run `automations topology apply`" in process.log.read_text()
