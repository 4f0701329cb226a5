"""One transaction at a time, holding all that a process writes: events, changelogs, positions, offsets.

What is retriable is tried again within the transaction's time; what else an error means is in `streams.errors`.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.errors import DENIALS, Denied, Lost, MustAbort, StreamError, of_abort, of_commit, of_transaction

CALL_S = 5.0
"""How long one call may block before it is tried again."""


class GroupMember(Protocol):
    """Who owns the partitions whose offsets are committed: a ``Consumer``, or who speaks for one."""

    def consumer_group_metadata(self) -> Any:
        """What proves the membership."""


class Transaction:
    """A transactional producer.

    ``on_append`` is told the append times (ms) of anchored records, ``on_wait`` that a call has returned and
    is made again: while brokers are away that goes on for a while, and is no hang.
    """

    def __init__(
        self,
        config: dict[str, Any],
        on_append: Callable[[int], None],
        logger: Any = None,
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        self.transactional_id: str = config["transactional.id"]
        self.open = False
        self._timeout_s = config["transaction.timeout.ms"] / 1000
        self._on_append = on_append
        self._on_wait = on_wait
        self._producer = Producer(config, logger=logger)

    def fence(self) -> None:
        """Ends what an earlier producer of this id left open, and shuts it out."""
        self._call(self._producer.init_transactions)

    def begin(self) -> None:
        """Opens the transaction, unless it is open."""
        if not self.open:
            try:
                self._producer.begin_transaction()
            except KafkaException as error:
                raise of_transaction(error.args[0]) from error
            self.open = True

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int = -1,
        headers: list[tuple[str, bytes]] | None = None,
        anchor: bool = False,
    ) -> None:
        """Adds a record; the first one opens the transaction. An ``anchor``'s append time is reported."""
        self.begin()
        # Told only what is there: the client spends as much on an empty header list as on the record.
        more: dict[str, Any] = {"on_delivery": self._delivered} if anchor else {}
        if headers:
            more["headers"] = list(headers)
        while True:
            try:
                self._producer.produce(topic, value, key, partition, **more)
                return
            except BufferError:
                self._served(lambda: self._producer.poll(0.05))
                self._on_wait()
            except KafkaException as error:
                if error.args[0].code() == KafkaError._STATE:
                    # An error in the background has doomed the transaction; the abort tells if it was fatal.
                    raise MustAbort(str(error)) from error
                raise of_transaction(error.args[0]) from error

    def poll(self) -> None:
        """Serves delivery reports."""
        self._served(lambda: self._producer.poll(0))

    def flush(self) -> None:
        """Waits until everything produced is acknowledged."""
        give_up_at = monotonic() + self._timeout_s
        while self._served(lambda: self._producer.flush(CALL_S)) > 0:
            self._on_wait()
            if monotonic() > give_up_at:
                raise MustAbort("records were not acknowledged within the transaction timeout")

    def commit(self, consumer: GroupMember, offsets: list[TopicPartition]) -> None:
        """Commits everything produced, and the offsets if this process still owns their partitions."""
        # Flushed first: whoever takes a partition over finds this producer's id in the changelog before
        # the coordinator has its offsets pending.
        self.flush()
        # Read afresh: it carries the generation, which is what shuts out a member that was declared dead.
        metadata = consumer.consumer_group_metadata()
        if offsets:
            self._send_offsets(offsets, metadata)
        self._end()
        self.open = False

    def _send_offsets(self, offsets: list[TopicPartition], metadata: Any) -> None:
        self._call(lambda timeout: self._producer.send_offsets_to_transaction(offsets, metadata, timeout))

    def _end(self) -> None:
        self._call(self._producer.commit_transaction, of_commit)

    def abort(self) -> None:
        """Takes back everything produced since the last commit."""
        if self.open:
            self._call(self._producer.abort_transaction, of_abort)
            self.open = False

    def _delivered(self, error: Any, message: Message) -> None:
        _, append_ms = message.timestamp()
        if error is None and append_ms > 0:
            self._on_append(append_ms)

    def _served(self, call: Callable[[], int]) -> int:
        """A call that serves delivery reports. A fatal error, such as being shut out, surfaces in any of them."""
        try:
            return call()
        except KafkaException as error:
            raise of_transaction(error.args[0]) from error
        except SystemError as error:
            raise _fatal(error) from error

    def _call(
        self, call: Callable[[float], Any], meaning: Callable[[KafkaError], StreamError] = of_transaction
    ) -> None:
        """A blocking call of the client, tried again while that may help."""
        give_up_at = monotonic() + self._timeout_s
        while True:
            try:
                call(CALL_S)
                return
            except KafkaException as error:
                if not error.args[0].retriable() or monotonic() > give_up_at:
                    raise meaning(error.args[0]) from error
            except SystemError as error:
                raise _fatal(error) from error
            self._on_wait()


def _fatal(error: SystemError) -> Lost | Denied:
    """The client raises a fatal error and then serves one more report: what comes out is Python's complaint."""
    cause = error.__cause__
    if isinstance(cause, KafkaException) and cause.args[0].name() in DENIALS:
        return Denied(cause.args[0])
    return Lost(f"the producer can't go on: {cause or error}")


def end_predecessor(config: dict[str, Any], transactional_id: str, logger: Any = None) -> None:
    """Aborts what a producer that is gone has left open, at once instead of at its transaction timeout.

    If it is not gone but only paused, it is shut out: it gave its partitions up by being declared dead.
    """
    settings = {**config, "transactional.id": transactional_id}
    Transaction(settings, lambda _: None, logger).fence()
