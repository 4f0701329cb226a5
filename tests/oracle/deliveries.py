"""What is wrong with how automation actions were delivered, judged from the contract alone.

Given everything that could be observed from outside (events, POSTs that receivers saw, results, retry records
and dead letters, kills, redrives, disablings), `check` names each broken promise and `summary` counts. Written
from the contract (sections 1, 2, 4 and 6), not from the action runner. Each rule looks at one delivery (`order`
at all) and yields the name of what was broken with what was seen.

Where a sentence of the contract leaves room, "READING:" says which one is taken.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from schemas.delivery_headers import REDRIVEN

from . import delivery_facts as facts
from .delivery_facts import (
    DEAD,
    EXPIRED,
    FINALS,
    MUTED,
    POSTED,
    RETRYING,
    SUCCEEDED,
    Delivery,
    Disabled,
    Kill,
    Letter,
    Post,
    Redrive,
    Seen,
    Settings,
    Violation,
    World,
    Written,
    answer,
    final_before,
    is_final,
)

__all__ = [
    "Disabled",
    "Kill",
    "Letter",
    "Post",
    "Redrive",
    "Seen",
    "Settings",
    "Violation",
    "World",
    "Written",
    "check",
    "redrives_in",
    "summary",
]

Fault = tuple[str, str]


def check(world: World, settings: Settings | None = None) -> list[Violation]:
    """Every broken promise in what was observed; empty means that the contract was kept."""
    s = settings or Settings()
    deliveries, strays = facts.arrange(world, s)
    found = [*strays, *order(deliveries.values(), s)]
    for d in deliveries.values():
        rules = (ends(d, s), attempts(d), fields(d, world, s), answers(d, s), timing(d, s), repeats(d, world, s))
        more = (ages(d, s), mutes(d, world, s), recipients(d), dead_letters(d), headers(d, s), prompt(d, world, s))
        found += [Violation(name, d.id, detail) for rule in rules + more for name, detail in rule]
    return found


def summary(world: World, settings: Settings | None = None) -> dict[str, Any]:
    """Counts for a report; `repeats_by_kill` in the order of `kills`, `repeats_unexcused` by none of them."""
    s = settings or Settings()
    deliveries = facts.arrange(world, s)[0].values()
    excused = Counter(kill for d in deliveries for kill in d.excuses)
    repeated = sum(len(d.repeats) for d in deliveries)
    return {
        "events": len(world.events),
        "deliveries": len(deliveries),
        "ended": dict(Counter(d.results[-1].result.status if d.results else "nothing" for d in deliveries)),
        "attempts": sum(w.result.attempt > 0 for w in world.results),
        "posts": len(world.posts),
        "repeats": repeated,
        "repeats_by_kill": [excused[kill] for kill in world.kills],
        "repeats_unexcused": sum(len(d.unexcused) for d in deliveries),
        "dead_letters": sum(facts.is_dead_letter(letter) for letter in world.letters),
        "redrives": len(world.redrives),
    }


def redrives_in(letters: Iterable[Letter]) -> list[Redrive]:
    """The redrives that the headers tell of, for a test that did not note them itself."""
    told = (letter.headers for letter in letters if letter.headers is not None)
    found = {(h.delivery_id, h.redriven_at_ms) for h in told if h.redriven_at_ms is not None}
    return [Redrive(of, at_ms) for of, at_ms in sorted(found)]


# ---------------------------------------------------------------------------------------------------- the rules


def ends(d: Delivery, s: Settings) -> Iterator[Fault]:
    """ "Each delivery ends as succeeded, dead, expired or muted": once, and once more after a redrive."""
    last = d.results[-1] if d.results else None
    forgotten = last is not None and any(at > last.log_ms + s.slack_ms for at in d.redrives)
    if s.settled and (last is None or forgotten or not any(map(is_final, d.lives[-1]))):
        why = "nothing after a redrive, " if forgotten else ""
        yield "lost", f"{why}{len(d.posts)} posts, ends with {last and last.result}"
    for life in d.lives:
        finals = [w.result for w in life if is_final(w)]
        if len(finals) > 1:
            yield "two_finals", f"{finals}"
        elif finals and not is_final(life[-1]):
            yield "result_after_final", f"{life[-1].result}"


def attempts(d: Delivery) -> Iterator[Fault]:
    """ "One record an attempt"; without one 0. READING: a kill does not use an attempt up, so numbers have no gap;
    after a redrive they go on or begin anew."""
    before = 0
    for number, life in enumerate(d.lives):
        for index, w in enumerate(life):
            r = w.result
            if r.status in (EXPIRED, MUTED) or r.attempt == 0:
                if r.attempt != 0 or r.status not in (EXPIRED, MUTED):
                    yield "wrong_attempt", f"attempt {r.attempt} for {r.status}"
                continue
            expected = {before + 1, 1} if number and index == 0 else {before + 1}
            if r.attempt not in expected:
                yield "wrong_attempt", f"attempt {r.attempt} after {before}, expected one of {sorted(expected)}"
            before = r.attempt


def fields(d: Delivery, world: World, s: Settings) -> Iterator[Fault]:
    """Fields as the event's, the host only as destination, no secret anywhere.

    READING: an error goes with every failed attempt and with no success; a port is more than a host.
    """
    event = d.seen.event
    same = ("automation_id", "tenant_id", "flow_run_id", "agent_config_id", "flow_group_id")
    host = urlsplit(str(d.action["config"].get("url") or "")).hostname
    for w in d.results:
        r = w.result
        differ = [name for name in same if getattr(r, name) != getattr(event, name)]
        if differ or r.action_type != d.action["action_type"]:
            yield "wrong_fields", f"{differ or ['action_type']} differ from the event's in {r}"
        if r.status not in (*FINALS, RETRYING):
            yield "wrong_fields", f"status {r.status}"
        if (r.status == SUCCEEDED and r.error) or (r.status in (RETRYING, DEAD) and not r.error):
            yield "wrong_fields", f"{r.status} with error {r.error!r}"
        if r.attempt == 0 and r.http_status is not None:
            yield "wrong_fields", f"{r.status} with http_status {r.http_status}"
        if r.destination is not None and not facts.is_host(r.destination, host, s):
            yield "wrong_destination_field", f"destination {r.destination!r}, expected the host {host or ''}"
    for canary in world.canaries:
        texts = [*map(str, d.results), *(f"{letter.key} {letter.headers} {letter.value!r}" for letter in d.letters)]
        if any(canary in text for text in texts):
            yield "secret_shown", f"canary {canary[:4]}…"


def answers(d: Delivery, s: Settings) -> Iterator[Fault]:
    """ "Success is strictly 200 …; another 2xx is final; retried: no answer, 408, 425, 429, 5xx; other codes final".

    READING: with several recipients, one that is to be tried again makes the attempt `retrying`, else one refused
    makes it `dead`. What fails before anything was sent (a secret missing, a host denied) may be final at once. An
    answer later than the timeout counts as none.
    """
    refused = False
    for number, life in enumerate(d.lives):
        for index, w in enumerate(life):
            r, mine = w.result, d.matched[w]
            if r.attempt == 0 or r.status in (EXPIRED, MUTED):
                continue
            late = (
                r.http_status is None
                and r.finished_at - r.started_at >= d.limits["timeout_seconds"] * 1000 - s.slack_ms
            )
            codes = {None if late else post.status for post in mine}
            kinds = {answer(r.action_type, code) for code in codes or ({r.http_status} - {None})}
            refused |= facts.REFUSED in kinds
            if d.action["action_type"] not in POSTED:
                kinds = set()
            elif mine and r.http_status not in codes:
                yield "wrong_http_status", f"{r.http_status} in attempt {r.attempt}, receiver answered {codes}"
            elif not mine and d.observed and r.http_status is not None:
                yield "result_without_post", f"attempt {r.attempt} tells of {r.http_status}, no receiver saw it"
            allowed = {RETRYING} if index + 1 < d.limits["max_attempts"] else set()
            exhausted = max(r.attempt, index + 1) >= d.limits["max_attempts"] if number else not allowed
            if facts.AGAIN in kinds:
                allowed |= {DEAD} if exhausted else set()
            elif kinds:
                allowed = {DEAD} if facts.REFUSED in kinds else {SUCCEEDED, DEAD} if refused else {SUCCEEDED}
            else:
                allowed |= {DEAD} | ({SUCCEEDED} if d.action["action_type"] not in POSTED else set())
            if r.status not in allowed:
                yield "wrong_status_for_answer", f"{r.status} in attempt {r.attempt} after {codes or r.http_status}"


def timing(d: Delivery, s: Settings) -> Iterator[Fault]:
    """Waits of the schedule ±20 %, or what `Retry-After` asks for.

    READING: an answer's `Retry-After` is kept up to a cap, but never shortens the schedule. An attempt may come
    late (a breaker, a backlog), yet `next_attempt_at` is what the schedule says. Expiry is no attempt.
    """
    for life in d.lives:
        for index, w in enumerate(life):
            r = w.result
            since = d.seen.log_ms if d.seen.log_ms is not None else r.started_at
            if not since - s.late_slack_ms <= r.started_at <= r.finished_at <= w.log_ms + s.slack_ms:
                yield "wrong_times", f"event {since}, result written {w.log_ms}: {r}"
            if r.status != RETRYING:
                if r.next_attempt_at is not None:
                    yield "wrong_next_attempt", f"{r.status} with {r.next_attempt_at}"
                continue
            steps = [s.schedule_s[min(max(n, 1), len(s.schedule_s)) - 1] for n in (index + 1, r.attempt)]
            asked = max((post.retry_after_s or 0 for post in d.matched[w]), default=0)
            least = 1000 * max(min(steps) * (1 - s.spread), min(asked, s.retry_after_cap_s))
            most = 1000 * max(max(steps) * (1 + s.spread), asked * (1 + s.spread))
            if r.next_attempt_at is None or not (
                r.finished_at + least - s.slack_ms <= r.next_attempt_at <= r.finished_at + most + s.late_slack_ms
            ):
                yield "wrong_next_attempt", f"{least} to {most} ms after {r.finished_at} expected: {r}"
            following = life[index + 1].result if index + 1 < len(life) else None
            bound = max(r.finished_at + least, r.next_attempt_at or 0) - s.slack_ms
            if following and following.attempt > 0 and following.started_at < bound:
                yield "retry_too_early", f"attempt {following.attempt} at {following.started_at}, before {bound}"


def repeats(d: Delivery, world: World, s: Settings) -> Iterator[Fault]:
    """ "In practice once: after a crash only what was in flight is repeated"; dead and succeeded is not sent again.

    READING: a result that can be read committed was not in flight at any later kill.
    """
    for post in d.unexcused:
        final = final_before(d, post, s)
        if final is None:
            yield "repeated_without_kill", f"{post} belongs to no attempt and was not in flight at a kill"
        elif any(final.log_ms <= kill.at_s * 1000 <= post.at_s * 1000 for kill in world.kills):
            yield "repeated_beyond_in_flight", f"{post} after a kill, its final result was written at {final.log_ms}"
        else:
            yield "sent_after_final", f"{post} after {final.result}"
    for w, mine in d.matched.items():
        for post in mine:
            if (final := final_before(d, post, s)) is not None and final is not w:
                yield "sent_after_final", f"{post} after {final.result}"


def ages(d: Delivery, s: Settings) -> Iterator[Fault]:
    """ "`ACTION_MAX_AGE_S` from `detected_at` or the latest redrive, checked before each attempt"."""
    limit_ms = d.limits["max_age_seconds"] * 1000

    def limits(at_ms: float) -> tuple[float, float]:
        began = [d.seen.event.detected_at, *(at for at in d.redrives if at <= at_ms + s.slack_ms)]
        return max(began) + limit_ms, max([began[0], *(at + s.redrive_s * 1000 for at in began[1:])]) + limit_ms

    for w in d.results:
        r = w.result
        if r.status == EXPIRED and r.finished_at < limits(r.finished_at)[0] - s.slack_ms:
            yield "expired_although_young", f"{r}, due at {limits(r.finished_at)[0]}"
        if r.attempt > 0 and r.started_at > limits(r.started_at)[1] + s.slack_ms:
            yield "sent_although_too_old", f"{r}, too old since {limits(r.started_at)[1]}"
    for post in d.repeats:
        if post.at_s * 1000 > limits(post.at_s * 1000)[1] + s.late_slack_ms:
            yield "sent_although_too_old", f"{post}, too old since {limits(post.at_s * 1000)[1]}"


def mutes(d: Delivery, world: World, s: Settings) -> Iterator[Fault]:
    """ "Disabling or deleting also mutes deliveries not yet sent".

    READING: a delivery between two attempts is not yet sent; one whose automation was disabled at any time since
    the event may be muted, though enabled again; a runner knows of it within `mute_s`.
    """
    event = d.seen.event
    spans = [span for span in world.disabled if span.automation_id == event.automation_id]
    for w in d.results:
        at = w.result.finished_at
        reasons = [
            span
            for span in spans
            if span.from_ms - s.slack_ms <= at
            and (span.until_ms is None or span.until_ms + s.mute_s * 1000 >= (d.seen.log_ms or event.detected_at))
        ]
        if w.result.status == MUTED and not reasons:
            yield "muted_wrongly", f"{w.result}"
    times = [p.at_s * 1000 for p in d.posts] or [w.result.started_at for w in d.results if w.result.attempt > 0]
    for at_ms in times:
        for span in spans:
            if span.from_ms + s.mute_s * 1000 < at_ms and (span.until_ms is None or at_ms < span.until_ms):
                yield "delivered_after_disable", f"at {at_ms}, disabled since {span.from_ms}"


def recipients(d: Delivery) -> Iterator[Fault]:
    """`recipients-left`: who has had it gets it no more, and all have had it in the end.

    READING: one who was refused for good may be listed as left or not.
    """
    had: set[int] = set()
    refused: set[int] = set()
    if not d.observed or not d.recipients or any(post.recipient is None for post in d.posts):
        return
    for index, w in enumerate(d.results):
        told = [(post.recipient or 0, post) for post in d.matched[w]]
        for recipient, post in told:
            if recipient in had:
                yield "recipient_twice", f"recipient {recipient} had it before {post}"
        had |= {recipient for recipient, post in told if answer(w.result.action_type, post.status) == facts.OK}
        refused |= {recipient for recipient, post in told if answer(w.result.action_type, post.status) == facts.REFUSED}
        if w.result.status == SUCCEEDED and not d.recipients <= had:
            yield "recipient_missed", f"succeeded without {sorted(d.recipients - had)}"
        until = d.results[index + 1].result.started_at if index + 1 < len(d.results) else float("inf")
        for letter in d.letters:
            h = letter.headers
            if h is None or h.attempt == 0 or not w.result.started_at <= letter.log_ms < until or h.reason == REDRIVEN:
                continue
            left = d.recipients if h.recipients_left is None else set(h.recipients_left)
            if not d.recipients - had - refused <= left <= d.recipients - had:
                yield "headers_wrong", f"recipients-left {h.recipients_left}, had it: {sorted(had)}"


def dead_letters(d: Delivery) -> Iterator[Fault]:
    """ "`dead` …: it is in the DLQ", once for each such result. READING: expired and muted ones are not in it."""
    if d.seen.test:
        return
    dead = [w.result for w in d.results if w.result.status == DEAD]
    there = [letter.headers for letter in d.letters if facts.is_dead_letter(letter) and letter.headers]
    for result in dead[len(there) :]:
        yield "missing_dead_letter", f"{result}"
    for headers_found in there[len(dead) :]:
        yield "dead_letter_without_dead_result", f"{headers_found}"
    for result, h in zip(dead, there, strict=False):
        if (h.attempt, h.http_status) != (result.attempt, result.http_status):
            yield "headers_wrong", f"{h} of {result}"


def headers(d: Delivery, s: Settings) -> Iterator[Fault]:
    """Retry and DLQ: key and value "as `automation-events`", headers as the last attempt left it.

    READING: short waits need no retry record; the same attempt may be put off again, to later only.
    """
    event = d.seen.event
    for letter in d.letters:
        h = letter.headers
        assert h is not None
        wrong = h.action_id != d.action["id"] or not h.reason
        if h.redriven_at_ms is not None:
            early, late = h.redriven_at_ms - s.redrive_s * 1000, h.redriven_at_ms + s.slack_ms
            wrong |= not any(early <= at <= late for at in d.redrives)
        wrong |= any(index not in d.recipients for index in h.recipients_left or ())
        if letter.topic != facts.DLQ_TOPIC and h.attempt > 0 and h.reason != REDRIVEN:
            tried = [w.result for w in d.results if w.result.attempt == h.attempt and w.result.status == RETRYING]
            due = [r.next_attempt_at or 0 for r in tried if h.http_status == r.http_status]
            back = h.redriven_at_ms is not None and any(w.result.status == DEAD for w in d.results)
            wrong |= not back and (not due or (h.not_before_ms or 0) < min(due) - s.slack_ms)
        if wrong:
            yield "headers_wrong", f"{letter.topic}: {h}"
        changed = None not in (letter.value, d.seen.value) and letter.value != d.seen.value
        if changed or letter.key != (event.flow_run_id or event.agent_config_id):
            yield "letter_changed", f"{letter.topic}: key {letter.key}" + " and another value" * changed


def prompt(d: Delivery, world: World, s: Settings) -> Iterator[Fault]:
    """ "One dead or slow destination never delays another". READING: a healthy one is tried within `prompt_s` of
    the event's log time, unless a kill or a redrive lies in between; only where `prompt_s` is set."""
    since, first = d.seen.log_ms, d.results[0].result if d.results else None
    if s.prompt_s is None or since is None or first is None or first.attempt == 0 or d.names & world.sick:
        return
    shaken = any(since <= max(k.at_s, k.until_s or 0) * 1000 <= first.started_at for k in world.kills)
    if first.started_at > since + s.prompt_s * 1000 and not shaken:
        yield "delayed", f"first tried {first.started_at - since} ms after the event"


