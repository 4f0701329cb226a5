"""What waits for a timer ends like all else: what goes wrong then is told to whoever runs the runner."""

import asyncio

import pytest

from actions.exchange import Answer
from tests.unit.actions_events import EVENT, entry, fired
from tests.unit.actions_world import World


async def test_a_failure_after_a_wait_in_memory_ends_the_runner_instead_of_losing_the_delivery() -> None:
    world = World(lambda _: Answer(500))
    world.book.room = 1
    world.admit(fired("e1", entry("a")))
    await world.sends(1)
    world.mutes.apply(b"automation:au", None, EVENT.detected_at + 1)
    with pytest.raises(RuntimeError):
        async with asyncio.timeout(5):
            await world.runner.failed
    assert len(world.sent) == 1
