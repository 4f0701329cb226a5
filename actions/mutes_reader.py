"""Reads the control topic for the mutes, on a thread of its own."""

import asyncio
import time
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Protocol

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from actions.kafka_clients import table_config
from actions.mutes import Mutes
from streams.telemetry import librdkafka_logger
from topology.access import is_denial
from topology.settings import Settings
from topology.topics import AUTOMATIONS

log = structlog.get_logger()

BATCH = 1_000
ASK_AGAIN_S = 5.0
"""After so long without a record or the topic's end, it is asked anew for what comes next."""
SILENT_S = 30.0
"""A topic that has given neither for so long can't be read."""
NO_ANSWER = "no_answer"


class Topic(Protocol):
    """What is used of a consumer."""

    def assign(self, partitions: list[TopicPartition], /) -> None:
        """Read on at these places."""

    def consume(self, count: int, timeout_s: float, /) -> Sequence[Message]:
        """What came, within so many seconds."""

    def close(self) -> None:
        """Read no more."""


class MutesReader:
    """Feeds a `Mutes` from the topic's beginning, and goes on until ``stop``.

    Law: when it ends by itself, ``failed`` is set; while it can't read, ``problem`` says so.
    """

    def __init__(
        self,
        settings: Settings,
        mutes: Mutes,
        topic: Topic | None = None,
        ask_again_s: float = ASK_AGAIN_S,
        silent_s: float = SILENT_S,
    ) -> None:
        self._mutes = mutes
        self._name = settings.topic(AUTOMATIONS)
        self._ask_again_s = ask_again_s
        self._silent_s = silent_s
        self._answered_s = time.monotonic()
        self._next_offset: int = OFFSET_BEGINNING
        self._problem: str | None = None
        self._asked_s = 0.0
        self._stopping = Event()
        self._loop = asyncio.get_running_loop()
        self.caught_up = asyncio.Event()
        """Set once the topic was read to its end: nothing is to be sent before that."""
        self.failed = asyncio.Event()
        """Set when nothing more will be read: who was switched off from then on is not known."""
        self.denied: KafkaError | None = None
        """Why it failed, if the brokers refuse a right."""
        self._topic = topic or Consumer(table_config(settings), logger=librdkafka_logger())
        self._assign()
        self._thread = Thread(target=self._serve, name="mutes", daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str | None:
        """The name of what keeps it from reading now; ``None`` if nothing does."""
        silent = time.monotonic() - self._answered_s > self._silent_s
        return self._problem or (NO_ANSWER if silent else None)

    def stop(self) -> None:
        """End reading. Doesn't wait."""
        self._stopping.set()

    def _serve(self) -> None:
        try:
            while not self._stopping.is_set() and self._read():
                pass
        except Exception as error:
            # Its text may hold what was read.
            self._fail(type(error).__name__)
        finally:
            self._topic.close()

    def _read(self) -> bool:
        """Take what came; ``False`` = no more will come."""
        for message in self._topic.consume(BATCH, 0.2):
            error = message.error()
            if error is None:
                self._mutes.apply(message.key(), message.value(), message.timestamp()[1])
                self._next_offset = (message.offset() or 0) + 1
                self._answered()
            elif error.code() == KafkaError._PARTITION_EOF:
                self._answered()
                self._tell(self.caught_up.set)
            elif error.fatal() or is_denial(error):
                self.denied = error if is_denial(error) else None
                self._fail(error.name())
                return False
            else:
                self._note(error)
        if time.monotonic() - max(self._asked_s, self._answered_s) >= self._ask_again_s:
            # The client tells an error and the end once: asked anew, it tells the end again as soon as it can read.
            self._assign()
        return True

    def _answered(self) -> None:
        self._answered_s = time.monotonic()
        self._problem = None

    def _assign(self) -> None:
        self._asked_s = time.monotonic()
        self._topic.assign([TopicPartition(self._name, 0, self._next_offset)])

    def _note(self, error: KafkaError) -> None:
        if self._problem != error.name():
            log.warning("the control topic can't be read", problem=error.name())
        self._problem = error.name()

    def _fail(self, problem: str) -> None:
        self._problem = problem
        log.error("the control topic is read no more", problem=problem)
        self._tell(self.failed.set)

    def _tell(self, change: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(change)
        except RuntimeError:
            # The loop has ended, and with it whoever would be told.
            self._stopping.set()
