"""Services and commands on a Kafka that asks who they are, each with the rights of its role and no others."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from cli.main import run
from tests.kafka.consumer_process import CONSUMER, ConsumerProcess
from tests.secured_kafka import Decision, SecuredKafka
from topology.names import TOPICS
from topology.rights import ROLES, Right, Role, rights_of
from topology.settings import Settings


class SecuredWorld:
    """Topics of one test, and a user for each role."""

    def __init__(self, kafka: SecuredKafka) -> None:
        unique = uuid4().hex[:10]
        self.kafka = kafka
        self.password = f"secret-{uuid4().hex}"
        self.prefix = f"t{unique}-"
        self._settings = Settings(
            bootstrap_servers=kafka.bootstrap_servers,
            topic_prefix=self.prefix,
            consumer_group=f"consumer-{unique}",
            actions_group=f"actions-{unique}",
            partitions=dict.fromkeys(TOPICS, 1),
        )
        for role in ROLES:
            kafka.add_user(self.user(role), self.password)
            self.allow(role, *rights_of(role, self._settings))

    def user(self, role: Role) -> str:
        return f"{self.prefix}{role.replace(' ', '-')}"

    def rights(self, role: Role) -> tuple[Right, ...]:
        return rights_of(role, self._settings)

    def settings(self, role: Role) -> Settings:
        """Those of a role's process."""
        return self._settings.model_copy(update={"kafka_config": self.kafka.login(self.user(role), self.password)})

    def env(self, role: Role, **more: str) -> dict[str, str]:
        """The environment of a role's process, but for what test processes take from their settings."""
        login = self.kafka.login(self.user(role), self.password)
        return {
            **{f"KAFKA_CONFIG_{name.upper().replace('.', '_')}": value for name, value in login.items()},
            **{f"{topic.upper().replace('-', '_')}_PARTITIONS": "1" for topic in TOPICS},
            "BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "TOPIC_PREFIX": self.prefix,
            "CONSUMER_GROUP": self._settings.consumer_group,
            "ACTIONS_GROUP": self._settings.actions_group,
            **more,
        }

    def run(self, role: Role, *arguments: str, **env: str) -> int:
        """Run a command as its role; its exit code."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.env(role, **env).items():
                patch.setenv(name, value)
            return run(list(arguments))

    def allow(self, role: Role, *rights: Right) -> None:
        self.kafka.allow(self.user(role), rights)

    @contextmanager
    def without(self, role: Role, right: Right) -> Iterator[None]:
        """A while in which the role's user lacks a right."""
        self.kafka.forbid(self.user(role), right)
        try:
            yield
        finally:
            self.allow(role, right)

    def decisions(self, role: Role) -> list[Decision]:
        return self.kafka.decisions(self.user(role))

    def consumer(self, log: Path, **env: str) -> ConsumerProcess:
        return ConsumerProcess(self.settings("consumer"), log, CONSUMER, self.env("consumer", **env))


def used(right: Right, decisions: list[Decision]) -> bool:
    """Whether the broker has granted just this right, because of just this ACL."""
    operation = "".join(f"_{c}" if c.isupper() else c for c in right.operation).strip("_").upper()
    return any(
        one.allowed
        and one.resource == right.resource
        and (one.name.startswith(right.name) if right.prefixed else one.name == right.name)
        and one.operation == one.rule == operation
        for one in decisions
    )
