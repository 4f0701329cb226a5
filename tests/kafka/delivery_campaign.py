"""A campaign against the action runner: a load, a nemesis, and the oracle's verdict on all that was observed."""

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from actions.schedule import Schedule
from schemas.codec import Rejected
from schemas.delivery_headers import decode_headers
from schemas.ids import delivery_id
from schemas.records import AutomationEvent
from tests.kafka.actions_world import (
    CODEC,
    Receiver,
    RunnerProcess,
    event,
    kept,
    make_topics,
    publish,
    receiving,
    results,
    until,
    webhook,
)
from tests.oracle import deliveries as oracle
from topology.settings import Settings
from topology.topics import ACTION_RESULTS, AUTOMATION_EVENTS, EVENTS_DLQ, RETRY_1H, RETRY_1M, RETRY_10M

FACTOR = 0.3
"""The waits between attempts are shorter than usual, so that retry topics have a part in it."""
FINAL = ("succeeded", "dead", "expired", "muted")


class Plan(NamedTuple):
    """How much, and how bad. ``gap_s`` is the least and the greatest time between two kills."""

    deliveries: int
    kills: int
    runners: int
    seconds: float
    gap_s: tuple[float, float]
    seed: int


def campaign(settings: Settings, folder: Path, plan: Plan) -> oracle.World:
    """Run it; everything that could be observed. Prints what was done."""
    print(f"seed {plan.seed}")
    rng = random.Random(plan.seed)
    make_topics(settings)
    with ExitStack() as stack:
        receivers = [stack.enter_context(receiving(delay_s)) for delay_s in (0.005, 0.02, 0.05)]
        receivers[2].usual = Flaky(rng.random())
        runners = [RunnerProcess(settings, folder / f"log{n}", factor=FACTOR) for n in range(plan.runners)]
        stack.callback(_end, runners)
        events = [_event(n, receivers) for n in range(plan.deliveries)]
        producing = Thread(target=_produce, args=(settings, events, plan.seconds), daemon=True)
        producing.start()
        kills = _kill_and_start(plan, rng, runners, settings, folder)
        producing.join()
        until(lambda: _ended(settings) >= plan.deliveries, 180, "the end of all deliveries")
        for runner in runners:
            runner.terminate()
        seen = observed(settings, receivers, kills)
    told = {written.result.delivery_id for written in seen.results}
    assert len(seen.events) == len(events)
    assert told <= {delivery_id(one.id, f"a{n % 7}") for n, one in enumerate(events)}
    return seen


def _end(runners: list[RunnerProcess]) -> None:
    for runner in runners:
        if runner.running:
            runner.kill()


def verdict(
    world: oracle.World, mute_s: float = 5, slack_ms: float = 100
) -> tuple[list[oracle.Violation], dict[str, Any]]:
    """What the oracle says of it, and its counts.

    ``mute_s``: how late a runner may know of a disabling. ``slack_ms``: how far its clock may be from ours, since
    it goes by brokers' times, and learns of them by answers that may be slow.
    """
    waits = tuple(delay / 1000 for delay in Schedule().scaled(FACTOR).delays_ms)
    limits = oracle.Settings(
        schedule_s=waits, timeout_s=15, commit_s=8, slack_ms=slack_ms, late_slack_ms=30_000, mute_s=mute_s
    )
    return oracle.check(world, limits), oracle.summary(world, limits)


def _event(number: int, receivers: Sequence[Receiver]) -> AutomationEvent:
    receiver = receivers[number % len(receivers)]
    return event(f"e{number}", [webhook(f"a{number % 7}", receiver.url("/hook"))], run=f"run-{number % 997}")


class Flaky:
    """Fails the first one to three posts of some events, and refuses some for good."""

    def __init__(self, salt: float) -> None:
        self._salt = salt
        self._left: dict[str, int] = {}

    def __call__(self, event_id: str) -> int:
        kind = random.Random(f"{self._salt}{event_id}").random()
        if kind > 0.98:
            return 410
        if kind > 0.85:
            left = self._left.setdefault(event_id, 1 + int((kind - 0.85) * 20))
            self._left[event_id] = left - 1
            return 503 if left > 0 else 200
        return 200


def _produce(settings: Settings, events: Sequence[AutomationEvent], seconds: float) -> None:
    began, size = time.monotonic(), max(1, len(events) // 200)
    for first in range(0, len(events), size):
        now_ms = time.time_ns() // 1_000_000
        publish(settings, *(one._replace(timestamp=now_ms, detected_at=now_ms) for one in events[first : first + size]))
        time.sleep(max(0.0, began + seconds * (first + size) / len(events) - time.monotonic()))


def _kill_and_start(
    plan: Plan, rng: random.Random, runners: list[RunnerProcess], settings: Settings, folder: Path
) -> list[oracle.Kill]:
    kills = []
    for number in range(plan.kills):
        time.sleep(rng.uniform(*plan.gap_s))
        victim = rng.randrange(len(runners))
        runners[victim].kill()
        kills.append(oracle.Kill(time.time()))
        # Every third time the others go on alone for a while; the others come back at once.
        if number % 3 == 0:
            time.sleep(plan.gap_s[1])
        runners[victim] = RunnerProcess(settings, folder / f"log{victim}", factor=FACTOR)
    return kills


def _ended(settings: Settings) -> int:
    return len({one.delivery_id for one in results(settings) if one.status in FINAL})


def observed(
    settings: Settings,
    receivers: Sequence[Receiver],
    kills: Sequence[oracle.Kill],
    disabled: Sequence[oracle.Disabled] = (),
) -> oracle.World:
    """Everything that topics and receivers show."""
    seen = []
    for record in kept(settings, AUTOMATION_EVENTS):
        found = CODEC.decode_event(record.value)
        assert not isinstance(found, Rejected)
        seen.append(oracle.Seen(found, record.log_ms, record.value))
    posts = [
        oracle.Post(receiver.url(one.path), one.event_id, one.unix_s, one.status)
        for receiver in receivers
        for one in receiver.received
    ]
    written = []
    for record in kept(settings, ACTION_RESULTS):
        result = CODEC.decode_result(record.value)
        assert not isinstance(result, Rejected)
        written.append(oracle.Written(record.key.decode(), result, record.log_ms, record.offset, record.partition))
    letters = [
        oracle.Letter(
            topic,
            record.key.decode(),
            record.value,
            decode_headers((name, value.encode()) for name, value in record.headers.items()),
            record.log_ms,
        )
        for topic in (RETRY_1M, RETRY_10M, RETRY_1H, EVENTS_DLQ)
        for record in kept(settings, topic)
    ]
    return oracle.World(seen, posts, written, letters, kills, disabled=disabled)
