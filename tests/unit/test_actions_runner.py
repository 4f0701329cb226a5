"""What the runner makes of events, with receivers in memory and a schedule a thousand times as fast."""

import asyncio
from collections.abc import Callable

import pytest

from actions.decide import Decision, Limits
from actions.delivery import Delivery, Source, Unreadable
from actions.exchange import Answer, Failure, Request
from actions.runner import Runner, Surroundings
from actions.schedule import Schedule
from actions.secrets import SecretStore
from schemas.records import ActionResult, AutomationEvent
from streams.metrics import Metrics
from tests.unit.actions_events import EVENT, entry, fired

Reply = Callable[[Request], Answer | Failure]


class World:
    """Receivers and topics in memory. While ``hold`` is set, answers wait for it; so do acks for ``acks``."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.sent: list[str] = []
        self.results: list[ActionResult] = []
        self.dead: list[tuple[str, int, str | None]] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.pending_acks: list[asyncio.Future[None]] = []
        self.acks = True
        self.runner = Runner(
            Limits(Schedule().scaled(0.001), 12, 60_000), self.send, self, SecretStore(None, {}), Metrics(),
            Surroundings(lambda: EVENT.detected_at + 5, lambda: 0.5),
        )  # fmt: skip
        self.runner.backlog.assign([0, 1])

    async def send(self, request: Request, timeout_ms: int | None) -> Answer | Failure:
        self.sent.append(request.url)
        await self.answering.wait()
        return self.reply(request)

    def write(self, result: ActionResult) -> asyncio.Future[None]:
        self.results.append(result)
        return self._ack()

    def dead_letter(self, delivery: Delivery, decision: Decision) -> asyncio.Future[None]:
        self.dead.append((delivery.action.id, decision.attempt, decision.reason))
        return self._ack()

    def _ack(self) -> asyncio.Future[None]:
        ack: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.acks:
            ack.set_result(None)
        else:
            self.pending_acks.append(ack)
        return ack

    def admit(self, event: AutomationEvent, offset: int = 0, partition: int = 0) -> bool | Unreadable:
        generation = self.runner.backlog.generation(partition) or 0
        return self.runner.admit(Source(partition, offset, b"k", b"v", generation), event)

    async def idle(self) -> None:
        async with asyncio.timeout(5):
            while self.runner.backlog.open:  # noqa: ASYNC110 - the runner has no event for it
                await asyncio.sleep(0.001)


def always(status: int) -> Reply:
    return lambda _: Answer(status)


async def test_each_attempt_has_a_result_and_the_last_one_is_the_end() -> None:
    statuses = [500, 503, 200]
    world = World(lambda _: Answer(statuses.pop(0)))
    world.admit(fired("e1", entry("a")))
    await world.idle()
    assert [(one.status, one.attempt) for one in world.results] == [
        ("retrying", 1), ("retrying", 2), ("succeeded", 3)
    ]  # fmt: skip
    assert world.results[0].next_attempt_at == EVENT.detected_at + 5 + 1
    assert world.runner.backlog.commit_points() == {0: 1}


async def test_five_failures_are_dead_with_a_dead_letter() -> None:
    world = World(lambda _: Failure("timeout"))
    world.admit(fired("e1", entry("a")))
    await world.idle()
    assert [one.status for one in world.results] == ["retrying"] * 4 + ["dead"]
    assert world.dead == [("a", 5, "timeout")]


async def test_nothing_is_committed_before_the_brokers_have_its_result() -> None:
    world = World(always(200))
    world.acks = False
    world.admit(fired("e1", entry("a")))
    await asyncio.sleep(0.01)
    assert [one.status for one in world.results] == ["succeeded"]
    assert world.runner.backlog.commit_points() == {0: 0}
    world.pending_acks[0].set_result(None)
    await world.idle()
    assert world.runner.backlog.commit_points() == {0: 1}


async def test_what_can_not_be_written_down_fails_the_runner_and_is_not_committed() -> None:
    world = World(always(200))
    world.acks = False
    world.admit(fired("e1", entry("a")))
    await asyncio.sleep(0.01)
    world.pending_acks[0].set_exception(RuntimeError("no"))
    with pytest.raises(RuntimeError):
        await world.runner.failed
    assert world.runner.backlog.commit_points() == {0: 0}


async def test_a_channels_mistake_is_one_deliverys_fault() -> None:
    def reply(request: Request) -> Answer:
        if "bad" in request.url:
            raise RuntimeError("a secret text")
        return Answer(200)

    world = World(reply)
    world.admit(fired("e1", entry("a", "http://bad/"), entry("b")))
    await world.idle()
    assert {one.action_id: (one.status, one.error) for one in world.results} == {
        "a": ("dead", "internal_error"), "b": ("succeeded", None)
    }  # fmt: skip


async def test_an_event_without_room_waits_outside() -> None:
    world = World(always(200))
    world.answering.clear()
    assert world.admit(fired("e1", *(entry(f"a{n}") for n in range(999))), 0) is True
    assert world.admit(fired("e2", entry("a"), entry("b")), 1) is False
    assert world.runner.backlog.open == 999
    world.answering.set()
    await world.idle()
    assert world.admit(fired("e2", entry("a"), entry("b")), 1) is True
    await world.idle()
    assert world.runner.backlog.commit_points() == {0: 2}


async def test_an_event_without_actions_or_with_unreadable_ones_is_done_with() -> None:
    world = World(always(200))
    assert world.admit(fired("e1"), 0) is True
    assert isinstance(world.admit(EVENT._replace(actions="{"), 1), Unreadable)
    assert world.runner.backlog.commit_points() == {0: 2}


async def test_a_partition_that_goes_takes_its_queue_and_its_retries_along() -> None:
    world = World(always(500))
    world.answering.clear()
    world.admit(fired("e1", entry("a", "http://one/")), 0, partition=0)
    world.admit(fired("e2", entry("a", "http://one/")), 1, partition=0)
    world.admit(fired("e3", entry("a", "http://two/")), 0, partition=1)
    await asyncio.sleep(0)
    release = asyncio.create_task(world.runner.release([0], 5))
    await asyncio.sleep(0.01)
    assert not release.done()
    world.reply = lambda request: Answer(500 if "one" in request.url else 200)
    world.answering.set()
    await release
    world.runner.backlog.revoke([0])
    await world.idle()
    await asyncio.sleep(0.05)
    assert world.sent == ["http://one/", "http://two/"]
    assert [one.event_id for one in world.results if one.status == "retrying"] == ["e1"]


async def test_drain_lets_requests_end_and_gives_the_slow_ones_up() -> None:
    world = World(always(200))
    world.answering.clear()
    world.admit(fired("e1", entry("a")), 0)
    await asyncio.sleep(0)
    await world.runner.drain(0.01)
    assert world.results == []
    assert world.runner.backlog.commit_points() == {0: 0}
