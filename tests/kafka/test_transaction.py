"""What a producer that was shut out gets to know, whichever call it is in."""

from collections.abc import Callable

import pytest

from streams.clients import transactional_producer
from streams.errors import Lost
from streams.transaction import Transaction
from tests.kafka.consumer_world import events_on, make_topics
from topology.names import AUTOMATION_EVENTS
from topology.settings import Settings

pytestmark = pytest.mark.kafka


def polls(sleeper: Transaction) -> None:
    for _ in range(1_000):
        sleeper.poll()
        sleeper.flush()


def aborts(sleeper: Transaction) -> None:
    sleeper.abort()


@pytest.mark.parametrize("goes_on", [polls, aborts])
def test_a_producer_that_was_shut_out_is_lost_whatever_it_does_next(
    settings: Settings, goes_on: Callable[[Transaction], None]
) -> None:
    """It learns so as `Lost`, in the midst of delivery reports too, and nothing of it is ever visible."""
    make_topics(settings)
    config = transactional_producer(settings, f"{settings.topic_prefix}sleeper")
    topic = settings.topic(AUTOMATION_EVENTS)
    for _ in range(3):
        sleeper, successor = (Transaction(config, lambda _: None) for _ in range(2))
        sleeper.fence()
        sleeper.produce(topic, b"key", b"value", anchor=True)
        sleeper.flush()
        successor.fence()
        with pytest.raises(Lost):  # noqa: PT012 - any of the calls may be the one
            for number in range(100):
                sleeper.produce(topic, b"key-%d" % number, b"value", anchor=True)
            goes_on(sleeper)
    assert events_on(settings) == []


def test_waiting_for_room_in_the_clients_queue_is_told_as_moving_on(settings: Settings) -> None:
    """Else a large transaction on slow brokers looks like a call that hangs."""
    make_topics(settings)
    waits: list[None] = []
    few = {"queue.buffering.max.messages": 10, "linger.ms": 100}
    config = transactional_producer(settings, f"{settings.topic_prefix}crowded") | few
    crowded = Transaction(config, lambda _: None, on_wait=lambda: waits.append(None))
    crowded.fence()
    waits.clear()
    for number in range(50):
        crowded.produce(settings.topic(AUTOMATION_EVENTS), b"key-%d" % number, b"value")
    assert waits
    crowded.abort()
