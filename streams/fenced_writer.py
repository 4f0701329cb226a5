"""Whole transactions by one writer at a time: a later writer of the same name shuts an earlier one out.

For what has to be decided over a topic's end. In order:

1. ``fence`` - from here on no earlier writer can commit; what one had open is settled.
2. The caller reads to the high watermark: nothing can be in front of what is then decided.
3. ``write`` - all records, or none. It raises ``Overtaken`` when a later writer came in between.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.clients import transactional_producer
from topology.access import AccessDenied, is_denial
from topology.rights import Right
from topology.settings import Settings

TIMEOUT_S = 15
CALL_S = 5.0

_FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}


class WriteError(Exception):
    """A transaction was not written, or nobody knows whether it was; the message says which."""


class Overtaken(WriteError):
    """Another writer of the same name began: of this one's open transaction nothing is written."""


class Outgoing(NamedTuple):
    """A record to write. Without ``partition`` its key says where it goes, as with every producer of ours."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int = -1


class FencedWriter:
    """The one writer of its ``name``, until another one of that name begins.

    All methods raise ``Overtaken`` then, ``AccessDenied`` where a right is missing, and ``KafkaException`` for what
    else the brokers refuse.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._id = f"{settings.topic_prefix}{name}"
        config = transactional_producer(settings, self._id)
        self._producer = Producer(config, logger=_silent_logger())

    def fence(self) -> None:
        """Shut earlier writers out, and end what they left open."""
        try:
            self._again(lambda: self._producer.init_transactions(CALL_S))
        except KafkaException as error:
            if is_denial(error.args[0]):
                raise AccessDenied.told(error.args[0], [Right("TransactionalId", self._id, "Write")]) from None
            raise _meaning(error) from None

    def write(self, records: Iterable[Outgoing]) -> None:
        """Write all records in one transaction, or none. Raises ``WriteError`` too, where that is unknown."""
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                failed.append(error)

        try:
            self._producer.begin_transaction()
            for one in records:
                more: dict[str, Any] = {"headers": list(one.headers)} if one.headers else {}
                self._producer.produce(one.topic, one.value, one.key, one.partition, on_delivery=delivered, **more)
            left = self._producer.flush(TIMEOUT_S)
            if failed:
                raise KafkaException(failed[0])
            if left:
                raise WriteError(f"{left} records were not confirmed in {TIMEOUT_S} s: nothing was written")
            self._commit()
        except KafkaException as error:
            raise self._given_up(error) from None
        except SystemError as error:
            # The client raises a fatal error and then serves one more report: Python complains of both.
            cause = error.__cause__
            raise _meaning(cause) if isinstance(cause, KafkaException) else WriteError(str(error)) from None
        except WriteError:
            self._abort()
            raise

    def _commit(self) -> None:
        try:
            self._again(lambda: self._producer.commit_transaction(CALL_S))
        except KafkaException as error:
            if error.args[0].retriable():
                raise WriteError("the brokers did not say whether the last records were written") from None
            raise

    def _again(self, call: Callable[[], None]) -> None:
        """A call that goes on with what it was at when it is made again, for as long as that may help."""
        give_up_at = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return call()
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > give_up_at:
                    raise

    def _given_up(self, error: KafkaException) -> Exception:
        meaning = _meaning(error)
        if isinstance(meaning, Overtaken):
            return meaning
        # What doomed the transaction in the background, such as being shut out, may only show here.
        try:
            self._producer.abort_transaction(TIMEOUT_S)
        except KafkaException as second:
            found = _meaning(second)
            return found if isinstance(found, Overtaken) else meaning
        return meaning

    def _abort(self) -> None:
        # Where even this fails, the next writer's fencing ends the open transaction.
        with contextlib.suppress(KafkaException):
            self._producer.abort_transaction(TIMEOUT_S)


def _meaning(error: KafkaException) -> Exception:
    reason = error.args[0] if error.args else None
    if isinstance(reason, KafkaError) and reason.code() in _FENCED:
        return Overtaken("another writer began at the same moment")
    return error


def _silent_logger() -> logging.Logger:
    """The client reports every error to its caller as well; its own lines would only say it twice."""
    logger = logging.getLogger("librdkafka.fenced_writer")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
