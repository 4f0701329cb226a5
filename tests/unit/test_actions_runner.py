"""What the runner makes of events, with receivers and topics in memory and a schedule a thousand times as fast."""

import asyncio
from collections.abc import Callable

import pytest

from actions.delivery import Unreadable
from actions.exchange import Answer, Failure, Reply, Request, Step
from actions.health import FAILURES, PAUSE_MS
from actions.schedule import Schedule
from schemas.delivery_headers import DeliveryHeaders, decode_headers
from schemas.ids import delivery_id
from tests.unit.actions_events import EVENT, entry, fired
from tests.unit.actions_world import DAY_MS, World
from topology.topics import AUTOMATION_EVENTS, AUTOMATION_TESTS, RETRY_1H, RETRY_1M, RETRY_10M

ONE = fired("e1", entry("a"))
EVENTS = (AUTOMATION_EVENTS, 0)


def always(status: int, retry_after: str | None = None) -> Callable[[Step], Reply]:
    return lambda _: Answer(status, b"", retry_after)


def in_turn(*replies: Reply) -> Callable[[Step], Reply]:
    left = list(replies)
    return lambda _: left.pop(0)


def headers(attempt: int = 3, action: str = "a", **more: object) -> DeliveryHeaders:
    return DeliveryHeaders(delivery_id("e1", action), action, attempt, "timeout")._replace(**more)  # type: ignore[arg-type]


async def test_each_attempt_has_a_result_and_short_waits_stay_in_memory() -> None:
    world = World(in_turn(Answer(500), Answer(503), Answer(200)))
    world.admit(ONE)
    await world.settle()
    assert world.ends == [("retrying", 1, "http_500"), ("retrying", 2, "http_503"), ("succeeded", 3, None)]
    assert world.results[0].next_attempt_at == world.clock.at_ms + 1
    assert world.results[0].destination == "127.0.0.1"
    assert world.retries == []


async def test_a_success_is_one_request_and_its_partition_moves_on() -> None:
    world = World(always(200))
    world.admit(ONE)
    await world.settle()
    assert world.ends == [("succeeded", 1, None)]
    assert world.sent == ["http://127.0.0.1/"]
    assert world.backlog.positions("me")[EVENTS].offset == 2


async def test_nothing_counts_as_ended_before_the_commit_that_holds_its_result() -> None:
    world = World(always(200))
    world.admit(ONE)
    await world.sends(1)
    await asyncio.sleep(0.01)
    assert world.backlog.positions("me")[EVENTS].offset == 1
    await world.settle()
    assert world.backlog.positions("me")[EVENTS].offset == 2


async def test_a_long_wait_leaves_through_a_retry_topic_and_goes_on_from_there() -> None:
    world = World(in_turn(Answer(500), Answer(200)))
    world.admit(ONE, RETRY_1M, headers(attempt=4, redriven_at_ms=EVENT.detected_at + 2))
    await world.settle()
    (record,) = world.retries
    assert (record.topic, record.key, record.value) == (RETRY_10M, b"k", b"v")
    assert decode_headers(record.headers) == headers(
        attempt=5, reason="http_500", http_status=500, not_before_ms=world.clock.at_ms + 600,
        redriven_at_ms=EVENT.detected_at + 2,
    )  # fmt: skip
    world.come_back(ONE, record)
    world.turn()
    await asyncio.sleep(0.01)
    assert len(world.sent) == 1, "it is not due yet"
    world.clock.at_ms += 600
    await world.settle()
    assert world.ends == [("retrying", 5, "http_500"), ("succeeded", 6, None)]


async def test_what_waits_longer_than_its_topics_stay_is_written_anew_with_the_same_attempts() -> None:
    world = World(always(200))
    due_ms = world.clock.at_ms + 28_800
    world.admit(ONE, RETRY_1H, headers(attempt=9, not_before_ms=due_ms, recipients_left=(2,)))
    world.clock.at_ms += 3_600
    await world.settle()
    (moved,) = world.retries
    assert moved.topic == RETRY_1H
    assert decode_headers(moved.headers) == headers(
        attempt=9, reason="waiting", not_before_ms=due_ms, recipients_left=(2,)
    )
    assert world.results == []
    assert world.sent == []


