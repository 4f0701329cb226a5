"""The embedded Kafka: it needs Python alone, keeps what it is told to, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from topology.embedded import EmbeddedKafka, EmbeddedKafkaError

pytestmark = pytest.mark.kafka


def quiet(_: str) -> None:
    """Nobody watches a test."""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(condition: Callable[[], bool], seconds: float = 15) -> bool:
    """Whether the condition comes to hold in that time."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.05)
    return True


def create_topic(kafka: EmbeddedKafka, name: str, replicas: int = 1) -> None:
    client = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    topic = NewTopic(name, num_partitions=1, replication_factor=replicas)
    client.create_topics([topic], operation_timeout=10)[name].result(20)


def produce(kafka: EmbeddedKafka, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
    producer.produce(topic, value=value)
    assert producer.flush(30) == 0


def first_value(kafka: EmbeddedKafka, topic: str) -> bytes | str | None:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "unused"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    message = consumer.poll(30)
    consumer.close()
    assert message is not None
    assert message.error() is None
    return message.value()


def test_a_given_folder_keeps_its_records_and_a_temporary_one_goes(tmp_path: Path) -> None:
    """Stop and start again on the same folder: the record is there. Without a folder nothing stays."""
    with EmbeddedKafka(tmp_path / "kept", say=quiet) as kafka:
        create_topic(kafka, "letters")
        produce(kafka, "letters", b"hello")
        (pid,) = kafka.pids.values()
    assert not alive(pid)
    with EmbeddedKafka(tmp_path / "kept", say=quiet) as kafka:
        assert first_value(kafka, "letters") == b"hello"
    with EmbeddedKafka(say=quiet) as kafka:
        folder = kafka.folder
        assert folder.exists()
    assert not folder.exists()


def test_topics_are_not_made_by_a_typo(kafka: str) -> None:
    """Asking for a topic that isn't there doesn't make it."""
    client = AdminClient({"bootstrap.servers": kafka})
    client.list_topics("no-such-topic", timeout=10)
    assert "no-such-topic" not in client.list_topics(timeout=10).topics


def test_kafka_ends_when_its_parent_is_killed_and_the_next_start_clears_up() -> None:
    """However the process that started it ends, no broker is left; the folder goes at the next start."""
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    pid, folder = owner.stdout.readline().split()
    owner.stdout.close()
    assert alive(int(pid))
    owner.send_signal(signal.SIGKILL)
    owner.wait(10)
    assert eventually(lambda: not alive(int(pid)))
    with EmbeddedKafka(say=quiet):
        assert not Path(folder).exists()


_OWNER = """
import time
from topology.embedded import EmbeddedKafka
kafka = EmbeddedKafka(say=lambda _: None)
kafka.start()
print(*kafka.pids.values(), kafka.folder, flush=True)
time.sleep(600)
"""


def test_the_module_runs_one_in_the_foreground_until_it_is_told_to_end() -> None:
    """It prints its address; SIGTERM ends it, its broker and its data, with exit code 0."""
    process = subprocess.Popen([sys.executable, "-m", "topology.embedded"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert len(AdminClient({"bootstrap.servers": address}).list_topics(timeout=10).brokers) == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.mark.slow
def test_three_nodes_lose_nothing_when_one_is_killed(tmp_path: Path) -> None:
    """A record written to three replicas is read after its leader's death; the killed node comes back."""
    with EmbeddedKafka(tmp_path, nodes=3, say=quiet) as kafka:
        create_topic(kafka, "letters", replicas=3)
        produce(kafka, "letters", b"hello")
        client = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        leader = client.list_topics("letters", timeout=10).topics["letters"].partitions[0].leader
        kafka.kill(leader)
        assert leader not in kafka.pids
        assert first_value(kafka, "letters") == b"hello"
        kafka.restart(leader)
        assert len(kafka.pids) == 3
        metadata = client.list_topics("letters", timeout=10).topics["letters"].partitions[0]
        assert len(metadata.replicas) == 3


def test_what_can_not_be_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Two nodes have no majority when one is lost; a cluster's folder knows how many it has."""
    with pytest.raises(EmbeddedKafkaError, match="1 or 3 nodes, not 2"):
        EmbeddedKafka(nodes=2)
    (tmp_path / "node-1").mkdir()
    with pytest.raises(EmbeddedKafkaError, match="of 1 nodes, not 3"):
        EmbeddedKafka(tmp_path, nodes=3, say=quiet).start()


def test_a_broker_that_can_not_start_says_why(tmp_path: Path) -> None:
    """The end of its own log is in the message, and nothing is left running."""
    kafka = EmbeddedKafka(tmp_path, heap="1k", say=quiet)
    with pytest.raises(EmbeddedKafkaError, match=r"node 1 ended at its start: .*heap"):
        kafka.start()
    assert kafka.pids == {}
