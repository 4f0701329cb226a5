"""The delivery oracle, checked by hand: clean stories pass, and each story with one fault names that fault.

Times are seconds after an arbitrary start; `ms(1)` is that in milliseconds since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from schemas.delivery_headers import REDRIVEN, DeliveryHeaders
from schemas.ids import delivery_id
from schemas.records import FLOW_RUN_STATE_CHANGED, ActionResult, AutomationEvent
from tests.oracle.deliveries import (
    Disabled,
    Kill,
    Letter,
    Post,
    Redrive,
    Seen,
    Settings,
    World,
    Written,
    check,
    redrives_in,
    summary,
)

START_S = 1_700_000_000
DAY = 86_400
SCHEDULE = Settings().schedule_s
RETRY, DLQ = "automation-events-retry-1m", "automation-events-dlq"
URL = "http://hooks.example/a?token=canary-in-url"


def ms(seconds: float) -> int:
    return round((START_S + seconds) * 1000)


class Story:
    """What happened to one webhook action (unless told), written down as a test on Kafka would read it."""

    def __init__(self, action_type: str = "WebhookAction", max_attempts: int | None = None, **config: Any) -> None:
        self.config = config or {"url": URL}
        self.kind, self.max_attempts = action_type, max_attempts
        self.events: list[Seen] = []
        self.posts: list[Post] = []
        self.results: list[Written] = []
        self.letters: list[Letter] = []
        self.kills: list[Kill] = []
        self.redrives: list[Redrive] = []
        self.disabled: list[Disabled] = []
        self.settings = Settings()
        self.more: dict[str, Any] = {}

    def event(self, name: str = "e1", at: float = 0, run: str = "run", test: bool = False) -> Story:
        limits = None if self.max_attempts is None else {"max_attempts": self.max_attempts}
        action = {"id": "act", "name": "n", "action_type": self.kind, "config": self.config, "delivery": limits}
        texts = dict.fromkeys(AutomationEvent._fields)
        given: dict[str, Any] = {**texts, "id": name, "event_name": FLOW_RUN_STATE_CHANGED, "message": "m"}
        given |= {"tenant_id": "t", "tenant_slug": "s", "automation_id": "auto", "automation_name": "n"}
        given |= {"flow_run_id": run, "flow_group_id": "g", "timestamp": ms(at), "detected_at": ms(at)}
        event = AutomationEvent(**{**given, "actions": json.dumps([action])})
        self.events.append(Seen(event, ms(at), b"bytes of " + name.encode(), test))
        return self

    def post(self, at: float, code: int | None, of: str = "e1", **more: Any) -> Story:
        self.posts.append(Post(more.pop("to", "/a"), of, START_S + at, code, **more))
        return self

    def attempt(
        self, at: float, number: int, status: str, code: int | None = 200, of: str = "e1", **more: Any
    ) -> Story:
        """An attempt from `at` on of 20 ms, its POST in the middle, its result written 10 ms later."""
        for recipient, answered in more.pop("answers", {None: code}).items():
            self.post(at + 0.01, answered, of, recipient=recipient, retry_after_s=more.get("retry_after"))
        wait = max(SCHEDULE[number - 1] if number < 12 else 0, more.pop("retry_after", 0))
        following = ms(at + 0.02 + wait) if status == "retrying" else None
        self.result(at, number, status, code, of, 0.02, following)
        if status == "retrying" and wait >= 60:
            self.letter(at + 0.03, number, code, of, topic=RETRY, not_before_ms=following, **more)
        if status == "dead":
            self.letter(at + 0.03, number, code, of, **more)
        return self

    def result(
        self,
        at: float,
        number: int,
        status: str,
        code: int | None,
        of: str = "e1",
        took: float = 0.0,
        following: int | None = None,
    ) -> Story:
        error = None if status == "succeeded" else "why"
        of_id, host = delivery_id(of, "act"), "hooks.example" if "url" in self.config else "api.example"
        about = (of_id, of, "act", self.kind, "auto", "t", status, number, error, code, ms(at), ms(at + took))
        run = next((seen.event.flow_run_id for seen in self.events if seen.event.id == of), None)
        result = ActionResult(*about, run, None, "g", host, following)
        self.results.append(Written(of_id, result, ms(at + took + 0.01), len(self.results)))
        return self

    def letter(self, at: float, number: int, code: int | None, of: str = "e1", **more: Any) -> Story:
        topic, reason = more.pop("topic", DLQ), more.pop("reason", "why")
        headers = DeliveryHeaders(delivery_id(of, "act"), "act", number, reason, code, **more)
        self.letters.append(Letter(topic, "run", b"bytes of " + of.encode(), headers, ms(at)))
        return self

    def redrive(self, at: float) -> Story:
        self.redrives.append(Redrive(delivery_id("e1", "act"), ms(at)))
        return self

    def kill(self, at: float, until: float | None = None) -> Story:
        self.kills.append(Kill(START_S + at, None if until is None else START_S + until))
        return self

    def disable(self, at: float, until: float | None = None) -> Story:
        self.disabled.append(Disabled("auto", ms(at), None if until is None else ms(until)))
        return self

    def last(self, **changes: Any) -> Story:
        """Other fields in the last result."""
        last = self.results[-1]
        self.results[-1] = last._replace(result=last.result._replace(**changes))
        return self

    def headers(self, **changes: Any) -> Story:
        """Other headers in the last letter."""
        headers = self.letters[-1].headers
        assert headers is not None
        self.letters[-1] = self.letters[-1]._replace(headers=headers._replace(**changes))
        return self

    def envelope(self, **changes: Any) -> Story:
        """Another key or value in the last letter."""
        self.letters[-1] = self.letters[-1]._replace(**changes)
        return self

    def judge(self, **settings: Any) -> Story:
        self.settings = self.settings._replace(**settings)
        return self

    def world(self, **more: Any) -> Story:
        self.more |= more
        return self

    def seen(self) -> World:
        lists = (self.events, self.posts, self.results, self.letters, self.kills, self.redrives, self.disabled)
        return World(*lists, **self.more)

    def faults(self) -> set[str]:
        return {violation.name for violation in check(self.seen(), self.settings)}


def twilio() -> Story:
    return Story("TwilioNotificationAction", phone_numbers=["1", "2", "3"]).world(receivers={"act": "/a"}).event()


def webhook() -> Story:
    return Story().event()


def sent() -> Story:
    return webhook().attempt(1, 1, "succeeded")


def failed_once() -> Story:
    return webhook().attempt(1, 1, "retrying", 503)


def died() -> Story:
    return webhook().attempt(1, 1, "dead", 404)


def ten_kills() -> Story:
    story = webhook()
    for n in range(10):
        story.post(n + 1, 200).kill(n + 1.5)
    return story.attempt(20, 1, "succeeded")


def all_attempts(last: str = "dead") -> Story:
    story, at = webhook(), 1.0
    for n in range(1, 12):
        story.attempt(at, n, "retrying", 500)
        at += 0.02 + SCHEDULE[n - 1]
    return story.attempt(at, 12, last, 500).judge(max_age_s=2 * DAY)


CLEAN: dict[str, Callable[[], Story]] = {
    "sent": sent,
    "tried again": lambda: failed_once().attempt(2.1, 2, "succeeded"),
    "within the spread": lambda: failed_once().last(next_attempt_at=ms(1.82)).attempt(1.83, 2, "succeeded"),
    "refused": died,
    "another 2xx is final": lambda: webhook().attempt(1, 1, "dead", 202),
    "another 2xx of Slack is success": lambda: (
        Story("SlackNotificationAction", webhook_url_secret="S")
        .world(receivers={"act": "/a"})
        .event()
        .attempt(1, 1, "succeeded", 202)
    ),
    "no connection": lambda: webhook().result(1, 1, "retrying", None, following=ms(2)).attempt(2, 2, "succeeded"),
    "a host denied": lambda: webhook().result(1, 1, "dead", None).letter(1.1, 1, None),
    "an e-mail": lambda: Story("EmailNotificationAction", to_emails=["a@b"]).event().result(1, 1, "succeeded", None),
    "answered after the timeout": lambda: (
        webhook().post(1.01, 200).result(1, 1, "retrying", None, took=10, following=ms(12)).attempt(12, 2, "succeeded")
    ),
    "all attempts": all_attempts,
    "its own number of attempts": lambda: Story(max_attempts=1).event().attempt(1, 1, "dead", 500),
    "a test is sent once": lambda: Story().event(test=True).attempt(1, 1, "dead", 500),
    "killed in flight": lambda: webhook().post(1, 200).kill(1.1).attempt(4, 1, "succeeded"),
    "killed in flight before a retry": lambda: failed_once().post(2.1, 503).kill(2.2).attempt(9, 2, "succeeded"),
    "killed ten times": ten_kills,
    "paused, and sent when another had": lambda: sent().post(9, 200).kill(0.5, until=9.1),
    "redriven, numbers go on": lambda: died().redrive(60).attempt(61, 2, "succeeded"),
    "redriven, numbers anew": lambda: died().redrive(60).attempt(61, 1, "succeeded"),
    "redriven and dead again": lambda: died().redrive(60).attempt(61, 2, "dead", 404),
    "redriven after its age": lambda: died().redrive(2 * DAY).attempt(2 * DAY + 1, 2, "succeeded"),
    "redriven, with records": lambda: (
        died()
        .redrive(60)
        .letter(61, 1, 404, topic=RETRY, reason=REDRIVEN, redriven_at_ms=ms(60.5))
        .letter(61, 1, 404, reason=REDRIVEN, redriven_at_ms=ms(60.5))
        .attempt(62, 2, "succeeded")
    ),
    "redriven, by a record that keeps the reason": lambda: (
        died().redrive(60).letter(61, 1, 404, topic=RETRY, redriven_at_ms=ms(60)).attempt(62, 2, "succeeded")
    ),
    "nothing yet": lambda: webhook().judge(settled=False),
    "redriven after all attempts, dead at once": lambda: (
        all_attempts().redrive(4 * DAY).attempt(4 * DAY + 1, 13, "dead", 500)
    ),
    "muted": lambda: webhook().disable(0.5).result(1, 0, "muted", None),
    "muted between attempts": lambda: failed_once().disable(1.5).result(2.1, 0, "muted", None),
    "muted though enabled again": lambda: webhook().disable(0.5, until=0.9).result(1, 0, "muted", None),
    "expired": lambda: webhook().result(DAY + 1, 0, "expired", None),
    "expired between attempts": lambda: failed_once().result(DAY + 1, 0, "expired", None),
    "Twilio, two of three": lambda: (
        twilio()
        .attempt(1, 1, "retrying", 500, answers={0: 201, 1: 500, 2: 201})
        .attempt(2.1, 2, "succeeded", 201, answers={1: 201})
    ),
    "Twilio, one left in the end": lambda: twilio().attempt(
        1, 1, "dead", 400, answers={0: 201, 1: 400, 2: 201}, recipients_left=(1,)
    ),
    "Twilio, killed after two of three": lambda: (
        twilio()
        .post(1, 201, recipient=0)
        .post(1.1, 201, recipient=1)
        .kill(1.2)
        .attempt(5, 1, "succeeded", 201, answers={0: 201, 1: 201, 2: 201})
    ),
    "Retry-After": lambda: webhook().attempt(1, 1, "retrying", 429, retry_after=20).attempt(21.1, 2, "succeeded"),
    "two in order": lambda: sent().event("e2").attempt(2, 1, "succeeded", of="e2"),
    "not in order after a failure": lambda: (
        failed_once().event("e2").attempt(1.5, 1, "succeeded", of="e2").attempt(2.1, 2, "succeeded")
    ),
    "not in order after the destination was closed for long": lambda: (
        webhook()
        .letter(0.1, 0, None, topic=RETRY, not_before_ms=ms(360))
        .event("e2", at=60)
        .attempt(61, 1, "succeeded", of="e2")
        .attempt(361, 1, "succeeded")
    ),
    "of two subjects": lambda: (
        webhook().event("e2", run="r2").attempt(1, 1, "succeeded", of="e2").attempt(2, 1, "succeeded")
    ),
    "still waiting": lambda: failed_once().judge(settled=False),
    "prompt": lambda: sent().judge(prompt_s=2),
    "slow after a kill": lambda: webhook().kill(5).attempt(20, 1, "succeeded").judge(prompt_s=2),
    "a port, where allowed": lambda: sent().last(destination="hooks.example:81").judge(allow_port=True),
}


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_story_passes(name: str) -> None:
    story = CLEAN[name]()
    assert check(story.seen(), story.settings) == []


FAULTY: dict[str, tuple[str, Callable[[], Story]]] = {
    "nothing at all": ("lost", webhook),
    "no final result": ("lost", failed_once),
    "nothing after a redrive": ("lost", lambda: died().redrive(60)),
    "succeeded, then muted": ("two_finals", lambda: sent().disable(2).result(3, 0, "muted", None)),
    "more after success": (
        "result_after_final",
        lambda: sent().result(1.02, 2, "retrying", None, following=ms(6)),
    ),
    "sent again": ("sent_after_final", lambda: sent().post(5, 200)),
    "dead, then sent again": ("sent_after_final", lambda: died().post(5, 200)),
    "sent again before a redrive": (
        "sent_after_final",
        lambda: died().post(5, 404).redrive(60).attempt(61, 2, "succeeded"),
    ),
    "sent again after a kill": ("repeated_beyond_in_flight", lambda: sent().kill(3).post(5, 200)),
    "sent again by one that sleeps no more": (
        "repeated_beyond_in_flight",
        lambda: sent().kill(1.5, until=3).post(5, 200),
    ),
    "sent twice at once": ("repeated_without_kill", lambda: webhook().post(0.9, 200).attempt(1, 1, "succeeded")),
    "in flight long before the kill": (
        "repeated_without_kill",
        lambda: webhook().post(1, 200).kill(30).attempt(40, 1, "succeeded"),
    ),
    "sent twice at once shortly before a kill": (
        "repeated_without_kill",
        lambda: webhook().post(0.99, 200).attempt(1, 1, "succeeded").kill(2),
    ),
    "one kill, two repeats": (
        "repeated_without_kill",
        lambda: webhook().post(1, 200).post(1.5, 200).kill(2).attempt(4, 1, "succeeded"),
    ),
    "post of an unknown event": ("wrong_id", lambda: sent().post(1, 200, of="e9")),
    "result of an unknown event": ("wrong_id", lambda: sent().result(1, 1, "succeeded", 200, of="e9")),
    "letter of an unknown delivery": ("wrong_id", lambda: sent().letter(2, 1, 404, of="e9")),
    "post to another destination": ("wrong_destination", lambda: sent().post(1, 200, to="/b")),
    "a result that nobody saw": ("result_without_post", lambda: failed_once().result(2.1, 2, "succeeded", 200)),
    "another code than answered": ("wrong_http_status", lambda: died().last(http_status=403).headers(http_status=403)),
    "200 is dead": ("wrong_status_for_answer", lambda: webhook().attempt(1, 1, "dead", 200)),
    "202 succeeded": ("wrong_status_for_answer", lambda: webhook().attempt(1, 1, "succeeded", 202)),
    "202 is tried again": (
        "wrong_status_for_answer",
        lambda: webhook().attempt(1, 1, "retrying", 202).attempt(2.1, 2, "succeeded"),
    ),
    "301 is tried again": (
        "wrong_status_for_answer",
        lambda: webhook().attempt(1, 1, "retrying", 301).attempt(2.1, 2, "succeeded"),
    ),
    "503 is dead at once": ("wrong_status_for_answer", lambda: webhook().attempt(1, 1, "dead", 503)),
    "no answer is dead at once": ("wrong_status_for_answer", lambda: webhook().attempt(1, 1, "dead", None)),
    "no answer succeeded": ("wrong_status_for_answer", lambda: webhook().attempt(1, 1, "succeeded", None)),
    "attempts beyond the last": (
        "wrong_status_for_answer",
        lambda: Story(max_attempts=1).event().attempt(1, 1, "retrying", 500).attempt(2.1, 2, "dead", 500),
    ),
    "a test tried again": (
        "wrong_status_for_answer",
        lambda: Story().event(test=True).attempt(1, 1, "retrying", 500).attempt(2.1, 2, "succeeded"),
    ),
    "an attempt left out": ("wrong_attempt", lambda: failed_once().attempt(2.1, 3, "succeeded")),
    "an attempt told of twice": ("wrong_attempt", lambda: failed_once().attempt(2.1, 1, "succeeded")),
    "begins with the second": ("wrong_attempt", lambda: webhook().attempt(1, 2, "succeeded")),
    "expired is no attempt": ("wrong_attempt", lambda: webhook().result(DAY, 1, "expired", None)),
    "sent is an attempt": ("wrong_attempt", lambda: webhook().result(1, 0, "succeeded", None)),
    "too early by the schedule": (
        "retry_too_early",
        lambda: failed_once().last(next_attempt_at=ms(1.85)).attempt(1.5, 2, "succeeded"),
    ),
    "too early by its own word": ("retry_too_early", lambda: failed_once().attempt(1.9, 2, "succeeded")),
    "before Retry-After": (
        "retry_too_early",
        lambda: webhook().attempt(1, 1, "retrying", 429, retry_after=20).attempt(9, 2, "succeeded"),
    ),
    "no next attempt told": (
        "wrong_next_attempt",
        lambda: failed_once().last(next_attempt_at=None).attempt(2.1, 2, "succeeded"),
    ),
    "next attempt too far": (
        "wrong_next_attempt",
        lambda: failed_once().last(next_attempt_at=ms(9)).attempt(9, 2, "succeeded"),
    ),
    "next attempt after success": ("wrong_next_attempt", lambda: sent().last(next_attempt_at=ms(9))),
    "dead without a letter": ("missing_dead_letter", lambda: webhook().post(1, 404).result(1, 1, "dead", 404)),
    "a letter, yet sent": ("dead_letter_without_dead_result", lambda: sent().letter(1.1, 1, 200)),
    "two letters": ("dead_letter_without_dead_result", lambda: died().letter(1.1, 1, 404)),
    "a letter of the expired": (
        "dead_letter_without_dead_result",
        lambda: webhook().result(DAY, 0, "expired", None).letter(DAY, 0, None),
    ),
    "letter of another attempt": ("headers_wrong", lambda: died().headers(attempt=2)),
    "letter of another code": ("headers_wrong", lambda: died().headers(http_status=500)),
    "letter of another action": ("headers_wrong", lambda: died().headers(action_id="other")),
    "letter without a reason": ("headers_wrong", lambda: died().headers(reason="")),
    "letter of a redrive that was not": ("headers_wrong", lambda: died().headers(redriven_at_ms=ms(1))),
    "retry record without a failure": ("headers_wrong", lambda: sent().letter(1.1, 1, 200, topic=RETRY)),
    "retry record too early": (
        "headers_wrong",
        lambda: failed_once().letter(1.1, 1, 503, topic=RETRY, not_before_ms=ms(1)).attempt(2.1, 2, "succeeded"),
    ),
    "letter of another subject": (
        "letter_changed",
        lambda: died().envelope(key="other"),
    ),
    "letter with other bytes": (
        "letter_changed",
        lambda: died().envelope(value=b""),
    ),
    "the second first": (
        "order_violated",
        lambda: webhook().event("e2").attempt(1, 1, "succeeded", of="e2").attempt(2, 1, "succeeded"),
    ),
    "the second first, though its destination was closed for a minute only": (
        "order_violated",
        lambda: (
            webhook()
            .letter(0.1, 0, None, topic=RETRY, not_before_ms=ms(60))
            .event("e2", at=40)
            .attempt(41, 1, "succeeded", of="e2")
            .attempt(61, 1, "succeeded")
        ),
    ),
    "expired at noon": ("expired_although_young", lambda: webhook().result(DAY / 2, 0, "expired", None)),
    "expired after a redrive": (
        "expired_although_young",
        lambda: died().redrive(2 * DAY).result(2 * DAY + 1, 0, "expired", None),
    ),
    "sent next day": ("sent_although_too_old", lambda: webhook().attempt(DAY + 60, 1, "succeeded")),
    "muted though in force": ("muted_wrongly", lambda: webhook().result(1, 0, "muted", None)),
    "muted though disabled later": ("muted_wrongly", lambda: webhook().disable(5).result(1, 0, "muted", None)),
    "muted though disabled before the event": (
        "muted_wrongly",
        lambda: webhook().disable(-90, until=-60).result(1, 0, "muted", None),
    ),
    "sent though disabled": ("delivered_after_disable", lambda: webhook().disable(0.5).attempt(9, 1, "succeeded")),
    "ends before it starts": ("wrong_times", lambda: sent().last(started_at=ms(1.03))),
    "starts before the event": ("wrong_times", lambda: webhook().attempt(-9, 1, "succeeded")),
    "ends after it is written": ("wrong_times", lambda: sent().last(finished_at=ms(3))),
    "a path in the destination": ("wrong_destination_field", lambda: sent().last(destination="hooks.example/a")),
    "a port in the destination": ("wrong_destination_field", lambda: sent().last(destination="hooks.example:81")),
    "another host": ("wrong_destination_field", lambda: sent().last(destination="other.example")),
    "a secret in an error": (
        "secret_shown",
        lambda: died().last(error=f"404 of {URL}").world(canaries=["canary-in-url"]),
    ),
    "a secret in a header": (
        "secret_shown",
        lambda: died().headers(reason=f"404 of {URL}").world(canaries=["canary-in-url"]),
    ),
    "another tenant": ("wrong_fields", lambda: sent().last(tenant_id="other")),
    "another run": ("wrong_fields", lambda: sent().last(flow_run_id=None)),
    "another type": (
        "wrong_fields",
        lambda: sent().last(action_type="SlackNotificationAction"),
    ),
    "dead without an error": ("wrong_fields", lambda: died().last(error=None)),
    "success with an error": ("wrong_fields", lambda: sent().last(error="why")),
    "muted with a code": ("wrong_fields", lambda: webhook().disable(0.5).result(1, 0, "muted", 200)),
    "a recipient twice": (
        "recipient_twice",
        lambda: (
            twilio()
            .attempt(1, 1, "retrying", 500, answers={0: 201, 1: 500, 2: 201})
            .attempt(2.1, 2, "succeeded", 201, answers={0: 201, 1: 201})
        ),
    ),
    "a recipient forgotten": (
        "recipient_missed",
        lambda: twilio().attempt(1, 1, "succeeded", 201, answers={0: 201, 1: 201}),
    ),
    "a recipient left who had it": (
        "headers_wrong",
        lambda: twilio().attempt(1, 1, "dead", 400, answers={0: 201, 1: 400, 2: 201}, recipients_left=(0, 1)),
    ),
    "a recipient not left who had it not": (
        "headers_wrong",
        lambda: (
            twilio()
            .attempt(1, 1, "retrying", 429, answers={0: 201, 1: 429, 2: 429}, retry_after=60, recipients_left=(2,))
            .result(DAY, 0, "expired", None)
        ),
    ),
    "a recipient that is none": ("headers_wrong", lambda: died().headers(recipients_left=(7,))),
    "held up": ("delayed", lambda: webhook().attempt(20, 1, "succeeded").judge(prompt_s=2)),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_story_with_one_fault_names_it_and_no_other(name: str) -> None:
    fault, story = FAULTY[name]
    assert story().faults() == {fault}


def test_unreadable_headers_are_told() -> None:
    story = sent()
    story.letters.append(Letter(DLQ, "run", b"", None, ms(2)))
    assert story.faults() == {"headers_wrong"}


def test_the_sick_destination_itself_may_be_slow() -> None:
    story = webhook().attempt(20, 1, "succeeded").judge(prompt_s=2).world(sick=frozenset({"/a"}))
    assert story.faults() == set()


def test_a_post_that_two_actions_may_have_sent_is_an_error_of_the_test() -> None:
    story = webhook()
    event = story.events[0].event
    twice = [{**action, "id": of} for action in json.loads(event.actions) for of in ("act", "other")]
    story.events[0] = story.events[0]._replace(event=event._replace(actions=json.dumps(twice)))
    story.post(1, 200)
    with pytest.raises(ValueError, match="two actions"):
        story.faults()


def test_the_summary_counts_repeats_by_kill() -> None:
    story = webhook().kill(0.5).post(1, 200).kill(1.1).attempt(4, 1, "succeeded").post(9, 200)
    assert summary(story.seen()) == {
        "events": 1,
        "deliveries": 1,
        "ended": {"succeeded": 1},
        "attempts": 1,
        "posts": 3,
        "repeats": 2,
        "repeats_by_kill": [0, 1],
        "repeats_unexcused": 1,
        "dead_letters": 0,
        "redrives": 0,
    }


def test_redrives_are_read_from_headers() -> None:
    story = died().letter(61, 1, 404, reason=REDRIVEN, redriven_at_ms=ms(60))
    assert redrives_in(story.letters) == [Redrive(delivery_id("e1", "act"), ms(60))]


def test_large_worlds_are_judged_quickly() -> None:
    story = Story()
    for n in range(2_000):
        story.event(f"e{n}", n, run="run").attempt(n + 1, 1, "succeeded", of=f"e{n}")
    assert story.faults() == set()
