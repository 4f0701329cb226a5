"""What can be observed of deliveries, and which observation belongs to which delivery and attempt.

The part of the delivery oracle that only arranges; `deliveries` judges. All times are of one clock: seconds
since 1970 where a name ends in `_s` and is an instant, else milliseconds.

Where a sentence of the contract leaves room, "READING:" says which one is taken.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from schemas.delivery_headers import REDRIVEN, DeliveryHeaders
from schemas.ids import delivery_id
from schemas.records import ActionResult, AutomationEvent

SUCCEEDED, RETRYING, DEAD, EXPIRED, MUTED = "succeeded", "retrying", "dead", "expired", "muted"
FINALS = frozenset((SUCCEEDED, DEAD, EXPIRED, MUTED))
WEBHOOK = "WebhookAction"
# Types whose attempt is one POST (or one for each recipient), so that its answer decides.
POSTED = frozenset((WEBHOOK, *(f"{n}NotificationAction" for n in ("Slack", "TeamsWebhook", "Twilio", "PagerDuty"))))
RETRY_TOPICS = ("automation-events-retry-1m", "automation-events-retry-10m", "automation-events-retry-1h")
DLQ_TOPIC = "automation-events-dlq"
OK, AGAIN, REFUSED = "ok", "again", "refused"


class Seen(NamedTuple):
    """An event in the order of its partition; `value` its bytes; `test` says that it is of `automation-tests`."""

    event: AutomationEvent
    log_ms: int | None = None
    value: bytes | None = None
    test: bool = False


class Post(NamedTuple):
    """A request as a receiver saw it; no `status` where it gave no answer. `recipient` indexes the action's list."""

    destination: str
    event_id: str
    at_s: float
    status: int | None
    retry_after_s: float | None = None
    recipient: int | None = None
    action_id: str | None = None


class Written(NamedTuple):
    """A record of `action-results`, read committed."""

    key: str
    result: ActionResult
    log_ms: int
    offset: int
    partition: int = 0


class Letter(NamedTuple):
    """A record of a retry topic or of the DLQ, in the order of its topic; the topic without prefix."""

    topic: str
    key: str
    value: bytes | None
    headers: DeliveryHeaders | None
    log_ms: int


class Kill(NamedTuple):
    """A runner was killed or lost partitions; until `until_s` (a paused or cut off one) it may still have sent."""

    at_s: float
    until_s: float | None = None


class Redrive(NamedTuple):
    """Somebody asked for another try, at or shortly after `at_ms`."""

    delivery_id: str
    at_ms: int


class Disabled(NamedTuple):
    """An automation was disabled or deleted, and perhaps enabled again."""

    automation_id: str
    from_ms: int
    until_ms: int | None = None


class World(NamedTuple):
    """Everything observed. `receivers`: action id -> name in `posts`; else a webhook's URL, host/path or path."""

    events: Sequence[Seen]
    posts: Sequence[Post] = ()
    results: Sequence[Written] = ()
    letters: Sequence[Letter] = ()
    kills: Sequence[Kill] = ()
    redrives: Sequence[Redrive] = ()
    disabled: Sequence[Disabled] = ()
    receivers: Mapping[str, str] = {}
    sick: frozenset[str] = frozenset()
    canaries: Sequence[str] = ()


class Settings(NamedTuple):
    """The contract's settings, then how exactly the observer's clocks and its patience allow to judge."""

    max_attempts: int = 12
    schedule_s: tuple[float, ...] = (1, 5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 28800)
    spread: float = 0.2
    max_age_s: float = 86_400
    timeout_s: float = 10
    retry_after_cap_s: float = 300
    commit_s: float = 2
    mute_s: float = 5
    redrive_s: float = 10
    prompt_s: float | None = None
    order_s: float = 300
    slack_ms: float = 50
    late_slack_ms: float = 2_000
    settled: bool = True
    allow_port: bool = False


class Violation(NamedTuple):
    """A broken promise: its name, the delivery (or what there is instead) and what was seen."""

    name: str
    delivery_id: str
    detail: str