async def test_who_of_many_has_had_it_is_known_to_the_next_attempt_even_after_one_that_asked_nobody() -> None:
    def reply(step: Step) -> Reply:
        assert isinstance(step, Request)
        return Answer(201) if b"%2B15550000001" in step.body else Answer(500)

    config = {
        "account_sid": "AC" + "0" * 32, "auth_token_secret": "TOKEN", "messaging_service_sid": "MG" + "0" * 32,
        "phone_numbers": ["+15550000001", "+15550000002"], "message": "m",
    }  # fmt: skip
    event = fired("e1", {"id": "a", "action_type": "TwilioNotificationAction", "config": config})
    world = World(reply, TOKEN="t")
    world.admit(event)
    await world.settle()
    assert len(world.sent) == 2
    token = world.secrets.pop("TOKEN")
    for _ in range(2):
        world.clock.at_ms += 60
        world.come_back(event, world.retries[-1])
        await world.settle()
        world.secrets["TOKEN"] = token
    assert [reason for _, _, reason in world.ends][1] == "secret_missing: TOKEN"
    assert len(world.sent) == 3, "the first number has had it"
    assert [one.recipients_left for one in world.headers(RETRY_1M, RETRY_10M)] == [(1,)] * 3


async def test_failing_for_good_is_a_dead_letter() -> None:
    world = World(always(404))
    world.admit(ONE)
    await world.settle()
    assert world.ends == [("dead", 1, "http_404")]
    assert world.dead == [DeliveryHeaders(delivery_id("e1", "a"), "a", 1, "http_404", 404)]


async def test_the_last_attempt_that_fails_is_a_dead_letter() -> None:
    world = World(lambda _: Failure("timeout"))
    world.admit(ONE, RETRY_1H, headers(attempt=11))
    await world.settle()
    assert world.ends == [("dead", 12, "timeout")]
    assert [(one.attempt, one.reason) for one in world.dead] == [(12, "timeout")]


async def test_too_old_is_expired_muted_is_muted_and_neither_is_sent_or_a_dead_letter() -> None:
    world = World(always(200))
    world.mutes.apply(b"automation:off", None, EVENT.detected_at + 1)
    world.admit(ONE._replace(automation_id="off"))
    world.clock.at_ms += DAY_MS
    world.admit(ONE)
    await world.settle()
    assert sorted(world.ends) == [("expired", 0, "too_old"), ("muted", 0, "automation_disabled_or_deleted")]
    assert world.sent == []
    assert world.dead == []


async def test_an_action_type_without_a_channel_is_dead_as_unsupported() -> None:
    world = World(always(200))
    world.admit(fired("e1", entry("a", action_type="Fax"), entry("b")))
    await world.settle()
    assert {one.action_id: (one.status, one.error) for one in world.results} == {
        "a": ("dead", "unsupported"), "b": ("succeeded", None)
    }  # fmt: skip


async def test_a_missing_secret_is_waited_for_and_says_nothing_of_the_destination() -> None:
    world = World(always(200))
    action = entry("a", config={"url_secret": "HOOK"})
    events = [fired(f"e{number}", action, run=f"r{number}") for number in range(2 * FAILURES)]
    for event in events:
        world.admit(event)
    async with asyncio.timeout(5):
        while len(world.retries) < len(events):
            await world.book.commit()
            await asyncio.sleep(0.005)
    assert {(status, reason) for status, _, reason in world.ends} == {("retrying", "secret_missing: HOOK")}
    assert world.lanes.closed() == []
    assert world.sent == []
    await world.runner.drain(0)


async def test_after_five_failures_what_waits_is_parked_without_an_attempt() -> None:
    world = World(lambda _: Failure("timeout"), Schedule())
    world.answering.clear()
    for number in range(20):
        world.admit(fired(f"e{number}", entry("a"), run=f"r{number}"))
    await world.sends(8)
    world.answering.set()
    await asyncio.sleep(0.01)
    await world.book.commit()
    assert len(world.sent) in range(8, 8 + FAILURES)
    parked = [one for one in world.headers(RETRY_1M) if one.reason == "breaker_open"]
    assert len(parked) == 20 - len(world.sent)
    assert {one.attempt for one in parked} == {0}
    assert all(one.not_before_ms and one.not_before_ms >= world.clock.at_ms + PAUSE_MS[0] - 1_000 for one in parked)
    world.admit(fired("late", entry("a")))
    await world.book.commit()
    assert len(world.headers(RETRY_1M)) == len(parked) + 1, "what comes is parked too"
    world.reply = always(200)
    world.admit(fired("other", entry("a", "http://other/")))
    await world.sends(len(world.sent) + 1)
    await world.runner.drain(1)


