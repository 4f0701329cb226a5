"""Every topic as data: what it is called, how it is divided, and how it keeps its records."""

from typing import NamedTuple

from topology.names import (
    ACTION_RESULTS,
    AGENT_HEARTBEAT,
    AUTOMATION_CATALOG,
    AUTOMATION_EVENTS,
    AUTOMATION_SECRETS,
    AUTOMATION_TESTS,
    AUTOMATIONS,
    EVENTS_DLQ,
    FLOW_RUN_STATE,
    INPUT_DLQ,
    INPUTS,
    RETRY_1H,
    RETRY_1M,
    RETRY_10M,
    TOPICS,
    variable,
)
from topology.settings import Settings

__all__ = [
    "ACTION_RESULTS",
    "AGENT_HEARTBEAT",
    "AUTOMATIONS",
    "AUTOMATION_CATALOG",
    "AUTOMATION_EVENTS",
    "AUTOMATION_SECRETS",
    "AUTOMATION_TESTS",
    "EVENTS_DLQ",
    "FLOW_RUN_STATE",
    "INPUTS",
    "INPUT_DLQ",
    "MAX_RECORD_BYTES",
    "RETRY_1H",
    "RETRY_1M",
    "RETRY_10M",
    "TopicSpec",
    "changelog_of",
    "changelogs",
    "topics",
    "variable",
]

FOREVER_MS = 9_223_372_036_854_775_807
"""Kafka's largest time, for lags that have no "-1 is for ever"."""

MAX_RECORD_BYTES = 2 * 1024 * 1024
"""Our own topics take records of this size: a dead letter holds an input of 1 MiB and its headers besides."""


class TopicSpec(NamedTuple):
    """A topic as it is to be.

    ``name`` has the prefix, ``base`` hasn't. ``config`` is what it is made with; of it, ``required`` is what
    our promises rest on, so that ``check`` asks for it and ``apply`` mends it. ``fixed`` says that the
    partition count can't change for the topic's whole life. ``co_partitioned_with`` is the full name of the
    topic whose partition count this one takes.
    """

    name: str
    base: str
    partitions: int
    replication: int
    config: dict[str, str]
    required: frozenset[str]
    fixed: bool = False
    co_partitioned_with: str | None = None


def topics(settings: Settings, brokers: int) -> list[TopicSpec]:
    """All topics, the changelogs last, for a cluster of that many brokers."""
    replication = settings.replication or min(3, brokers)
    specs = []
    for base in TOPICS:
        config = _config(base, settings)
        specs.append(
            TopicSpec(
                name=settings.topic(base),
                base=base,
                partitions=settings.partitions_of(base),
                replication=replication,
                config={**config, **_durability(replication)},
                required=_required(base, config),
                fixed=base in (*INPUTS, AUTOMATIONS),
            )
        )
    return specs + changelogs(settings, replication)


def changelogs(settings: Settings, replication: int) -> list[TopicSpec]:
    """The consumer's changelogs, one for each input, divided as it is."""
    return [
        TopicSpec(
            name=changelog_of(settings, base),
            base=f"{base}-changelog",
            partitions=settings.partitions_of(base),
            replication=replication,
            config={**_CHANGELOG, **_durability(replication)},
            required=frozenset({"cleanup.policy", "message.timestamp.type"}),
            fixed=True,
            co_partitioned_with=settings.topic(base),
        )
        for base in INPUTS
    ]


def changelog_of(settings: Settings, input_name: str) -> str:
    """The full name of the changelog of an input (named without prefix)."""
    return f"{settings.topic_prefix}{settings.consumer_group}-{input_name}-changelog"


def control_lag_ms(settings: Settings) -> int:
    """How long ``automations`` keeps versions and tombstones: at least as long as the inputs keep records."""
    kept = [settings.retention_of(base) for base in INPUTS]
    return FOREVER_MS if -1 in kept else max(kept)


# A changelog is read whole at a restore, so it is compacted early: segments are closed after an hour or
# 64 MiB and cleaned when a tenth of them is stale.
_CHANGELOG = {
    "cleanup.policy": "compact",
    "message.timestamp.type": "LogAppendTime",
    "segment.ms": "3600000",
    "segment.bytes": str(64 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.1",
    "delete.retention.ms": "86400000",
    "max.message.bytes": str(MAX_RECORD_BYTES),
}


def _config(base: str, settings: Settings) -> dict[str, str]:
    """What a topic (named without prefix) is made with."""
    if base in INPUTS:
        return {
            "cleanup.policy": "delete",
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": str(settings.retention_of(base)),
        }
    if base == AUTOMATIONS:
        lag = str(control_lag_ms(settings))
        return {
            "cleanup.policy": "compact",
            "message.timestamp.type": "LogAppendTime",
            "min.compaction.lag.ms": lag,
            "delete.retention.ms": lag,
            "max.message.bytes": str(MAX_RECORD_BYTES),
        }
    if base in (AUTOMATION_CATALOG, AUTOMATION_SECRETS):
        return {"cleanup.policy": "compact", "max.message.bytes": str(MAX_RECORD_BYTES)}
    return {
        "cleanup.policy": "delete",
        # By the brokers' time, so that a host with a wrong clock can't have its records deleted at once.
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(settings.retention_of(base)),
        "max.message.bytes": str(MAX_RECORD_BYTES),
    }


def _required(base: str, config: dict[str, str]) -> frozenset[str]:
    """What of a topic's configuration our promises rest on."""
    required = {"cleanup.policy", "retention.ms", "min.compaction.lag.ms", "delete.retention.ms"}
    if base in INPUTS or base == AUTOMATIONS:
        required.add("message.timestamp.type")
    return frozenset(required & config.keys())


def _durability(replication: int) -> dict[str, str]:
    """With three replicas a record is in two before it counts; with fewer, in one."""
    return {"min.insync.replicas": "2" if replication >= 3 else "1"}
