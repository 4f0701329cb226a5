"""Produces a simulated fleet's records to Kafka, each at its time."""

import time
from collections.abc import Iterable
from threading import Event

from confluent_kafka import KafkaError, Producer

from cli.simulation import Emission
from schemas.codec import Codec
from schemas.records import FlowRunState
from topology.kafka_config import client_config
from topology.settings import Settings

_LIBRDKAFKA_PARTITIONER = {"murmur2": "murmur2_random", "crc32": "consistent_random"}


class FleetProducer:
    """A producer as a backend service would have it: keyed by run and agent config, idempotent."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec
        self._producer = Producer(
            {
                **client_config(settings),
                "partitioner": _LIBRDKAFKA_PARTITIONER[settings.partitioner],
                "enable.idempotence": True,
                "linger.ms": 5,
                "log_level": 0,  # what fails is told by the delivery
            }
        )
        self.delivered = 0
        self.failed: str | None = None
        """The first delivery that failed, in words."""

    def produce(self, emissions: Iterable[Emission], stop: Event) -> None:
        """Produce each emission at its ``at_ms`` by the host's clock, until they end or ``stop`` is set."""
        for emission in emissions:
            while (ahead_ms := emission.at_ms - time.time() * 1000) > 0:
                self._producer.poll(0)
                if stop.wait(min(ahead_ms / 1000, 0.1)):
                    break
            if stop.is_set():
                break
            self._send(emission)
        self._producer.flush(15)

    def _send(self, emission: Emission) -> None:
        record = emission.record
        if isinstance(record, FlowRunState):
            key, value = record.flow_run_id, self._codec.encode_state(record)
        else:
            key, value = record.agent_config_id, self._codec.encode_heartbeat(record)
        topic = self._settings.topic(emission.topic)
        while True:
            try:
                self._producer.produce(topic, key=key.encode(), value=value, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)  # the queue is full: Kafka is slower than the fleet
            else:
                break
        self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is None:
            self.delivered += 1
        elif self.failed is None:
            self.failed = error.str()
