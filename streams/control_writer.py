"""The one writer of control records: whoever wants to change one, the command line or the API, does it here.

How it stays one: every writer has the same transactional id, so a later one fences an earlier one. In order:

1. ``init_transactions`` - from here on no earlier writer can commit; what one had open is settled.
2. Read the topic to its high watermark: nothing can be in front of what is then decided.
3. Decide, by a pure plan, over what was read.
4. Write all changes in one transaction. A later writer that came in between makes this one fail, whole.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.control import InvalidControl, Tombstone, parse_control, to_json
from streams.control_plan import Change, ControlTable, Plan, Refusal
from streams.topic_reader import read_to_end
from topology.kafka_config import client_config
from topology.names import AUTOMATIONS
from topology.settings import Settings

TIMEOUT_S = 15

_FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}


class ControlWriteError(Exception):
    """The changes were not written; the message says why and what to do. Nothing is half written."""


class FencedByAnother(ControlWriteError):
    """Another writer came in between."""

    def __init__(self) -> None:
        super().__init__("another writer changed control records at the same moment: nothing was written; run it again")


Decide = Callable[[ControlTable, datetime], Plan]
"""From the table and the time (for ``created`` and ``updated``) to a plan."""


def read_control(settings: Settings) -> ControlTable:
    """The control records as they are now, those that nobody can use beside the others."""
    latest: dict[bytes | None, bytes | None] = {}
    for read in read_to_end(settings, settings.topic(AUTOMATIONS)):
        latest[read.key] = read.value
    records, invalid = {}, []
    for key, value in latest.items():
        if value is None:
            continue
        parsed = parse_control(key, value)
        if isinstance(parsed, InvalidControl):
            invalid.append(parsed)
        elif not isinstance(parsed, Tombstone):
            records[(key or b"").decode()] = parsed
    return ControlTable(records, tuple(invalid))


def write_control(settings: Settings, decide: Decide) -> tuple[Plan, ControlTable]:
    """Read, decide, write. Returns what was decided (and, unless refused, written) and what was read.

    Raises ``FencedByAnother``, ``ControlWriteError``, ``ReadTimeout`` or ``KafkaException`` (no broker,
    no topic, no right).
    """
    producer = Producer(
        {
            **client_config(settings),
            "transactional.id": f"{settings.topic_prefix}automations-control-writer",
            "transaction.timeout.ms": TIMEOUT_S * 1000,
        },
        logger=_silent_logger(),
    )
    try:
        producer.init_transactions(TIMEOUT_S)
        table = read_control(settings)
        plan = decide(table, datetime.now(UTC))
        if not isinstance(plan, Refusal):
            _commit(producer, settings.topic(AUTOMATIONS), [change for change in plan if change.is_written])
    except KafkaException as error:
        if _code(error) in _FENCED:
            raise FencedByAnother from None
        raise
    return plan, table


def _commit(producer: Producer, topic: str, changes: list[Change]) -> None:
    """All changes in one transaction, or none. Raises as ``write_control`` does."""
    if not changes:
        return
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            failed.append(error)

    producer.begin_transaction()
    try:
        for change in changes:
            value = None if change.record is None else to_json(change.record)
            producer.produce(topic, key=change.key.encode(), value=value, partition=0, on_delivery=delivered)
        left = producer.flush(TIMEOUT_S)
        if failed:
            raise KafkaException(failed[0])
        if left:
            raise ControlWriteError(f"{topic}: {left} records were not confirmed in {TIMEOUT_S} s; run it again")
        producer.commit_transaction(TIMEOUT_S)
    except (KafkaException, ControlWriteError) as error:
        if not (isinstance(error, KafkaException) and _code(error) in _FENCED):
            _abort(producer)
        raise


def _abort(producer: Producer) -> None:
    # Where even this fails, the next writer's init_transactions ends the open transaction.
    try:
        producer.abort_transaction(TIMEOUT_S)
    except KafkaException as error:
        logging.getLogger(__name__).debug("abort failed: %s", error)


def _code(error: KafkaException) -> int | None:
    reason = error.args[0] if error.args else None
    return reason.code() if isinstance(reason, KafkaError) else None


def _silent_logger() -> logging.Logger:
    """The client reports every error to its caller as well; its own lines would only say it twice."""
    logger = logging.getLogger("librdkafka.control_writer")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
