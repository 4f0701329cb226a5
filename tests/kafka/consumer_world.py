"""What tests of the consumer put on the topics and find there, and the same as the oracle sees it."""

from threading import Event, Thread

from confluent_kafka import Consumer, TopicPartition

from schemas.codec import Codec
from schemas.records import AutomationEvent
from streams.topic_reader import partitions_of
from topology.kafka_config import client_config
from topology.settings import Settings
from topology.topics import AUTOMATION_EVENTS

CODEC = Codec()


class EventReader:
    """A read_committed reader of the events, in the background, as anybody may be one."""

    def __init__(self, settings: Settings) -> None:
        self.values: list[bytes] = []
        config = {
            **client_config(settings),
            "group.id": "unused",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
        self._consumer = Consumer(config)
        topic = settings.topic(AUTOMATION_EVENTS)
        self._topic, self._stopping = topic, Event()
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        numbers = partitions_of(self._consumer, self._topic)
        self._consumer.assign([TopicPartition(self._topic, number, 0) for number in numbers])
        while not self._stopping.is_set():
            for message in self._consumer.consume(2_000, 0.2):
                if message.error() is None:
                    self.values.append(message.value() or b"")
        self._consumer.close()

    @property
    def events(self) -> list[AutomationEvent]:
        return [decoded(value) for value in list(self.values)]