@dataclass
class Delivery:
    """One action of one event, with all that was seen of it."""

    id: str
    seen: Seen
    action: dict[str, Any]
    names: frozenset[str]
    limits: dict[str, Any]
    observed: bool = False
    posts: list[Post] = field(default_factory=list)
    results: list[Written] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    redrives: list[int] = field(default_factory=list)
    lives: list[list[Written]] = field(default_factory=list)
    matched: dict[Written, list[Post]] = field(default_factory=dict)
    repeats: list[Post] = field(default_factory=list)
    unexcused: list[Post] = field(default_factory=list)
    excuses: list[Kill] = field(default_factory=list)

    @property
    def recipients(self) -> frozenset[int]:
        config = self.action["config"]
        return frozenset(range(len(config.get("phone_numbers") or config.get("to_emails") or ())))


def arrange(world: World, s: Settings) -> tuple[dict[str, Delivery], list[Violation]]:
    """Each observation to its delivery, and those that belong to none. Raises ValueError where a POST could
    be of two actions of an event: give them different paths, or the post its `action_id`."""
    deliveries: dict[str, Delivery] = {}
    watched = {post.destination for post in world.posts}
    for seen in world.events:
        for d in deliveries_of(seen, world, watched, s):
            deliveries.setdefault(d.id, d)  # READING: a second event of the same id is the event oracle's business
    strays = list(give_records(world, deliveries))
    strays += give_posts(world, deliveries)
    for redrive in sorted(world.redrives):
        if redrive.delivery_id in deliveries:
            deliveries[redrive.delivery_id].redrives.append(redrive.at_ms)
    for d in deliveries.values():
        d.results.sort(key=lambda w: (w.partition, w.offset))
        d.posts.sort(key=lambda post: post.at_s)
        live(d, s)
        match(d, s)
        excuse(d, world, s)
    return deliveries, strays


def deliveries_of(seen: Seen, world: World, watched: set[str], s: Settings) -> Iterator[Delivery]:
    """READING: an action named twice in `actions` is one delivery, as both would have the same id."""
    for action in json.loads(seen.event.actions):
        url = urlsplit(str(action["config"].get("url") or ""))
        named = world.receivers.get(action["id"])
        names = {named} if named is not None else {url.geturl(), url.netloc + url.path, url.path} - {""}
        limits = {"max_attempts": s.max_attempts, "max_age_seconds": s.max_age_s, "timeout_seconds": s.timeout_s}
        limits |= {key: value for key, value in (action.get("delivery") or {}).items() if value is not None}
        if seen.test:
            limits["max_attempts"] = 1  # "a test asked for, sent once"; READING: one attempt, no retry, no dead letter
        observed = named is not None or not watched.isdisjoint(names)
        yield Delivery(delivery_id(seen.event.id, action["id"]), seen, action, frozenset(names), limits, observed)


def give_records(world: World, deliveries: dict[str, Delivery]) -> Iterator[Violation]:
    for written in world.results:
        r = written.result
        made = delivery_id(r.event_id, r.action_id)
        if r.delivery_id != made or written.key != made or made not in deliveries:
            yield Violation("wrong_id", r.delivery_id, f"result with key {written.key}: {r}")
        else:
            deliveries[made].results.append(written)
    for letter in world.letters:
        of = letter.headers and deliveries.get(letter.headers.delivery_id)
        if letter.headers is None or letter.topic not in (*RETRY_TOPICS, DLQ_TOPIC):
            yield Violation("headers_wrong", letter.key, f"unreadable headers or topic of {letter}")
        elif not of:
            yield Violation("wrong_id", letter.headers.delivery_id, f"unknown delivery in {letter}")
        else:
            of.letters.append(letter)


def give_posts(world: World, deliveries: dict[str, Delivery]) -> Iterator[Violation]:
    by_event: dict[str, list[Delivery]] = defaultdict(list)
    for d in deliveries.values():
        by_event[d.seen.event.id].append(d)
    for post in world.posts:
        fits = [
            d
            for d in by_event[post.event_id]
            if post.destination in d.names and post.action_id in (None, d.action["id"])
        ]
        if len(fits) > 1:
            raise ValueError(f"two actions of one event fit {post}")
        if fits:
            fits[0].posts.append(post)
        else:
            name = "wrong_destination" if by_event[post.event_id] else "wrong_id"
            yield Violation(name, post.event_id, f"no action of that event asks for {post}")


