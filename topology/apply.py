"""Create and verify the topics.

The laws of ``apply``:

* it can be repeated: a second run finds nothing to do;
* it creates what is missing and mends configuration that our promises rest on; it never deletes anything,
  never shortens what a topic keeps, and never changes a partition count;
* it says what it did, and what it found and would not do.
"""

import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined] # its typing leaves out what it re-exports
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from topology.access import AccessDenied, is_denial
from topology.cluster import ANSWER_S, Cluster, TopologyError
from topology.findings import Finding, TopicFound, findings
from topology.rights import Right, rights_of
from topology.settings import Settings
from topology.topics import TopicSpec, topics

__all__ = ["TopologyError", "apply", "check"]

Say = Callable[[str], None]

_TIMES = "message.timestamp.type"
_SETTLED_S = 30
"""How long a change may take until all brokers show it, in seconds."""


def apply(settings: Settings, say: Say) -> None:
    """Create missing topics and mend wrong configuration, telling ``say`` each deed as a line.

    Raises ``TopologyError`` when the cluster doesn't answer or refuses, ``AccessDenied`` (a ``SettingError``) for
    a missing right, ``SettingError`` for wrong settings.
    """
    cluster = Cluster(settings)
    # Whether a topic may be made shows when it is made: a right to the whole cluster does as well.
    cluster.missing(right for right in rights_of("topology apply", settings) if right.operation != "Create")
    specs = topics(settings, cluster.brokers)
    _refuse_too_many_replicas(settings, cluster.brokers)
    found = cluster.find(spec.name for spec in specs)
    missing = [_as_wide_as_input(spec, found) for spec in specs if spec.name not in found]
    _create(cluster, missing, say)
    mended: list[Finding] = []
    kept = 0
    for spec in specs:
        if spec.name not in found:
            continue
        for finding in findings(settings, spec, found):
            if finding.mend:
                _mend(cluster, finding, say)
                mended.append(finding)
            else:
                say(f"left as it is: {finding.line}")
                kept += 1
    _await_settled(cluster, [spec.name for spec in specs], mended)
    if not missing and not mended:
        say(f"{len(specs) - kept} topics are as they should be" + (f", {kept} are not" if kept else ""))


def check(settings: Settings) -> list[str]:
    """What is wrong with the topics, a line each with its remedy; empty when all is well.

    Raises ``TopologyError`` when the cluster doesn't answer.
    """
    cluster = Cluster(settings)
    cluster.missing(rights_of("topology check", settings))
    specs = topics(settings, cluster.brokers)
    found = cluster.find(spec.name for spec in specs)
    return [finding.line for spec in specs for finding in findings(settings, spec, found)]


def _refuse_too_many_replicas(settings: Settings, brokers: int) -> None:
    if settings.replication is not None and settings.replication > brokers:
        raise TopologyError(
            f"REPLICATION={settings.replication}, but the cluster has {brokers} "
            f"broker{'s' if brokers > 1 else ''}: set it to {brokers} or less, or leave it out"
        )


def _as_wide_as_input(spec: TopicSpec, found: dict[str, TopicFound]) -> TopicSpec:
    """A changelog takes the partition count that its input has, whatever the settings say of it."""
    twin = found.get(spec.co_partitioned_with or "")
    return spec if twin is None else spec._replace(partitions=twin.partitions)


def _create(cluster: Cluster, missing: list[TopicSpec], say: Say) -> None:
    if not missing:
        return
    wanted = [
        NewTopic(
            spec.name,
            num_partitions=spec.partitions,
            replication_factor=spec.replication,
            config=spec.config,
        )
        for spec in missing
    ]
    futures = cluster.client.create_topics(wanted, operation_timeout=ANSWER_S, request_timeout=ANSWER_S)
    for spec in missing:
        try:
            futures[spec.name].result(ANSWER_S + 5)
        except KafkaException as error:
            if is_denial(error.args[0]):
                raise AccessDenied.without(Right("Topic", spec.name, "Create")) from None
            # Another apply at the same time was quicker.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise TopologyError(f"{spec.name} can't be created: {error.args[0].str()}") from None
        else:
            said = "partition" if spec.partitions == 1 else "partitions"
            say(f"created {spec.name} ({spec.partitions} {said}, {spec.config['cleanup.policy']})")


def _mend(cluster: Cluster, finding: Finding, say: Say) -> None:
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in finding.mend.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, finding.topic, incremental_configs=entries)
    futures = cluster.client.incremental_alter_configs([resource], request_timeout=ANSWER_S)
    try:
        futures[resource].result(ANSWER_S + 5)
    except KafkaException as error:
        if is_denial(error.args[0]):
            raise AccessDenied.without(Right("Topic", finding.topic, "AlterConfigs")) from None
        raise TopologyError(f"the configuration of {finding.topic} can't be changed: {error.args[0].str()}") from None
    for name, value in finding.mend.items():
        note = "; records that are there already keep their producers' times" if name == _TIMES else ""
        say(f"changed {finding.topic}: {name}={value}{note}")


def _await_settled(cluster: Cluster, names: list[str], mended: list[Finding]) -> None:
    """Wait until every partition has a leader and the brokers show what was changed.

    So that clients may start at once, and a ``check`` right after finds what was done.
    """
    give_up_at = time.monotonic() + _SETTLED_S
    while True:
        waiting = cluster.leaderless(names)
        if not waiting and _shown(cluster, mended):
            return
        if time.monotonic() > give_up_at:
            what = f"{waiting[0]} has a partition without a leader" if waiting else "changes don't show"
            raise TopologyError(f"{what} after {_SETTLED_S} s")
        time.sleep(0.1)


def _shown(cluster: Cluster, mended: list[Finding]) -> bool:
    found = cluster.find({finding.topic for finding in mended}) if mended else {}
    return all(
        found[finding.topic].config.get(name) == value for finding in mended for name, value in finding.mend.items()
    )
