"""What a process learns of deliveries that others have put off, from a real Kafka."""

import asyncio
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, TopicPartition

from actions.offsets import PartitionOffsets, Position
from actions.order import Order, encode_order
from actions.parked import Parked
from actions.parked_reader import ParkedReader
from schemas.delivery_headers import DeliveryHeaders, encode_headers
from streams.clients import transactional_producer
from streams.transaction import Transaction
from tests.kafka.actions_world import make_topics
from topology.settings import Settings
from topology.topics import AUTOMATION_EVENTS, RETRY_1H, RETRY_1M, RETRY_10M

pytestmark = pytest.mark.kafka

RETRIES = (RETRY_1M, RETRY_10M, RETRY_1H)
NOW = 1_782_907_200_000


class Other:
    """Another process, as the brokers see it: it puts deliveries off and commits positions."""

    def __init__(self, settings: Settings, name: str = "other") -> None:
        self._settings = settings
        config = transactional_producer(settings, f"{settings.topic_prefix}{name}")
        self._transaction = Transaction(config, lambda _: None)
        self._transaction.fence()
        self._group = Consumer({"bootstrap.servers": settings.bootstrap_servers, "group.id": settings.actions_group})

    def consumer_group_metadata(self) -> object:
        return self._group.consumer_group_metadata()

    def begin(self) -> None:
        self._transaction.begin()

    def put_off(self, number: int, topic: str = RETRY_1M) -> None:
        order = encode_order(Order("lane", 0, number, 0))
        headers = DeliveryHeaders(f"d{number}", "a", 0, "destination_busy", not_before_ms=NOW, order=order)
        self._transaction.produce(
            self._settings.topic(topic), b"run", b"bytes", headers=encode_headers(headers), anchor=True
        )

    def commit(self, **reached: Position) -> None:
        names = {"events": AUTOMATION_EVENTS, "retry": RETRY_1M}
        offsets = [
            TopicPartition(self._settings.topic(names[name]), 0, position.offset, metadata=position.metadata)
            for name, position in reached.items()
        ]
        self._transaction.commit(self, offsets)

    def flush(self) -> None:
        self._transaction.flush()

    def close(self) -> None:
        self._group.close()


def position(*left: int, read: int) -> Position:
    """Of a partition of which so many records were read and these have not ended."""
    offsets = PartitionOffsets()
    for offset in range(read):
        offsets.read(offset, 1)
    for offset in set(range(read)) - set(left):
        offsets.ended(offset, 0)
    found = offsets.position("other")
    assert found is not None
    return found


async def until(parked: Parked, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            asked = parked.ask()
            while not parked.knows(asked, NOW, NOW):  # noqa: ASYNC110 - the reader has no event for it
                await asyncio.sleep(0.01)


async def test_who_was_put_off_and_has_not_ended_is_known_to_all(settings: Settings) -> None:
    make_topics(settings)
    other = Other(settings)
    parked = Parked()
    reader = ParkedReader(settings, parked, RETRIES)

    def may_go(number: int) -> bool:
        return parked.behind(f"d{number}", Order("lane", 0, number, 0), NOW) is None

    try:
        other.begin()
        other.put_off(3)
        other.put_off(4)
        other.commit(events=position(read=5))
        await until(parked, lambda: not may_go(5))
        assert may_go(3)
        assert not may_go(4)
        other.begin()
        other.put_off(3, RETRY_10M)
        other.commit(retry=position(1, read=2))
        await until(parked, lambda: len(parked) == 2 and not may_go(4))
        other.begin()
        other.commit(retry=position(read=2))
        await until(parked, lambda: len(parked) == 1)
        assert not may_go(4), "it was put off again"
        late = Parked()
        later = ParkedReader(settings, late, RETRIES)
        await until(late, lambda: late.behind("d5", Order("lane", 0, 5, 0), NOW) is not None)
        later.stop()
    finally:
        reader.stop()
        other.close()


async def test_what_a_killed_process_left_open_hides_nobody_who_was_put_off_after_it(settings: Settings) -> None:
    make_topics(settings)
    killed, other = Other(settings, "killed"), Other(settings)
    parked = Parked()
    reader = ParkedReader(settings, parked, RETRIES)
    try:
        killed.begin()
        killed.put_off(1)
        killed.flush()
        other.begin()
        other.put_off(4)
        other.commit(events=position(1, read=5))
        await until(parked, lambda: len(parked) == 2)
        assert parked.behind("d5", Order("lane", 0, 5, 0), NOW) is not None
    finally:
        reader.stop()
        killed.close()
        other.close()
