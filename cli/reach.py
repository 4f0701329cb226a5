"""Does Kafka have the topics that a command needs, and may it use them? Asked first, for a clear answer."""

from cli.errors import Refused
from topology.cluster import Cluster
from topology.rights import Role, rights_of
from topology.settings import Settings


def require(settings: Settings, role: Role) -> None:
    """Raises ``Refused`` where a topic is missing, ``AccessDenied`` where a right is, ``TopologyError`` when no
    broker answers."""
    missing = Cluster(settings).missing(rights_of(role, settings))
    if missing:
        raise Refused(
            f"Kafka at {settings.bootstrap_servers} has no topic {missing[0]}: create it with "
            "`automations topology apply`, or give the right --topic-prefix"
        )
