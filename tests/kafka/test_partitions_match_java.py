"""Our partitions are those of Java's own client, seen through its console producer."""

from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from topology import kafka_tools
from topology.apply import apply
from topology.kafka_config import client_config
from topology.names import FLOW_RUN_STATE
from topology.partitioner import LIBRDKAFKA_PARTITIONERS, Partitioner, partition_of
from topology.settings import Settings

pytestmark = pytest.mark.kafka

PARTITIONS = 7

# Ids as they are usual, of every length modulo 4, and text beyond ASCII.
KEYS = (
    [f"run-{i}" for i in range(400)]
    + [f"6f2a{i:08x}-9c1d-4e5b-8a7f-{i * 7919:012x}" for i in range(400)]
    + ["x" * length for length in range(1, 101)]
    + [f"läuft-{i}-流" for i in range(100)]
)


@pytest.fixture
def wide(settings: Settings) -> Settings:
    """An input whose partition count is no power of two."""
    settings = settings.model_copy(
        update={"partitions": {**settings.partitions, FLOW_RUN_STATE: PARTITIONS}, "replication": 1}
    )
    apply(settings, lambda _: None)
    return settings


def found_on(settings: Settings, count: int) -> dict[str, int]:
    """The partition of each key on the input, once that many records are there."""
    consumer = Consumer({**client_config(settings), "group.id": "unused", "enable.auto.commit": False})
    topic = settings.topic(FLOW_RUN_STATE)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    places: dict[str, int] = {}
    try:
        while len(places) < count:
            message = consumer.poll(30)
            assert message is not None, f"{len(places)} of {count} records after 30 s of silence"
            assert message.error() is None
            key, partition = message.key(), message.partition()
            assert key is not None
            assert partition is not None
            places[key.decode() if isinstance(key, bytes) else key] = partition
    finally:
        consumer.close()
    return places


def by_java(settings: Settings, _: Partitioner) -> None:
    """Send the keys with Java's console producer."""
    kafka_tools.run_tool(
        kafka_tools.CONSOLE_PRODUCER,
        [
            "--bootstrap-server",
            settings.bootstrap_servers,
            "--topic",
            settings.topic(FLOW_RUN_STATE),
            "--property",
            "parse.key=true",
            "--property",
            "key.separator=|",
        ],
        stdin="".join(f"{key}|value\n" for key in KEYS),
    )


def by_librdkafka(settings: Settings, partitioner: Partitioner) -> None:
    """Send the keys with librdkafka, set as the reference says."""
    config = {**client_config(settings), "partitioner": LIBRDKAFKA_PARTITIONERS[partitioner]}
    producer = Producer(config)
    for key in KEYS:
        producer.produce(settings.topic(FLOW_RUN_STATE), key=key.encode(), value=b"value")
    assert producer.flush(30) == 0


@pytest.mark.parametrize(
    ("send", "partitioner"),
    [(by_java, "murmur2"), (by_librdkafka, "murmur2"), (by_librdkafka, "crc32")],
    ids=["java", "librdkafka-murmur2", "librdkafka-crc32"],
)
def test_a_thousand_keys_are_where_we_say(
    wide: Settings, send: Callable[[Settings, Partitioner], None], partitioner: Partitioner
) -> None:
    """Each of 1,000 keys that another client sends is in the partition that we compute."""
    assert len(set(KEYS)) == 1000
    send(wide, partitioner)
    places = found_on(wide, len(KEYS))
    assert places == {key: partition_of(partitioner, key.encode(), PARTITIONS) for key in KEYS}
    assert set(places.values()) == set(range(PARTITIONS))
