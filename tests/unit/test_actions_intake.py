"""What is read gets to the runner under the assignment that it was read for, with the group in memory."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import cast

from actions.delivery import Unreadable, deliveries, subject
from actions.exchange import Answer
from actions.intake import Intake
from actions.lanes import Lane
from actions.offsets import Resumed
from actions.parked import ANSWER_MS, Knowledge, place_of
from actions.source import EventSource, Listener, Read
from streams.app import Place
from streams.metrics import Metrics
from tests.unit.actions_events import entry, fired, source
from tests.unit.actions_world import DAY_MS, World
from topology.topics import AUTOMATION_EVENTS

EVENTS: Place = (AUTOMATION_EVENTS, 0)


class Group:
    """A source that is told what its next read brings; what it does on the way is a rebalance."""

    def __init__(self) -> None:
        self.steps: deque[Callable[[Listener], list[Read]]] = deque()
        self.took = 0

    def subscribe(self, listener: Listener) -> None:
        self._listener = listener

    def read(self, closed: set[Place], timeout_s: float) -> list[Read]:
        found = self.steps.popleft()(self._listener) if self.steps else []
        self.took += 1
        return found

    def lag(self) -> dict[Place, int]:
        return {}

    def close(self) -> None:
        pass


def record(offset: int, at: Place = EVENTS) -> Read:
    return Read(at, offset, b"k", b"v", 0, fired(f"e{offset}", entry("a")), None)


def assigned(*reads: Read) -> Callable[[Listener], list[Read]]:
    def step(listener: Listener) -> list[Read]:
        found: Mapping[Place, Resumed] = {EVENTS: Resumed()}
        listener.assigned(found)
        return list(reads)

    return step


class Running:
    """An intake that runs until left."""

    def __init__(self, world: World, *steps: Callable[[Listener], list[Read]]) -> None:
        self.world, self.group, self.stopping = world, Group(), asyncio.Event()
        self.group.steps.extend(steps)
        self.intake = Intake(
            cast(EventSource, self.group), world.runner, world.backlog, world.book, world.clock, Metrics(), 0.001,
            world.parked,
        )  # fmt: skip

    async def __aenter__(self) -> "Running":
        self.task = asyncio.create_task(self.intake.run(self.stopping))
        await self.turns(len(self.group.steps) + 1)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping.set()
        await self.task
        self.intake.close()

    async def turns(self, count: int) -> None:
        """Until it has read so many times more, and has taken up what that brought."""
        until = self.group.took + count + 1
        async with asyncio.timeout(5):
            while self.group.took < until and not self.task.done():  # noqa: ASYNC110 - it has no event for it
                await asyncio.sleep(0.001)


def knows(world: World) -> None:
    world.parked.learn(Knowledge(world.parked.begin(), [], {}))


async def test_what_was_held_of_a_partition_is_not_taken_up_under_its_next_assignment() -> None:
    """The next assignment goes on at what was committed: it reads the same records again."""
    world = World(lambda _: Answer(200))
    async with Running(world, assigned(record(5)), assigned(record(4), record(5))) as running:
        knows(world)
        await world.sends(2)
        await running.turns(2)
    assert [one.event_id for one in world.results] == ["e4", "e5"]


async def test_events_wait_for_what_is_known_of_others_whatever_the_clock_says() -> None:
    """The brokers' time, told after the assignment, may be days from the host's."""
    world = World(lambda _: Answer(200))
    async with Running(world, assigned(record(5))) as running:
        world.clock.at_ms += DAY_MS // 2
        assert ANSWER_MS < DAY_MS // 2
        await running.turns(2)
        assert world.sent == []
        knows(world)
        await world.sends(1)


async def test_who_was_put_off_of_a_partition_that_was_lost_holds_nobody_once_the_brokers_have_told() -> None:
    world = World(lambda _: Answer(200))

    def lost(listener: Listener) -> list[Read]:
        listener.lost([EVENTS])
        return []

    event = fired("e5", entry("a"))
    found = deliveries(event, source(5))
    assert not isinstance(found, Unreadable)
    order = place_of(found[0], *Lane("to", subject(event)))
    assert order is not None
    async with Running(world, assigned()) as running:
        world.parked.put_off(found[0], order, [], world.clock.at_ms, 1_000)
        running.group.steps.append(lost)
        await running.turns(2)
        assert len(world.parked) == 1
        knows(world)
        assert len(world.parked) == 0
