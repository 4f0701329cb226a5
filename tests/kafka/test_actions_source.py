"""What the runner's source holds to when partitions come and go."""

import time
from collections.abc import Mapping

import pytest
from confluent_kafka import Producer

from actions.kafka_clients import consumer_config
from actions.offsets import Resumed
from actions.source import EventSource
from schemas.avro_schemas import AUTOMATION_EVENT, Schema, load_schema
from schemas.codec import Codec, RegistryUnavailable
from streams.app import Place
from streams.clients import transactional_producer
from streams.transaction import Transaction
from tests.kafka.actions_world import CODEC, event, make_topics, publish, webhook
from topology.settings import Settings
from topology.topics import AUTOMATION_EVENTS, RETRY_1M

pytestmark = pytest.mark.kafka

NEW = 77
"""The id of a schema that came later."""
PLACES = {(AUTOMATION_EVENTS, 0), (AUTOMATION_EVENTS, 1)}


class Owner:
    """A source, and which partitions it has."""

    def __init__(self, settings: Settings, codec: Codec | None = None, topic: str = AUTOMATION_EVENTS) -> None:
        self.owned: set[Place] = set()
        topics = {topic: settings.topic(topic)}
        self.source = EventSource(consumer_config(settings), topics, codec or Codec(), lambda owner: None)
        self.source.subscribe(self)

    def assigned(self, partitions: Mapping[Place, Resumed]) -> None:
        self.owned |= set(partitions)

    def revoked(self, partitions: list[Place]) -> None:
        self.owned -= set(partitions)

    def lost(self, partitions: list[Place]) -> None:
        self.owned -= set(partitions)


def test_a_partition_that_was_paused_when_it_went_is_read_when_it_comes_back(settings: Settings) -> None:
    """The client remembers a pause for longer than an assignment."""
    settings = settings.model_copy(update={"partitions": {**settings.partitions, AUTOMATION_EVENTS: 2}})
    make_topics(settings)
    publish(settings, *(event(f"e{n}", [webhook("a", "http://x/")], run=f"run-{n}") for n in range(50)))
    one, gives_up = Owner(settings), time.monotonic() + 60
    found: set[tuple[Place, int]] = set()

    def read(owner: Owner, closed: set[Place]) -> None:
        records = owner.source.read(closed, 0.1)
        if owner is one:
            found.update((record.place, record.offset) for record in records)

    while one.owned != PLACES and time.monotonic() < gives_up:
        read(one, PLACES)
    read(one, PLACES)
    found.clear()
    other = Owner(settings)
    while not (len(one.owned) == len(other.owned) == 1) and time.monotonic() < gives_up:
        read(one, PLACES)
        read(other, PLACES)
    (went,) = other.owned
    other.source.close()
    while len([place for place, _ in found if place == went]) < 20 and time.monotonic() < gives_up:
        read(one, PLACES if went not in one.owned else PLACES - {went})
    one.source.close()
    assert len([place for place, _ in found if place == went]) >= 20


class Registry:
    """Knows one schema's id; of any other it can't be asked as long as it is ``away``."""

    def __init__(self) -> None:
        self.away = True
        self.asked = 0

    def by_id(self, schema_id: int) -> Schema:
        if schema_id == NEW:
            self.asked += 1
            if self.away:
                raise RegistryUnavailable("the registry is away")
        return load_schema(AUTOMATION_EVENT.name)

    def id_of(self, subject: str, schema: Schema) -> int:
        return 3


def test_a_schema_that_the_registry_can_not_be_asked_for_holds_its_own_partition_only(settings: Settings) -> None:
    settings = settings.model_copy(update={"partitions": {**settings.partitions, AUTOMATION_EVENTS: 2}})
    make_topics(settings)
    registry = Registry()
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})

    def put(partition: int, schema_id: int) -> None:
        value = CODEC.encode_event(event("e", [webhook("a", "http://x/")]))
        value = value[:1] + schema_id.to_bytes(4, "big") + value[5:]
        producer.produce(settings.topic(AUTOMATION_EVENTS), value, partition=partition)
        assert producer.flush(10) == 0

    put(0, 3)
    put(0, NEW)
    put(0, 3)
    owner = Owner(settings, Codec(registry))
    found: list[tuple[int, int]] = []

    def read_until(count: int) -> list[tuple[int, int]]:
        gives_up = time.monotonic() + 30
        while len(found) < count:
            assert time.monotonic() < gives_up, found
            found.extend((one.place[1], one.offset) for one in owner.source.read(set(), 0.1))
        return found

    assert read_until(1) == [(0, 0)]
    for _ in range(5):
        put(1, 3)
    assert read_until(6) == [(0, 0), *((1, offset) for offset in range(5))]
    registry.away = False
    assert read_until(8)[6:] == [(0, 1), (0, 2)]
    owner.source.close()


def test_the_end_of_a_retry_topic_is_told_past_what_a_process_wrote_in_vain(settings: Settings) -> None:
    make_topics(settings)
    transaction = Transaction(transactional_producer(settings, f"{settings.topic_prefix}killed"), lambda _: None)
    transaction.fence()
    owner = Owner(settings, topic=RETRY_1M)
    ends = {0}
    for _ in range(2):
        transaction.begin()
        for _ in range(3):
            transaction.produce(settings.topic(RETRY_1M), b"run", b"bytes", anchor=True)
        transaction.flush()
        transaction.abort()
        most, gives_up = max(ends), time.monotonic() + 30
        while max(ends) < most + 4:
            assert time.monotonic() < gives_up, ends
            found = owner.source.read(set(), 0.1)
            assert all(one.event is None for one in found)
            ends |= {one.offset for one in found}
    owner.source.close()
