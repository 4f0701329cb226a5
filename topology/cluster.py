"""What is on a cluster: its topics as they are, read by the admin API."""

from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined] # its typing leaves out what it re-exports
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    ResourceType,
)

from topology.findings import TopicFound
from topology.kafka_config import admin
from topology.settings import Settings

ANSWER_S = 10
"""How long a broker has for an answer, in seconds."""


class TopologyError(Exception):
    """The cluster can't be asked, or refuses; the message says what and why."""


class Cluster:
    """A connection to a cluster for looking at topics. Raises ``TopologyError`` where it doesn't answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: list[KafkaError] = []
        self.client: AdminClient = admin(settings, self._seen.append)
        self.brokers: int = len(self._metadata().brokers)

    def find(self, names: Iterable[str]) -> dict[str, TopicFound]:
        """Those of the named topics that exist, by name."""
        listed = self._metadata().topics
        present = [name for name in names if name in listed and listed[name].error is None]
        if not present:
            return {}
        configs = self._configs(present)
        return {
            name: TopicFound(
                name=name,
                partitions=len(listed[name].partitions),
                replication=min(len(p.replicas) for p in listed[name].partitions.values()),
                config=configs[name],
            )
            for name in present
        }

    def leaderless(self, names: Iterable[str]) -> list[str]:
        """Those of the named topics that aren't known yet, or of which a partition has no leader."""
        listed = self._metadata().topics
        return [
            name
            for name in names
            if name not in listed
            or not listed[name].partitions
            or any(partition.leader < 0 for partition in listed[name].partitions.values())
        ]

    def _metadata(self) -> ClusterMetadata:
        try:
            return self.client.list_topics(timeout=ANSWER_S)
        except KafkaException as error:
            raise TopologyError(self._unreachable(error.args[0])) from None

    def _configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        configs = {}
        for resource, future in self.client.describe_configs(resources, request_timeout=ANSWER_S).items():
            try:
                entries = future.result(ANSWER_S + 5)
            except KafkaException as error:
                raise TopologyError(
                    f"the configuration of topic {resource.name} can't be read: {error.args[0].str()}"
                ) from None
            configs[resource.name] = {name: entry.value for name, entry in entries.items() if entry.value is not None}
        return configs

    def _unreachable(self, error: KafkaError) -> str:
        """Why nobody answers; librdkafka tells wrong credentials and certificates in the background only."""
        self.client.poll(0)
        causes = [seen.str() for seen in self._seen if seen.code() != KafkaError._ALL_BROKERS_DOWN]
        cause = causes[-1] if causes else error.str()
        return (
            f"BOOTSTRAP_SERVERS={self._settings.bootstrap_servers}: no broker answers within {ANSWER_S} s "
            f"({cause}); is Kafka running there, and do the KAFKA_CONFIG_<NAME> settings suit it?"
        )
