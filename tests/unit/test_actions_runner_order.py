"""A delivery whose older sibling is elsewhere comes after it, whichever process has which."""

import asyncio

from actions.channels import CHANNELS
from actions.channels.channel import Services
from actions.delivery import Unreadable, deliveries, subject
from actions.exchange import Answer, Reply, Step
from actions.order import Order, decode_order, encode_order
from actions.parked import ANSWER_MS, Knowledge, PutOff, Reached, place_of
from schemas.delivery_headers import DeliveryHeaders
from schemas.ids import delivery_id
from schemas.records import AutomationEvent
from tests.unit.actions_events import entry, fired, source
from tests.unit.actions_world import DAY_MS, World
from topology.topics import RETRY_1M, RETRY_10M

ELSEWHERE = (RETRY_1M, 7)
ONE = fired("e1", entry("a"))


def well(_: Step) -> Reply:
    return Answer(200)


def knows(world: World, *records: PutOff, point: int = 0) -> None:
    """The brokers tell of these retry records, and how far the retry topic was committed."""
    world.parked.learn(Knowledge(world.parked.begin(), list(records), {ELSEWHERE: Reached(point)}))


def order(event: AutomationEvent, offset: int) -> Order:
    """The place of the event's delivery."""
    found = deliveries(event, source(offset))
    assert not isinstance(found, Unreadable)
    destination = CHANNELS["WebhookAction"].destination(event, found[0].action.config, Services())
    placed = place_of(found[0], destination, subject(event))
    assert placed is not None
    return placed


def waiting(event: AutomationEvent, offset: int, due_ms: int, at: tuple[str, int] = ELSEWHERE) -> PutOff:
    """The retry record of the event's delivery, the third of its partition."""
    return PutOff(delivery_id(event.id, "a"), order(event, offset), due_ms, (at, 3))


async def test_one_of_whose_lane_an_older_one_waits_elsewhere_is_put_off_behind_it_and_keeps_its_place() -> None:
    world = World(well)
    first, second = fired("e1", entry("a")), fired("e2", entry("a"))
    knows(world, waiting(first, 0, world.clock.at_ms + 5), point=3)
    world.admit(second)
    await world.book.commit()
    (record,) = world.retries
    (headers,) = world.headers(RETRY_1M, RETRY_10M)
    assert (headers.attempt, headers.reason) == (0, "destination_busy")
    assert decode_order(headers.order) == order(second, 1)
    world.come_back(second, record)
    world.clock.at_ms += 10_000
    world.runner.turn()
    assert world.sent == [], "what is known is older than its coming"
    knows(world, point=4)
    world.runner.turn()
    await world.sends(1)


async def test_other_runs_do_not_wait_for_it() -> None:
    world = World(well)
    knows(world, waiting(fired("e1", entry("a")), 0, world.clock.at_ms + 5), point=3)
    world.admit(fired("e2", entry("a"), run="r2"))
    await world.sends(1)


async def test_before_the_brokers_have_told_the_time_it_comes_again_at_once() -> None:
    """The host's clock may be a day ahead: nothing is put off by its time, and nobody is overtaken by it."""
    world = World(well)
    world.clock.sure = False
    knows(world, waiting(fired("e1", entry("a")), 0, world.clock.at_ms - DAY_MS), point=3)
    world.admit(fired("e2", entry("a")))
    await world.book.commit()
    (headers,) = world.headers(RETRY_1M, RETRY_10M)
    assert headers.not_before_ms == 1_000
    assert world.sent == []


async def test_who_queued_behind_one_whose_partition_goes_elsewhere_waits_for_it_there() -> None:
    world = World(well)
    world.answering.clear()
    blocking, first, second = (fired(f"e{number}", entry("a")) for number in range(3))
    world.admit(blocking)
    await world.sends(1)
    again = waiting(first, 1, world.clock.at_ms, (RETRY_1M, 0))
    world.parked.learn(Knowledge(world.parked.begin(), [again], {}))
    headers = DeliveryHeaders(again.delivery_id, "a", 0, "destination_busy", order=encode_order(again.order))
    world.admit(first, RETRY_1M, headers)
    world.turn()
    world.admit(second)
    await world.runner.release([(RETRY_1M, 0)], 0)
    await world.book.commit()
    assert [one.delivery_id for one in world.headers(RETRY_1M, RETRY_10M)] == [delivery_id("e2", "a")]
    world.answering.set()
    await world.runner.drain(1)
    assert len(world.sent) == 1


async def test_how_long_brokers_are_waited_for_does_not_depend_on_what_the_clock_says() -> None:
    """The brokers' time may be told meanwhile, days from the host's, or never."""
    for sure in (True, False):
        world = World(well)
        world.clock.sure = sure
        headers = DeliveryHeaders(delivery_id("e1", "a"), "a", 0, "waiting", order=encode_order(order(ONE, 0)))
        world.admit(ONE, RETRY_1M, headers)
        world.runner.turn()
        world.clock.at_ms += DAY_MS // 2
        world.runner.turn()
        await asyncio.sleep(0.01)
        assert world.sent == [], "nothing is known yet, and no time has passed"
        world.pulse._lost_ms -= ANSWER_MS + 1
        world.runner.turn()
        await world.sends(1)
