"""The ends of partitions, as leaders tell them: what progress rests on where nothing is left to read."""

from collections.abc import Iterator

import pytest

from streams.clients import leaders_admin
from streams.ends import Ends
from tests.kafka.consumer_process import until
from tests.kafka.consumer_world import make_topics
from topology.embedded import EmbeddedKafka
from topology.names import AUTOMATIONS, FLOW_RUN_STATE, TOPICS
from topology.settings import Settings

pytestmark = pytest.mark.kafka

PARTITIONS = 6


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(nodes=3, say=lambda _: None) as kafka:
        yield kafka


@pytest.mark.timeout(300)
def test_ends_are_answered_again_after_each_broker_was_restarted(three_nodes: EmbeddedKafka) -> None:
    """A restart moves leaders, there and back: a client that goes by the old ones is refused."""
    settings = Settings(
        bootstrap_servers=three_nodes.bootstrap_servers,
        partitions={**dict.fromkeys(TOPICS, 1), FLOW_RUN_STATE: PARTITIONS},
    )
    make_topics(settings)
    places = [(FLOW_RUN_STATE, number) for number in range(PARTITIONS)] + [(AUTOMATIONS, 0)]
    ends = Ends(leaders_admin(settings))

    def all_answered() -> bool:
        """Asks when nothing is under way; whether the last answer has all ends."""
        answer = ends.answer()
        if not ends.asking:
            ends.ask(places, 0)
        return answer is not None and answer.highs.keys() == set(places)

    until(all_answered, 60, "an answer for each partition")
    for node in three_nodes.pids:
        three_nodes.shut_down(node)
        until(all_answered, 60, f"an answer for each partition, node {node} away")
        three_nodes.restart(node)
        until(all_answered, 60, f"an answer for each partition, node {node} back")
