"""The mutes' reader is never dead, or behind, without a word."""

import asyncio
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from confluent_kafka import KafkaError, Message, TopicPartition
from structlog.testing import capture_logs

from actions.mutes import Mutes
from actions.mutes_reader import MutesReader
from tests.unit.actions_events import EVENT
from topology.settings import Settings

SETTINGS = Settings(bootstrap_servers="none:1", topic_prefix="p-")
END = KafkaError._PARTITION_EOF


def record(value: bytes, offset: int = 0) -> Message:
    """A record of the event's automation."""
    key = f"automation:{EVENT.automation_id}".encode()
    return Message("t", 0, offset, key, value, timestamp=(2, EVENT.detected_at + 1))


class Topic:
    """A consumer of what the test says next."""

    def __init__(self) -> None:
        self.next: SimpleQueue[list[Message] | Exception] = SimpleQueue()
        self.assigned: list[int] = []
        self.closed = False
        self.at_end = False

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self.assigned += [one.offset for one in partitions]

    def consume(self, count: int, timeout_s: float) -> list[Message]:
        try:
            came = self.next.get(timeout=0.002)
        except Empty:
            return [error(END)] if self.at_end else []
        if isinstance(came, Exception):
            raise came
        return came

    def close(self) -> None:
        self.closed = True


def error(code: int, *, retriable: bool = False, fatal: bool = False) -> Message:
    return Message(error=KafkaError(code, "said", fatal, retriable))


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 - a thread has no event for it
            await asyncio.sleep(0.001)


class Read:
    """A reader at its work."""

    async def __aenter__(self) -> "Read":
        self.topic, self.mutes = Topic(), Mutes()
        self.reader = MutesReader(SETTINGS, self.mutes, self.topic, ask_again_s=0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.reader.stop()
        await until(lambda: self.topic.closed)

    @property
    def muted(self) -> bool:
        return self.mutes.muted(EVENT, EVENT.detected_at)


async def test_it_is_caught_up_at_the_end_and_goes_on() -> None:
    async with Read() as read:
        read.topic.next.put([error(END)])
        await asyncio.wait_for(read.reader.caught_up.wait(), 5)
        read.topic.next.put([record(b'{"enabled": false}')])
        await until(lambda: read.muted)
        assert read.reader.problem is None
        assert not read.reader.failed.is_set()


async def test_whatever_ends_its_thread_is_told_without_what_it_read() -> None:
    with capture_logs() as logs:
        async with Read() as read:
            read.topic.next.put(ValueError("hunter2"))
            await asyncio.wait_for(read.reader.failed.wait(), 5)
            assert read.reader.problem == "ValueError"
            await until(lambda: read.topic.closed)
    assert [line["log_level"] for line in logs] == ["error"]
    assert "hunter2" not in str(logs)


async def test_a_client_that_can_go_on_no_more_is_told() -> None:
    async with Read() as read:
        read.topic.next.put([error(KafkaError._FATAL, fatal=True)])
        await asyncio.wait_for(read.reader.failed.wait(), 5)
        assert read.reader.problem == "_FATAL"


async def test_a_right_that_is_missing_ends_it_and_is_told_as_what_it_is() -> None:
    async with Read() as read:
        read.topic.next.put([error(KafkaError.TOPIC_AUTHORIZATION_FAILED)])
        await asyncio.wait_for(read.reader.failed.wait(), 5)
        assert read.reader.denied is not None
        assert read.reader.denied.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


async def test_while_the_topic_can_not_be_read_there_is_a_problem_until_it_can() -> None:
    async with Read() as read:
        read.topic.next.put([record(b"{}", offset=7)])
        read.topic.next.put([error(KafkaError.UNKNOWN_TOPIC_OR_PART)])
        await until(lambda: read.reader.problem == "UNKNOWN_TOPIC_OR_PART")
        # The client tells an end once: it is asked anew, at the same place.
        await until(lambda: read.topic.assigned[-1] == 8)
        assert read.reader.problem is not None
        read.topic.next.put([error(END)])
        await until(lambda: read.reader.problem is None)
        assert read.topic.assigned[-1] == 8
        assert not read.reader.failed.is_set()


async def test_a_topic_that_gives_no_answer_is_a_problem_without_any_error() -> None:
    topic = Topic()
    reader = MutesReader(SETTINGS, Mutes(), topic, ask_again_s=0.001, silent_s=0.02)
    try:
        await until(lambda: reader.problem == "no_answer")
        topic.at_end = True
        await until(lambda: reader.problem is None)
        topic.at_end = False
        await until(lambda: reader.problem == "no_answer")
        assert not reader.failed.is_set()
    finally:
        reader.stop()


async def test_after_the_loop_has_ended_nobody_is_told_and_it_leaves() -> None:
    topic = Topic()

    async def begin() -> None:
        MutesReader(SETTINGS, Mutes(), topic, ask_again_s=0)

    await asyncio.to_thread(lambda: asyncio.run(begin()))
    with capture_logs() as logs:
        topic.next.put([error(END)])
        await until(lambda: topic.closed)
    assert not logs
