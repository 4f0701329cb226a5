"""A real Kafka that asks who is there and what they may: SASL_SSL with SCRAM-SHA-512, and ACLs.

Nothing is allowed that no ACL allows. Its other listener, without TLS, is for the tests' own hands: who comes by
it may do everything. The broker writes down each right that it grants or refuses.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # its typing leaves out what it re-exports
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from topology.embedded import EmbeddedKafka
from topology.embedded_config import free_ports
from topology.rights import Right

RESOURCES = {
    "Topic": ResourceType.TOPIC,
    "Group": ResourceType.GROUP,
    "TransactionalId": ResourceType.TRANSACTIONAL_ID,
}
OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "AlterConfigs": AclOperation.ALTER_CONFIGS,
}
_AUDIT = "-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=debug"
_ANSWER_S = 10


class Decision(NamedTuple):
    """The broker's answer to one question for a right. ``rule``: the operation that an ACL named."""

    allowed: bool
    operation: str
    resource: str
    name: str
    rule: str
    line: str


_LINE = re.compile(
    r"Principal = User:(?P<user>\S+) is (?P<answer>Allowed|Denied) operation = (?P<operation>\w+) .*?"
    r"on resource = (?P<resource>\w+):LITERAL:(?P<name>\S+) .*?based on rule (?P<rule>.*)"
)


class SecuredKafka:
    """The broker, its users and its ACLs."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        (port,) = free_ports(1)
        self.bootstrap_servers = f"localhost:{port}"
        self._kafka = EmbeddedKafka(say=lambda _: None, properties=_properties(folder, authority, port))

    def start(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("JAVA_TOOL_OPTIONS", _AUDIT)
            self._kafka.start()
        self.admin = AdminClient({"bootstrap.servers": self._kafka.bootstrap_servers})

    def stop(self) -> None:
        self._kafka.stop()

    def login(self, user: str, password: str) -> dict[str, str]:
        """The client's configuration by which a user comes in."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": password,
            "ssl.ca.location": str(self.ca_file),
        }

    def add_user(self, name: str, password: str) -> None:
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(name, info, password.encode())
        for future in self.admin.alter_user_scram_credentials([change]).values():
            future.result(_ANSWER_S)

    def allow(self, user: str, rights: Iterable[Right]) -> None:
        """Give a user these rights."""
        made = [_binding(user, right) for right in rights]
        self._settle(self.admin.create_acls(made))
        self._until(lambda: set(made) <= set(self._acls(_everything(user))))

    def forbid(self, user: str, right: Right) -> None:
        """Take a right from a user."""
        wanted = _exactly(user, right)
        self._settle(self.admin.delete_acls([wanted]))
        self._until(lambda: not self._acls(wanted))

    def spoil(self, *topics: str) -> None:
        """Give topics a configuration that isn't theirs."""
        wrong = [ConfigEntry("cleanup.policy", "compact,delete", incremental_operation=AlterConfigOpType.SET)]
        asked = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=wrong) for topic in set(topics)]
        self._settle(self.admin.incremental_alter_configs(asked))
        shown = [ConfigResource(ResourceType.TOPIC, topic) for topic in set(topics)]
        self._until(
            lambda: all(
                future.result(_ANSWER_S)["cleanup.policy"].value == "compact,delete"
                for future in self.admin.describe_configs(shown).values()
            )
        )

    def delete_topic(self, topic: str) -> None:
        self._settle(self.admin.delete_topics([topic]))
        self._until(lambda: topic not in self.admin.list_topics(timeout=_ANSWER_S).topics)

    def held_back(self, topic: str) -> bool:
        """Whether a transaction is open in the topic's first partition."""
        asked = {TopicPartition(topic, 0): OffsetSpec.latest()}  # type: ignore[no-untyped-call]
        ends = [
            self.admin.list_offsets(asked, isolation_level=isolation)
            for isolation in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
        ]
        stable, high = (future.result(_ANSWER_S).offset for end in ends for future in end.values())
        return bool(stable < high)

    def _acls(self, wanted: AclBindingFilter) -> list[AclBinding]:
        return list(self.admin.describe_acls(wanted).result(_ANSWER_S))

    def _until(self, holds: Callable[[], bool]) -> None:
        """The controller says that it is done before the broker goes by it."""
        give_up_at = time.monotonic() + _ANSWER_S
        while not holds():
            assert time.monotonic() < give_up_at, "the broker doesn't take ACLs over"
            time.sleep(0.02)

    def _settle(self, futures: Mapping[Any, Future[Any]]) -> None:
        for future in futures.values():
            future.result(_ANSWER_S)

    def decisions(self, user: str) -> list[Decision]:
        """Each right that the broker has granted or refused to a user, as it wrote them down."""
        log = (self._kafka.folder / "node-1" / "broker.log").read_text(errors="replace")
        return [found for line in log.splitlines() if (found := _decision(line, user)) is not None]


def _decision(line: str, user: str) -> Decision | None:
    found = _LINE.search(line)
    if found is None or found["user"] != user:
        return None
    by = re.search(r"operation=(\w+)", found["rule"])
    rule = by[1] if by else ""
    return Decision(found["answer"] == "Allowed", found["operation"], found["resource"], found["name"], rule, line)


def _binding(user: str, right: Right) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL
    return AclBinding(
        RESOURCES[right.resource], right.name, pattern, f"User:{user}", "*",
        OPERATIONS[right.operation], AclPermissionType.ALLOW,
    )  # fmt: skip


def _exactly(user: str, right: Right) -> AclBindingFilter:
    one = _binding(user, right)
    return AclBindingFilter(
        one.restype, one.name, one.resource_pattern_type, one.principal, one.host, one.operation, one.permission_type
    )


def _everything(user: str) -> AclBindingFilter:
    anywhere: Any = None  # which the client's typing doesn't know
    return AclBindingFilter(
        ResourceType.ANY, anywhere, ResourcePatternType.ANY, f"User:{user}", anywhere,
        AclOperation.ANY, AclPermissionType.ANY,
    )  # fmt: skip


def _properties(folder: Path, authority: trustme.CA, port: int) -> dict[str, str]:
    keystore = folder / "broker.pem"
    issued = authority.issue_cert("localhost", "127.0.0.1")
    # Java takes keys as PKCS #8 only.
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    keystore.write_bytes(pem + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    module = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    return {
        "listeners": f"SASL_SSL://127.0.0.1:{port}",
        "advertised.listeners": f"SASL_SSL://localhost:{port}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keystore),
        "listener.name.sasl_ssl.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": module,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": "User:ANONYMOUS",
    }


@contextmanager
def secured_kafka(folder: Path) -> Iterator[SecuredKafka]:
    """One that runs."""
    kafka = SecuredKafka(folder)
    kafka.start()
    try:
        yield kafka
    finally:
        kafka.stop()