async def test_of_a_destination_that_stays_dead_deliveries_end_when_they_are_too_old() -> None:
    """While it is closed nothing is tried, but what has become too old is told so, and on time."""
    world = World(always(503), Schedule())
    for number in range(FAILURES):
        world.admit(fired(f"e{number}", entry("a"), run=f"r{number}"))
    await world.sends(FAILURES)
    waits = fired("waits", entry("a"), run="w")._replace(detected_at=world.clock.at_ms - DAY_MS + 60_000)
    world.admit(waits)
    await world.book.commit()
    (parked,) = [one for one in world.headers(RETRY_1M) if one.delivery_id == delivery_id("waits", "a")]
    assert parked.reason == "breaker_open"
    assert parked.not_before_ms is not None
    assert parked.not_before_ms <= world.clock.at_ms + 61_000
    world.clock.at_ms += 61_001
    world.admit(waits, RETRY_1M, parked)
    world.turn()
    await world.book.commit()
    assert [one.status for one in world.results if one.event_id == "waits"] == ["expired"]
    assert len(world.sent) == FAILURES
    await world.runner.drain(1)


async def test_nothing_is_sent_while_nothing_can_be_written_down() -> None:
    world = World(always(200))
    world.book.is_behind = True
    world.admit(fired("e1", entry("a")))
    await asyncio.sleep(0.02)
    assert world.sent == []
    world.book.is_behind = False
    world.turn()
    await world.sends(1)
    await world.settle()


async def test_patience_asked_of_one_is_given_by_all_to_that_destination() -> None:
    world = World(always(429, "120"), Schedule())
    world.admit(fired("e1", entry("a")))
    await world.sends(1)
    await asyncio.sleep(0.01)
    world.admit(fired("e2", entry("a"), run="r2"))
    await world.settle()
    assert len(world.sent) == 1
    first, second = world.headers(RETRY_1M, RETRY_10M)
    assert (first.attempt, first.reason, second.attempt, second.reason) == (1, "http_429", 0, "retry_after")
    for one in (first, second):
        assert one.not_before_ms is not None
        assert one.not_before_ms - world.clock.at_ms >= 119_000
    assert world.lanes.closed() == [], "who asks for patience is alive"


async def test_a_test_is_sent_once_and_ends_whatever_comes_of_it() -> None:
    world = World(always(500))
    world.mutes.apply(b"automation:au", None, EVENT.detected_at + 1)
    assert world.admit(ONE, AUTOMATION_TESTS) is None
    await world.settle()
    assert world.ends == [("dead", 1, "http_500")]
    assert world.retries == []


async def test_what_can_not_be_read_is_passed() -> None:
    world = World(always(200))
    assert isinstance(world.admit(EVENT._replace(actions="{")), Unreadable)
    assert isinstance(world.admit(ONE, RETRY_1M, None), Unreadable)
    assert isinstance(world.admit(ONE, RETRY_1M, headers(action="gone")), Unreadable)
    assert world.admit(None) is None
    assert world.admit(fired("e1")) is None
    await world.settle()
    assert {place[0]: at.offset for place, at in world.backlog.positions("me").items()} == {
        AUTOMATION_EVENTS: 6, RETRY_1M: 4
    }  # fmt: skip
    assert world.book.written == []


async def test_what_ends_after_its_partition_was_taken_away_writes_nothing() -> None:
    world = World(always(200))
    world.answering.clear()
    world.admit(ONE)
    await world.sends(1)
    world.backlog.revoke([EVENTS])
    world.answering.set()
    await asyncio.sleep(0.01)
    await world.book.commit()
    assert world.book.written == []
    assert world.lanes.out == 0


async def test_release_ends_what_is_in_flight_and_begins_nothing_more_of_these_partitions() -> None:
    world = World(always(500))
    world.answering.clear()
    world.admit(ONE)
    world.admit(fired("e2", entry("a")))
    world.admit(fired("e3", entry("a", "http://test/")), AUTOMATION_TESTS)
    world.admit(ONE, RETRY_1M, headers(not_before_ms=world.clock.at_ms + 1))
    await world.sends(2)
    release = asyncio.create_task(world.runner.release([EVENTS, (RETRY_1M, 0)], 5))
    await asyncio.sleep(0.01)
    assert not release.done()
    world.answering.set()
    await release
    await world.book.commit()
    world.backlog.revoke([EVENTS, (RETRY_1M, 0)])
    world.clock.at_ms += 100
    await world.settle()
    await asyncio.sleep(0.03)
    assert sorted(world.sent) == ["http://127.0.0.1/", "http://test/"]
    assert [(one.event_id, one.status) for one in world.results] == [("e1", "retrying"), ("e3", "dead")]


