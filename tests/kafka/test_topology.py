"""`automations topology apply` and `check` on a real Kafka."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions, NewTopic  # type: ignore[attr-defined]

from topology.apply import TopologyError, apply, check
from topology.cluster import Cluster
from topology.embedded_config import free_ports
from topology.kafka_config import admin, client_config
from topology.settings import Settings
from topology.topics import changelog_of, topics

pytestmark = pytest.mark.kafka


def create(settings: Settings, base: str, partitions: int, config: dict[str, str] | None = None) -> None:
    """Make a topic by hand, as somebody else may have."""
    topic = NewTopic(settings.topic(base), num_partitions=partitions, replication_factor=1, config=config or {})
    client = admin(settings)
    client.create_topics([topic], operation_timeout=10)[topic.topic].result(20)
    await_partitions(settings, topic.topic, partitions)


def await_partitions(settings: Settings, name: str, partitions: int) -> None:
    """Wait until the brokers show what was done by hand."""
    give_up_at = time.monotonic() + 20
    while True:
        found = Cluster(settings).find([name])
        if name in found and found[name].partitions == partitions:
            return
        assert time.monotonic() < give_up_at, f"{name} doesn't show {partitions} partitions"
        time.sleep(0.05)


def test_what_is_applied_passes_the_check_and_applying_again_changes_nothing(settings: Settings) -> None:
    """The first run says what it created, the second that there is nothing to do."""
    missing = check(settings)
    assert len(missing) == 15
    assert all("is missing: run `automations topology apply`" in line for line in missing)

    said: list[str] = []
    apply(settings, said.append)
    assert len(said) == 15
    assert f"created {settings.topic('flow-run-state')} (2 partitions, delete)" in said
    assert check(settings) == []

    again: list[str] = []
    apply(settings, again.append)
    assert again == ["15 topics are as they should be"]


def test_topics_have_what_they_were_specified_with(settings: Settings) -> None:
    """Every topic on the brokers has the partitions and each configuration of its specification."""
    apply(settings, lambda _: None)
    cluster = Cluster(settings)
    specs = topics(settings, cluster.brokers)
    found = cluster.find(spec.name for spec in specs)
    for spec in specs:
        topic = found[spec.name]
        assert (topic.partitions, topic.replication) == (spec.partitions, spec.replication)
        assert {name: topic.config[name] for name in spec.config} == spec.config


def test_check_says_exactly_what_is_wrong_and_apply_mends_what_it_may(settings: Settings) -> None:
    """A wrong policy, timestamp type and retention are mended; a partition count is left and told."""
    create(settings, "automations", 3)
    create(settings, "flow-run-state", 5)
    create(settings, "automation-events", 1, {"cleanup.policy": "compact"})
    automations, inputs, events = (
        settings.topic(base) for base in ("automations", "flow-run-state", "automation-events")
    )
    told = [line for line in check(settings) if "is missing" not in line]
    beginnings = [
        f"{inputs} has 5 partitions, not 2: an input's partition count is fixed for life",
        f"{inputs} has message.timestamp.type=CreateTime, not LogAppendTime",
        f"{automations} has 3 partitions, not 1",
        f"{automations} has cleanup.policy=delete, not compact",
        f"{automations} has delete.retention.ms=86400000, not at least 604800000",
        f"{automations} has message.timestamp.type=CreateTime, not LogAppendTime",
        f"{automations} has min.compaction.lag.ms=0, not at least 604800000",
        f"{events} has cleanup.policy=compact, not delete",
        f"{events} has retention.ms=604800000, not at least 2592000000",
    ]
    assert len(told) == len(beginnings)
    assert all(line.startswith(begun) for line, begun in zip(told, beginnings, strict=True))

    said: list[str] = []
    apply(settings, said.append)
    assert len([line for line in said if line.startswith("changed")]) == 7
    left = [line.removeprefix("left as it is: ") for line in said if line.startswith("left as it is: ")]
    assert check(settings) == left
    assert len(left) == 2
    assert Cluster(settings).find([inputs])[inputs].partitions == 5


def test_a_changelog_is_made_as_wide_as_its_input_is(settings: Settings) -> None:
    """Whatever the settings say, a run's state lies where its records do."""
    create(settings, "flow-run-state", 5, {"message.timestamp.type": "LogAppendTime"})
    apply(settings, lambda _: None)
    changelog = changelog_of(settings, "flow-run-state")
    assert Cluster(settings).find([changelog])[changelog].partitions == 5


def test_an_input_that_was_widened_is_told(settings: Settings) -> None:
    """Its changelog has the old count: the two no longer fit, and apply won't hide it."""
    apply(settings, lambda _: None)
    name = settings.topic("flow-run-state")
    client = admin(settings)
    client.create_partitions([NewPartitions(name, 4)])[name].result(20)
    await_partitions(settings, name, 4)
    wide = settings.model_copy(update={"partitions": {**settings.partitions, "flow-run-state": 4}})
    said: list[str] = []
    apply(wide, said.append)
    (line,) = check(wide)
    assert line.startswith(f"{changelog_of(settings, 'flow-run-state')} has 2 partitions, but its input {name} has 4")
    assert f"left as it is: {line}" in said


def test_apply_lengthens_what_is_kept_and_never_shortens_it(settings: Settings) -> None:
    """A shorter retention in the settings deletes nobody's records; the automations follow a longer one."""
    day = 86_400_000
    apply(settings.model_copy(update={"retention_ms": {"flow-run-state": 20 * day}}), lambda _: None)
    apply(settings.model_copy(update={"retention_ms": {"flow-run-state": 2 * day}}), lambda _: None)
    apply(settings.model_copy(update={"retention_ms": {"agent-heartbeat": 30 * day}}), lambda _: None)
    names = [settings.topic(base) for base in ("flow-run-state", "agent-heartbeat", "automations")]
    states, heartbeats, automations = (Cluster(settings).find(names)[name].config for name in names)
    assert states["retention.ms"] == str(20 * day)
    assert heartbeats["retention.ms"] == str(30 * day)
    assert automations["min.compaction.lag.ms"] == str(30 * day)
    assert automations["delete.retention.ms"] == str(30 * day)


def test_two_that_apply_at_once_both_succeed(settings: Settings) -> None:
    """Two pods start at the same time."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: apply(settings, lambda _: None), range(2)))
    assert check(settings) == []


def test_our_topics_take_a_dead_letter_of_an_input_of_a_megabyte(settings: Settings) -> None:
    """An input of the largest size that is read, with its headers, is no larger than input-dlq takes."""
    apply(settings, lambda _: None)
    failures: list[object] = []
    producer = Producer(client_config(settings))
    producer.produce(
        settings.topic("input-dlq"),
        key=b"run",
        value=b"x" * (1024 * 1024),
        headers={"reason": "too_large", "detail": "y" * 1024},
        on_delivery=lambda error, _: failures.append(error) if error else None,
    )
    assert producer.flush(30) == 0
    assert failures == []


def test_more_replicas_than_brokers_are_refused_before_anything_is_made(settings: Settings) -> None:
    """The line says both numbers."""
    with pytest.raises(TopologyError, match=r"^REPLICATION=9, but the cluster has \d brokers?"):
        apply(settings.model_copy(update={"replication": 9}), lambda _: None)
    assert len(check(settings)) == 15


def test_a_kafka_that_is_not_there_is_named(settings: Settings) -> None:
    """The address, and what to look at."""
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(TopologyError, match=rf"^BOOTSTRAP_SERVERS={nowhere}: no broker answers"):
        check(settings.model_copy(update={"bootstrap_servers": nowhere}))
