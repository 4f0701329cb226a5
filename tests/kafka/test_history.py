"""What a reader of a topic's history gets: all that was committed when it began, and nothing else."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.clients import transactional_producer
from streams.history import History, HistoryLost, Span
from streams.transaction import Transaction
from tests.kafka.consumer_world import make_topics, put, put_at
from topology.kafka_config import admin
from topology.names import ACTION_RESULTS, AUTOMATION_EVENTS, FLOW_RUN_STATE
from topology.settings import Settings

pytestmark = pytest.mark.kafka


def keys_in(history: History) -> list[tuple[int, bytes | None]]:
    return [(partition, record.key) for partition, record in history.records()]


def cut_off(client: AdminClient, topic: str, partition: int, below: int) -> None:
    """Does what retention does."""
    for future in client.delete_records([TopicPartition(topic, partition, below)]).values():
        future.result(10)


def test_a_history_has_each_partition_in_order_up_to_its_end_at_the_beginning(settings: Settings) -> None:
    """Records that come while it is read don't belong to it; progress adds up to the whole."""
    make_topics(settings)
    for partition in (0, 1):
        put_at(settings, FLOW_RUN_STATE, partition, *((b"%d-%d" % (partition, n), b"v") for n in range(3)))
    told: list[int] = []
    with History(settings, settings.topic(FLOW_RUN_STATE), told.append) as history:
        put_at(settings, FLOW_RUN_STATE, 0, (b"later", b"v"))
        assert keys_in(history) == [(p, b"%d-%d" % (p, n)) for p in (0, 1) for n in range(3)]
        assert sum(told) == history.offsets == 6
        assert [record.offset for batch in history.read(1, 1, 2) for record in batch] == [1]
        times = [record.log_ms for batch in history.read(0) for record in batch]
        assert times == sorted(times)
        assert times[0] > 0


def test_a_history_has_what_was_committed_and_ends_behind_the_last_transaction(settings: Settings) -> None:
    """What was aborted is not in it, and a marker at the end of the log is no record that is waited for."""
    make_topics(settings)
    topic = settings.topic(AUTOMATION_EVENTS)
    config = transactional_producer(settings, f"{settings.topic_prefix}writer")
    put(settings, AUTOMATION_EVENTS, (b"plain", b"v"))
    first, second = (Transaction(config, lambda _: None) for _ in range(2))
    first.fence()
    first.produce(topic, b"aborted", b"v", anchor=True)
    first.flush()
    second.fence()
    put(settings, AUTOMATION_EVENTS, (b"after", b"v"))
    with History(settings, topic) as history:
        assert keys_in(history) == [(0, b"plain"), (0, b"after")]
        assert history.offsets == 4
    with History(settings, settings.topic(ACTION_RESULTS)) as history:
        assert keys_in(history) == []


def test_a_history_begins_where_the_log_does_and_tells_a_hole(settings: Settings) -> None:
    """Records deleted before their partition is read are no hole; those deleted under the reader are."""
    make_topics(settings)
    topic, client = settings.topic(FLOW_RUN_STATE), admin(settings)
    put_at(settings, FLOW_RUN_STATE, 0, *((b"%d" % n, b"v") for n in range(6)))
    cut_off(client, topic, 0, 1)
    told: list[int] = []
    with History(settings, topic, told.append) as history:
        assert history.spans[0] == Span(1, 6)
        cut_off(client, topic, 0, 2)
        assert keys_in(history) == [(0, b"%d" % n) for n in range(2, 6)]
        assert history.spans[0] == Span(2, 6)
        assert sum(told) == 5
        cut_off(client, topic, 0, 4)
        with pytest.raises(HistoryLost, match="retention deleted"):
            list(history.read(0, begin=2))
