"""Reads the control topic from Kafka, all of it in each process."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from confluent_kafka import OFFSET_BEGINNING, TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, TopicPartition

from streams import clients
from streams.app import Place
from streams.control_topic import ControlTopic
from streams.errors import StateError, hold_permitted
from streams.partition import Unread
from streams.telemetry import librdkafka_logger
from topology.settings import Settings

log = structlog.get_logger()

BATCH = 2_000


class ControlReader:
    """Feeds a `ControlTopic`. ``on_append`` is told the append times (ms) seen."""

    def __init__(
        self, settings: Settings, place: Place, control: ControlTopic, on_append: Callable[[int], None]
    ) -> None:
        self._control = control
        self._on_append = on_append
        self._reader = Consumer(clients.table_reader(settings), logger=librdkafka_logger())
        self._reader.assign([TopicPartition(*place, OFFSET_BEGINNING)])

    def poll(self) -> None:
        """Takes what has arrived."""
        for message in self._reader.consume(BATCH, 0):
            error = message.error()
            if error is None:
                kind, log_ms = message.timestamp()
                if kind != TIMESTAMP_LOG_APPEND_TIME:
                    raise StateError("the control topic's records have no append time: set LogAppendTime")
                self._on_append(log_ms)
                self._control.offer(Unread(message.offset() or 0, log_ms, message.key(), message.value()))
            elif error.code() == KafkaError._PARTITION_EOF:
                self._control.read_to(message.offset() or 0)
            elif not error.retriable():
                hold_permitted(error)
                log.warning("reading the control topic", problem=error.str())

    def close(self) -> None:
        """Ends reading."""
        self._reader.close()
