"""When the brokers don't let this process in, or refuse it a right: what to say, and what to do about it.

Both need a person, as a wrong setting does, so both end a process with exit code 2. Brokers that are merely away
are waited for. A message names settings, rights and what the client said of it, never a setting's value.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Self

from confluent_kafka import KafkaError

from topology.rights import Resource, Right
from topology.setting_errors import SettingError

_RESOURCES: dict[int, Resource] = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "Topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "Group",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "TransactionalId",
}
DENIALS = frozenset({*_RESOURCES, KafkaError.CLUSTER_AUTHORIZATION_FAILED})
"""The codes of what a broker says when a right is missing."""

_WHO = "the user that the KAFKA_CONFIG_<NAME> settings log in as"
_ALL = "`automations topology rights` prints all that are needed"

_LOCAL = re.compile(r"\bLocal: |[Ff]ailed to acquire ")


class AccessDenied(SettingError):
    """The brokers refuse this user, or something that it asks for."""

    @classmethod
    def without(cls, right: Right) -> Self:
        """A right that the brokers say is not there."""
        return cls(f"{_WHO} lacks {right}: grant it; {_ALL}")

    @classmethod
    def told(cls, error: KafkaError, needed: Iterable[Right] = ()) -> Self:
        """What a client was told; ``needed`` are the rights of which one may be missing."""
        kind = _RESOURCES.get(error.code())
        likely = "; ".join(str(right) for right in needed if right.resource == kind)
        lacks = f"lacks a right (needed: {likely})" if likely else "lacks a right"
        return cls(f"{error.name()}: {error.str().rstrip('.')}: {_WHO} {lacks}: grant it; {_ALL}")


def is_denial(error: object) -> bool:
    """Whether a broker refused a right."""
    return isinstance(error, KafkaError) and error.code() in DENIALS


def shut_out(bootstrap_servers: str, seen: Sequence[KafkaError]) -> AccessDenied | None:
    """Why the brokers don't let this process in, from what its client saw in the background; else ``None``."""
    for error in reversed(seen):
        where = f"BOOTSTRAP_SERVERS={bootstrap_servers}: {_plain(error)}"
        said = error.str()
        # What begins in this process, such as a broker that went away meanwhile, refuses nobody.
        if error.code() == KafkaError._AUTHENTICATION and "SASL" in said and not _LOCAL.search(said):
            return AccessDenied(
                f"{where}: check KAFKA_CONFIG_SASL_MECHANISM, KAFKA_CONFIG_SASL_USERNAME and "
                "KAFKA_CONFIG_SASL_PASSWORD (or what else it logs in by), and that the brokers know this user"
            )
        # A connection that ends in the middle of its handshake tells of a broker that goes away.
        if error.code() == KafkaError._SSL and "eof" not in said.lower():
            return AccessDenied(
                f"{where}: check KAFKA_CONFIG_SSL_CA_LOCATION (who signed the brokers' certificates), that these "
                "are valid for the names in BOOTSTRAP_SERVERS, and KAFKA_CONFIG_SECURITY_PROTOCOL"
            )
    return None


def _plain(error: KafkaError) -> str:
    """What the client said, without how long it took."""
    return error.str().partition(" (after ")[0]