async def test_release_gives_up_what_takes_too_long_and_other_partitions_go_on() -> None:
    world = World(always(200))
    world.answering.clear()
    world.admit(ONE)
    await world.sends(1)
    await world.runner.release([EVENTS], 0.01)
    world.backlog.revoke([EVENTS])
    assert world.lanes.out == 0
    world.answering.set()
    world.admit(ONE, RETRY_1M, headers())
    await world.settle()
    assert world.ends == [("succeeded", 4, None)]


async def test_release_without_patience_leaves_no_place_taken_by_what_has_just_begun() -> None:
    world = World(always(200))
    world.answering.clear()
    world.admit(ONE)
    await world.runner.release([EVENTS], 0)
    assert world.lanes.out == 0


async def test_drain_lets_requests_end_gives_the_slow_ones_up_and_begins_no_more() -> None:
    world = World(lambda step: Answer(200))
    world.answering.clear()
    world.admit(ONE)
    world.admit(fired("e2", entry("a")))
    await world.sends(1)
    await world.runner.drain(0.01)
    await world.book.commit()
    assert world.results == []
    assert len(world.sent) == 1
    assert world.backlog.positions("me")[EVENTS].offset == 1


async def test_a_clock_that_is_a_day_ahead_ends_nothing_and_delays_nothing() -> None:
    """Until the brokers' time is known, what seems too old takes a trip through a retry topic."""
    world = World(always(200))
    world.clock.sure, right = False, world.clock.at_ms
    world.clock.at_ms += 2 * DAY_MS
    world.admit(ONE)
    await world.settle()
    assert world.results == []
    assert [one.reason for one in world.headers(RETRY_1M)] == ["clock_unsure"]
    world.clock.sure, world.clock.at_ms = True, right
    world.come_back(ONE, world.retries[0])
    await world.settle()
    assert world.ends == [("succeeded", 1, None)]


async def test_a_channels_mistake_is_one_deliverys_fault() -> None:
    def reply(step: Step) -> Reply:
        if isinstance(step, Request) and "bad" in step.url:
            raise RuntimeError("a secret text")
        return Answer(200)

    world = World(reply)
    world.admit(fired("e1", entry("a", "http://bad/"), entry("b")))
    await world.sends(2)
    await asyncio.sleep(0.005)
    await world.book.commit()
    assert {one.action_id: (one.status, one.error) for one in world.results if one.attempt == 1} == {
        "a": ("retrying", "internal_error"), "b": ("succeeded", None)
    }  # fmt: skip
    assert world.lanes.closed() == []
    await world.runner.drain(0)


async def test_deliveries_of_one_run_to_one_destination_go_one_after_the_other() -> None:
    world = World(always(200))
    world.answering.clear()
    for number in range(3):
        world.admit(fired(f"e{number}", entry("a", f"http://one/{number}")))
    await asyncio.sleep(0.01)
    assert world.sent == ["http://one/0"]
    world.answering.set()
    await world.settle()
    assert world.sent == ["http://one/0", "http://one/1", "http://one/2"]


HALF = "\ud800"


@pytest.mark.parametrize(
    ("action_type", "config"),
    [("SlackNotificationAction", {"webhook_url_secret": HALF}), ("WebhookAction", {"url_secret": HALF}),
     ("WebhookAction", {"url": f"http://{HALF}/"}), ("WebhookAction", {"url": f"http://h/{HALF}"}),
     ("WebhookAction", {"url": "http://h/", "payload": {HALF: HALF}}),
     ("WebhookAction", {"url": "http://h/", "headers": {HALF: HALF}}), ("WebhookAction", {"url": "http://["}),
     ("PagerDutyNotificationAction", {"routing_key": HALF}), ("EmailNotificationAction", {"to_emails": [HALF]}),
     ("TwilioNotificationAction", {"account_sid": HALF, "auth_token_secret": HALF, "phone_numbers": [HALF]}),
     ("TeamsWebhookNotificationAction", {"webhook_url_secret": [HALF]}), ("WebhookAction", {"url": 7}),
     ("WebhookAction", {})],
)  # fmt: skip
async def test_whatever_a_config_holds_its_delivery_is_written_down_and_the_runner_goes_on(
    action_type: str, config: dict[str, object]
) -> None:
    world = World(always(400))
    assert world.admit(fired("e1", {"id": "a", "action_type": action_type, "config": config})) is None
    world.admit(fired("e2", entry("b", "http://other/"), run="r2"))
    async with asyncio.timeout(5):
        while {one.event_id for one in world.results} != {"e1", "e2"}:
            assert not world.runner.failed.done(), world.runner.failed.exception()
            await asyncio.sleep(0.001)
            await world.book.commit()