def order(deliveries: Iterable[Delivery], s: Settings) -> Iterator[Violation]:
    """ "Deliveries of one subject to one destination keep their order while they succeed".

    READING: in the order of the events, for two that follow each other and both succeed at the first attempt, by
    when the receiver first saw them; a destination is a receiver (one URL), or else the result's host. The
    actions of one event have no order among themselves. One that its failing destination has put off, without an
    attempt, for more than `order_s` at once is not about to succeed: who comes later need not wait for it.
    """

    def long_away(d: Delivery) -> bool:
        told = [(one.headers, one.log_ms) for one in d.letters if one.headers and one.topic != facts.DLQ_TOPIC]
        least_ms = s.order_s * 1000 - s.late_slack_ms
        return any(h.attempt == 0 and (h.not_before_ms or 0) - at_ms > least_ms for h, at_ms in told)

    lanes: dict[tuple[str, str | None, str], list[Delivery]] = defaultdict(list)
    for d in deliveries:
        event = d.seen.event
        there = max(d.names, key=len) if d.names else d.results[0].result.destination if d.results else ""
        lanes[event.tenant_id, event.flow_run_id or event.agent_config_id, there or ""].append(d)
    for lane in lanes.values():
        for before, after in pairwise(lane):
            both = all(d.results and d.results[0].result.status == SUCCEEDED for d in (before, after))
            first, second = (
                d.posts[0].at_s * 1000 if d.posts else d.results[0].result.started_at if d.results else 0.0
                for d in (before, after)
            )
            if both and before.seen is not after.seen and second < first and not long_away(before):
                yield Violation("order_violated", after.id, f"at {second}, before {before.id} at {first}")
