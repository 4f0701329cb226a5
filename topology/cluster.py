"""What is on a cluster: its topics as they are, read by the admin API."""

import time
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined] # its typing leaves out what it re-exports
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    ResourceType,
)

from topology.access import AccessDenied, is_denial, shut_out
from topology.findings import TopicFound
from topology.kafka_config import admin
from topology.rights import Right
from topology.settings import Settings

ANSWER_S = 10
"""How long a broker has for an answer, in seconds."""
ATTEMPT_S = 2.5
"""Whether the brokers let it in is looked at so often."""


class TopologyError(Exception):
    """The cluster can't be asked, or refuses; the message says what and why."""


class Cluster:
    """A connection to a cluster for looking at topics.

    Raises ``TopologyError`` where it doesn't answer, ``AccessDenied`` where it lets nobody in or refuses a right.
    """

    def __init__(self, settings: Settings, answer_s: float = ANSWER_S) -> None:
        self._settings = settings
        self._answer_s = answer_s
        self._seen: list[KafkaError] = []
        self.client: AdminClient = admin(settings, self._seen.append)
        self.brokers: int = len(self._metadata().brokers)

    def missing(self, rights: Iterable[Right]) -> list[str]:
        """The topics of these rights that don't exist. Raises ``AccessDenied`` for a right that isn't granted.

        Without it, a topic that may not be described looks like one that isn't there, and one that may not be
        read like one in which nothing happens.
        """
        wanted: dict[str, list[Right]] = {}
        for right in rights:
            if right.resource == "Topic":
                wanted.setdefault(right.name, []).append(right)
        if not wanted:
            return []
        asked = TopicCollection(list(wanted))
        answers = self.client.describe_topics(asked, include_authorized_operations=True, request_timeout=ANSWER_S)
        missing = []
        for name, needed in wanted.items():
            try:
                granted = answers[name].result(ANSWER_S + 5).authorized_operations
            except KafkaException as error:
                reason = error.args[0]
                if reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    missing.append(name)
                    continue
                if is_denial(reason):
                    raise AccessDenied.without(needed[0]) from None
                raise TopologyError(f"topic {name} can't be described: {reason.str()}") from None
            # Brokers that don't tell are believed to grant everything: what they refuse shows when it is done.
            may = {operation.name for operation in granted or ()}
            for right in needed:
                if may and _OPERATION[right.operation] not in may:
                    raise AccessDenied.without(right)
        return missing

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
        began = time.monotonic()
        while True:
            try:
                return self.client.list_topics(timeout=ATTEMPT_S)
            except KafkaException as error:
                self.client.poll(0)
                refused = shut_out(self._settings.bootstrap_servers, self._seen)
                if refused is not None:
                    raise refused from None
                waited_s = time.monotonic() - began
                if waited_s > self._answer_s or (waited_s > ATTEMPT_S and self._nobody_listens()):
                    raise TopologyError(self._unreachable(error.args[0])) from None
                # Where nobody listens the client says so at once.
                time.sleep(0.1)

    def _configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        configs = {}
        for resource, future in self.client.describe_configs(resources, request_timeout=ANSWER_S).items():
            try:
                entries = future.result(ANSWER_S + 5)
            except KafkaException as error:
                if is_denial(error.args[0]):
                    raise AccessDenied.without(Right("Topic", resource.name, "DescribeConfigs")) from None
                raise TopologyError(
                    f"the configuration of topic {resource.name} can't be read: {error.args[0].str()}"
                ) from None
            configs[resource.name] = {name: entry.value for name, entry in entries.items() if entry.value is not None}
        return configs

    def _nobody_listens(self) -> bool:
        """Whether every address has refused the connection: then there is no answer to wait for."""
        causes = [seen.str() for seen in self._seen if seen.code() != KafkaError._ALL_BROKERS_DOWN]
        return bool(causes) and all("Connection refused" in cause for cause in causes)

    def _unreachable(self, error: KafkaError) -> str:
        """Why nobody answers; librdkafka tells it in the background only."""
        causes = [seen.str() for seen in self._seen if seen.code() != KafkaError._ALL_BROKERS_DOWN]
        cause = causes[-1] if causes else error.str()
        return (
            f"BOOTSTRAP_SERVERS={self._settings.bootstrap_servers}: no broker answers "
            f"({cause}); is Kafka running there, and do the KAFKA_CONFIG_<NAME> settings suit it?"
        )


_OPERATION = {
    "Read": "READ",
    "Write": "WRITE",
    "Create": "CREATE",
    "Describe": "DESCRIBE",
    "DescribeConfigs": "DESCRIBE_CONFIGS",
    "AlterConfigs": "ALTER_CONFIGS",
}
"""The admin client's names of operations."""
