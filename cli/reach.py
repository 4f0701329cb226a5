"""Does Kafka have the topic that a command needs? Asked first, so that the answer is a clear line."""

from cli.errors import Refused
from topology.cluster import Cluster
from topology.settings import Settings


def require_topic(settings: Settings, name: str) -> None:
    """Raises ``Refused`` unless the topic of that name (without prefix) exists, ``TopologyError`` when no
    broker answers."""
    topic = settings.topic(name)
    if not Cluster(settings).find([topic]):
        raise Refused(
            f"Kafka at {settings.bootstrap_servers} has no topic {topic}: create it with "
            "`automations topology apply`, or give the right --topic-prefix"
        )
