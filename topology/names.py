"""The topics' names, without the prefix, and what is usual for each."""

from collections.abc import Mapping

FLOW_RUN_STATE = "flow-run-state"
AGENT_HEARTBEAT = "agent-heartbeat"
AUTOMATIONS = "automations"
AUTOMATION_EVENTS = "automation-events"
AUTOMATION_CATALOG = "automation-catalog"
ACTION_RESULTS = "action-results"
RETRY_1M = "automation-events-retry-1m"
RETRY_10M = "automation-events-retry-10m"
RETRY_1H = "automation-events-retry-1h"
EVENTS_DLQ = "automation-events-dlq"
AUTOMATION_TESTS = "automation-tests"
AUTOMATION_SECRETS = "automation-secrets"
INPUT_DLQ = "input-dlq"

INPUTS = (FLOW_RUN_STATE, AGENT_HEARTBEAT)
COMPACTED = (AUTOMATIONS, AUTOMATION_CATALOG, AUTOMATION_SECRETS)
TOPICS = (
    *INPUTS,
    AUTOMATIONS,
    AUTOMATION_EVENTS,
    AUTOMATION_CATALOG,
    ACTION_RESULTS,
    RETRY_1M,
    RETRY_10M,
    RETRY_1H,
    EVENTS_DLQ,
    AUTOMATION_TESTS,
    AUTOMATION_SECRETS,
    INPUT_DLQ,
)

_DAY_MS = 86_400_000

DEFAULT_PARTITIONS: Mapping[str, int] = {AUTOMATIONS: 1, AGENT_HEARTBEAT: 1}
"""Topics that don't have 6 partitions."""

DEFAULT_RETENTION_MS: Mapping[str, int] = {
    FLOW_RUN_STATE: 7 * _DAY_MS,
    AGENT_HEARTBEAT: 7 * _DAY_MS,
    AUTOMATION_EVENTS: 30 * _DAY_MS,
    ACTION_RESULTS: 30 * _DAY_MS,
    RETRY_1M: 30 * _DAY_MS,
    RETRY_10M: 30 * _DAY_MS,
    RETRY_1H: 30 * _DAY_MS,
    EVENTS_DLQ: 30 * _DAY_MS,
    INPUT_DLQ: 30 * _DAY_MS,
    AUTOMATION_TESTS: _DAY_MS,
}
"""How long topics keep their records; the compacted ones aren't in it."""


def variable(topic: str, suffix: str) -> str:
    """The environment variable of a topic's setting: ``flow-run-state`` -> ``FLOW_RUN_STATE_PARTITIONS``."""
    return f"{topic.upper().replace('-', '_')}_{suffix}"


def hold_topic_settings(partitions: Mapping[str, int], retention_ms: Mapping[str, int]) -> None:
    """Raises ``ValueError``, its message a whole line, for a partition count or retention that can't be."""
    for topic, count in partitions.items():
        line = f"{variable(topic, 'PARTITIONS')}={count}"
        if topic not in TOPICS:
            raise ValueError(f"{line}: there is no topic {topic}")
        if topic == AUTOMATIONS and count != 1:
            raise ValueError(f"{line}: automations has exactly 1 partition, so that its records have one order")
        if not 1 <= count <= 10_000:
            raise ValueError(f"{line}: must be from 1 to 10000")
    for topic, retention in retention_ms.items():
        line = f"{variable(topic, 'RETENTION_MS')}={retention}"
        if topic not in DEFAULT_RETENTION_MS:
            raise ValueError(f"{line}: {topic} is compacted and keeps the latest record of each key for good")
        if retention != -1 and retention < 60_000:
            raise ValueError(f"{line}: must be at least 60000 (a minute), or -1 (for ever)")
