"""Fixtures that all tests share: one real Kafka for the whole run, and settings that no other test has."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings as hypothesis_settings

from tests.examples import examples
from topology.embedded import EmbeddedKafka
from topology.names import FLOW_RUN_STATE, TOPICS
from topology.settings import Settings

# How long an example takes says something of the machine, nothing of what is tested.
hypothesis_settings.register_profile("any machine", deadline=None, max_examples=examples(100))
hypothesis_settings.load_profile("any machine")

# Closed when this process's session is over rather than at its last test: waiting for the other workers isn't
# a test's time.
_AT_END = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Room for what lives as long as the session."""
    config.stash[_AT_END] = ExitStack()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of the run's Kafka."""
    config.stash[_AT_END].close()


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> str:
    """The bootstrap servers of a real Kafka, shared by all workers of this run.

    ``BOOTSTRAP_SERVERS`` puts a cluster of one's own in its place.
    """
    given = os.environ.get("BOOTSTRAP_SERVERS")
    if given:
        return given
    base = tmp_path_factory.getbasetemp()
    shared = _shared_kafka(base if worker_id == "master" else base.parent)
    return pytestconfig.stash[_AT_END].enter_context(shared)


@pytest.fixture
def settings(kafka: str) -> Settings:
    """Settings on the run's Kafka with a topic prefix, groups and few partitions of this test's own."""
    unique = uuid4().hex[:10]
    return Settings(
        bootstrap_servers=kafka,
        topic_prefix=f"t{unique}-",
        consumer_group=f"consumer-{unique}",
        actions_group=f"actions-{unique}",
        partitions={**dict.fromkeys(TOPICS, 1), FLOW_RUN_STATE: 2},
        http_port=0,
        api_port=0,
    )


@contextmanager
def _shared_kafka(folder: Path) -> Iterator[str]:
    """The run's Kafka. Whoever comes first starts it, and stops it when nobody else uses it any more.

    Each user holds a shared lock, which even a killed one lets go of; the owner waits for all of them.
    """
    address = folder / "kafka.json"
    with _locked(folder / "kafka-start.lock"):
        if address.exists():
            bootstrap_servers: str = json.loads(address.read_text())
            owned = None
        else:
            owned = EmbeddedKafka()
            owned.start()
            bootstrap_servers = owned.bootstrap_servers
            address.write_text(json.dumps(bootstrap_servers))
        users = (folder / f"kafka-users-{bootstrap_servers.rpartition(':')[2]}.lock").open("w")
        fcntl.flock(users, fcntl.LOCK_SH)
    try:
        yield bootstrap_servers
    finally:
        if owned is None:
            users.close()
        else:
            with _locked(folder / "kafka-start.lock"):
                address.unlink()
            fcntl.flock(users, fcntl.LOCK_EX)
            owned.stop()
            users.close()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
