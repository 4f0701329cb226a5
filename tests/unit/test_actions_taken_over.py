"""A delivery that another process takes over knows what this one had."""

import asyncio

from actions.exchange import Answer
from actions.health import FAILURES
from actions.offsets import resumed
from schemas.ids import delivery_id
from tests.unit.actions_events import entry, fired
from tests.unit.actions_world import RETRIES, World
from topology.topics import AUTOMATION_EVENTS

EVENTS = (AUTOMATION_EVENTS, 0)


async def test_a_retry_record_tells_the_last_answer_also_where_another_process_had_it() -> None:
    before = World(lambda _: Answer(503))
    before.admit(fired("e1", entry("a")))
    await before.sends(1)
    await before.runner.drain(1)
    await before.book.commit()
    position = before.backlog.positions("me")[EVENTS]

    after = World(lambda _: Answer(500))
    for number in range(FAILURES):
        after.admit(fired(f"f{number}", entry("a"), run=f"f{number}"))
    async with asyncio.timeout(5):
        while not after.lanes.closed():  # noqa: ASYNC110 - the runner has no event for it
            await asyncio.sleep(0.001)
    await after.book.commit()
    after.backlog.revoke([EVENTS])
    after.backlog.assign({EVENTS: resumed(position.metadata, position.offset)})
    after._next_offset = position.offset - 1
    after.admit(fired("e1", entry("a")))
    await after.settle()
    told = [one for one in after.headers(*RETRIES) if one.delivery_id == delivery_id("e1", "a")]
    assert [(one.reason, one.attempt, one.http_status) for one in told] == [("breaker_open", 1, 503)]
