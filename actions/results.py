"""What is written down of deliveries: a result for each attempt, and the dead letters.

Law: a future that is done without an exception means that the brokers have the record. Nothing gives up:
while the brokers can't be reached, records wait; what can't be written at all ends the
process, never the record.
"""

import asyncio
from collections.abc import Mapping
from threading import Event, Thread
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from actions.decide import Decision
from actions.delivery import Delivery
from schemas.codec import Codec
from schemas.records import ActionResult
from streams.telemetry import librdkafka_logger


class ResultLog:
    """The producer of ``action-results`` and ``automation-events-dlq``, for the event loop it is made on."""

    def __init__(self, config: Mapping[str, Any], codec: Codec, results_topic: str, dead_letters_topic: str) -> None:
        self._producer = Producer(dict(config), logger=librdkafka_logger())
        self._codec = codec
        self._results_topic = results_topic
        self._dead_letters_topic = dead_letters_topic
        self._loop = asyncio.get_running_loop()
        self._closing = Event()
        self._thread = Thread(target=self._serve, name="results", daemon=True)
        self._thread.start()

    def write(self, result: ActionResult) -> asyncio.Future[None]:
        """Write the result of an attempt. Results of one delivery keep their order."""
        value = self._codec.encode_result(result)
        return self._produce(self._results_topic, result.delivery_id.encode(), value, [])

    def dead_letter(self, delivery: Delivery, decision: Decision) -> asyncio.Future[None]:
        """Write the event's own record, with headers that say which delivery is dead, and why."""
        source = delivery.source
        headers = dead_letter_headers(delivery, decision)
        return self._produce(self._dead_letters_topic, source.key, source.value, headers)

    def close(self, timeout_s: float) -> None:
        """Wait for what is under way, at most so long. Blocks."""
        self._producer.flush(timeout_s)
        self._closing.set()

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.2)

    def _produce(
        self, topic: str, key: bytes | None, value: bytes, headers: list[tuple[str, str | bytes | None]]
    ) -> asyncio.Future[None]:
        written: asyncio.Future[None] = self._loop.create_future()

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_settle, written, error)

        self._producer.produce(topic, value, key, headers=headers, on_delivery=on_delivery)
        return written


def dead_letter_headers(delivery: Delivery, decision: Decision) -> list[tuple[str, str | bytes | None]]:
    """The headers of a dead letter, in the order of the reference."""
    headers = [
        ("delivery-id", delivery.id),
        ("action-id", delivery.action.id),
        ("attempt", str(decision.attempt)),
        ("reason", decision.reason or ""),
    ]
    if decision.http_status is not None:
        headers.append(("http-status", str(decision.http_status)))
    return [(name, value.encode()) for name, value in headers]


def _settle(written: asyncio.Future[None], error: KafkaError | None) -> None:
    if written.done():
        return
    if error is None:
        written.set_result(None)
    else:
        written.set_exception(KafkaException(error))