def live(d: Delivery, s: Settings) -> None:
    """A life is what lies between a redrive and the final result; a redrive counts only after the last final."""
    for written in d.results:
        last = d.lives[-1][-1] if d.lives else None
        if last is None or (is_final(last) and redriven(d, last.log_ms, written.result.finished_at, s)):
            d.lives.append([])
        d.lives[-1].append(written)


def match(d: Delivery, s: Settings) -> None:
    """Each attempt's POSTs lie between its start and its end; for each recipient the last that fits is its own."""
    free = list(d.posts)
    for written in d.results:
        r = written.result
        early, late = r.started_at - s.slack_ms, r.finished_at + s.slack_ms
        near = [post for post in free if r.attempt > 0 and early <= post.at_s * 1000 <= late]
        mine = []
        for recipient in {post.recipient for post in near}:
            fits = [post for post in near if post.recipient == recipient]
            mine.append(max(fits, key=lambda post: (post.status == r.http_status, post.at_s)))
            free.remove(mine[-1])
        d.matched[written] = mine
    d.repeats = free


def excuse(d: Delivery, world: World, s: Settings) -> None:
    """ "After a crash only what was in flight is repeated": begun before the kill, its result not yet committed.

    READING: a kill excuses one POST of a delivery (to each recipient), begun at most the timeout and the time of
    a commit before it, if the delivery's next result was written after the kill. A paused or cut off runner may
    send until `until_s`, even after another's final result.
    """
    used: set[tuple[Kill, int | None]] = set()
    by_end = sorted(world.kills, key=lambda kill: kill.at_s if kill.until_s is None else kill.until_s)
    for post in d.repeats:
        ended = final_before(d, post, s) is not None
        before_s = 0 if ended else d.limits["timeout_seconds"] + s.commit_s
        written = min((w.log_ms for w in d.results if w.log_ms >= post.at_s * 1000), default=float("inf"))
        for kill in by_end:
            until_s = kill.at_s if kill.until_s is None else kill.until_s
            fits = kill.at_s - before_s <= post.at_s <= until_s + s.slack_ms / 1000
            fits &= (kill.until_s is not None or not ended) and written >= kill.at_s * 1000 - s.slack_ms
            if fits and (kill, post.recipient) not in used:
                used.add((kill, post.recipient))
                d.excuses.append(kill)
                break
        else:
            d.unexcused.append(post)


def is_final(written: Written) -> bool:
    return written.result.status in FINALS


def is_dead_letter(letter: Letter) -> bool:
    """READING: `reason` `redriven` in the DLQ marks that a dead letter was taken back; it is none itself."""
    return letter.topic == DLQ_TOPIC and letter.headers is not None and letter.headers.reason != REDRIVEN


def redriven(d: Delivery, after_ms: float, before_ms: float, s: Settings) -> bool:
    return any(after_ms - s.slack_ms <= at <= before_ms + s.slack_ms for at in d.redrives)


def final_before(d: Delivery, post: Post, s: Settings) -> Written | None:
    """The final result that was written before the POST, if no redrive came in between."""
    at_ms = post.at_s * 1000
    last = next((w for w in reversed(d.results) if is_final(w) and w.log_ms < at_ms - s.slack_ms), None)
    return None if last is None or redriven(d, last.log_ms, at_ms, s) else last


def answer(action_type: str, status: int | None) -> str:
    """ "Success is strictly 200"; READING: for the other types any 2xx is; the codes to retry hold for all."""
    if status == 200 or (action_type != WEBHOOK and status is not None and 200 <= status < 300):
        return OK
    return AGAIN if status is None or status in (408, 425, 429) or 500 <= status < 600 else REFUSED


def is_host(text: str, host: str | None, s: Settings) -> bool:
    """READING: a port is more than a host."""
    bare = text.rpartition(":")[0] if s.allow_port and text.count(":") == 1 else text
    try:
        ip_address(bare.strip("[]"))
    except ValueError:
        if not bare or set(bare) & set(":/@?#&= \t\n"):
            return False
    return host is None or bare.strip("[]").lower() == host
