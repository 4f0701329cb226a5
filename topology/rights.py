"""What each service and command may have to do on Kafka: the least rights, as data. Pure.

A broker lets who may Read or Write something Describe it too, and who may AlterConfigs DescribeConfigs. Nobody
needs a right to the cluster.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from topology.settings import Settings
from topology.topics import (
    ACTION_RESULTS,
    AGENT_HEARTBEAT,
    AUTOMATION_CATALOG,
    AUTOMATION_EVENTS,
    AUTOMATION_TESTS,
    AUTOMATIONS,
    EVENTS_DLQ,
    FLOW_RUN_STATE,
    INPUT_DLQ,
    INPUTS,
    RETRY_1H,
    RETRY_1M,
    RETRY_10M,
    changelog_of,
    topics,
)

Resource = Literal["Topic", "Group", "TransactionalId"]
Operation = Literal["Read", "Write", "Create", "Describe", "DescribeConfigs", "AlterConfigs"]
Role = Literal[
    "topology apply",
    "topology check",
    "consumer",
    "actions",
    "apply",
    "apply --dry-run",
    "delete",
    "export",
    "backtest",
    "backtest -f",
    "explain",
    "test-action",
    "events tail",
    "results tail",
    "dlq list",
    "dlq redrive",
    "simulate",
]

CONTROL_WRITER = "automations-control-writer"
REDRIVE_WRITER = "automations-redrive"


class Right(NamedTuple):
    """One operation on what has this name, or on all whose name begins so."""

    resource: Resource
    name: str
    operation: Operation
    prefixed: bool = False

    def __str__(self) -> str:
        return f"{self.operation} on {self.resource} {self.name}{' (prefixed)' if self.prefixed else ''}"


def rights_of(role: Role, settings: Settings) -> tuple[Right, ...]:
    """What a role needs with these settings."""
    return tuple(dict.fromkeys(ROLES[role](settings)))


class Grant(NamedTuple):
    """Operations on one thing, or on several for which the same holds."""

    resource: Resource
    names: tuple[str, ...]
    operations: tuple[Operation, ...]
    prefixed: bool


def grants(rights: Iterable[Right]) -> list[Grant]:
    """The rights, those on one thing together."""
    found: dict[tuple[Resource, str, bool], list[Operation]] = {}
    for right in rights:
        found.setdefault((right.resource, right.name, right.prefixed), []).append(right.operation)
    return [Grant(what, (name,), tuple(may), prefixed) for (what, name, prefixed), may in found.items()]


def alike(rights: Iterable[Right]) -> list[Grant]:
    """The rights, all things together of which the same holds."""
    found: dict[tuple[Resource, tuple[Operation, ...], bool], list[str]] = {}
    for one in grants(rights):
        found.setdefault((one.resource, one.operations, one.prefixed), []).extend(one.names)
    return [Grant(what, tuple(names), may, prefixed) for (what, may, prefixed), names in found.items()]


def _of_topics(settings: Settings, operation: Operation, *names: str) -> list[Right]:
    return [Right("Topic", settings.topic(name), operation) for name in names]


def _of_all_topics(settings: Settings, *operations: Operation) -> list[Right]:
    return [Right("Topic", spec.name, operation) for spec in topics(settings, 1) for operation in operations]


def _changelogs(settings: Settings, operation: Operation) -> list[Right]:
    return [Right("Topic", changelog_of(settings, name), operation) for name in INPUTS]


def _own_transactions(settings: Settings, group: str) -> Right:
    """Each process has an id of its own, new at each start but for one with an ``INSTANCE_ID``.

    It also ends what a fellow process that is gone left open, by that one's id.
    """
    return Right("TransactionalId", f"{settings.topic_prefix}{group}-", "Write", prefixed=True)


def _consumer(settings: Settings) -> list[Right]:
    return [
        *_of_topics(settings, "Read", *INPUTS, AUTOMATIONS),
        *_changelogs(settings, "Read"),
        # That they are LogAppendTime is checked before anything is believed.
        *_of_topics(settings, "DescribeConfigs", *INPUTS, AUTOMATIONS),
        *_changelogs(settings, "DescribeConfigs"),
        *_changelogs(settings, "Write"),
        *_of_topics(settings, "Write", AUTOMATION_EVENTS, AUTOMATION_CATALOG, INPUT_DLQ),
        Right("Group", settings.consumer_group, "Read"),
        _own_transactions(settings, settings.consumer_group),
    ]


def _actions(settings: Settings) -> list[Right]:
    retries = (RETRY_1M, RETRY_10M, RETRY_1H)
    return [
        *_of_topics(settings, "Read", AUTOMATION_EVENTS, AUTOMATION_TESTS, *retries, AUTOMATIONS),
        *_of_topics(settings, "Write", ACTION_RESULTS, *retries, EVENTS_DLQ),
        Right("Group", settings.actions_group, "Read"),
        _own_transactions(settings, settings.actions_group),
    ]


def _reader(*names: str) -> Callable[[Settings], list[Right]]:
    return lambda settings: _of_topics(settings, "Read", *names)


def _writer(settings: Settings, name: str) -> Right:
    return Right("TransactionalId", f"{settings.topic_prefix}{name}", "Write")


def _control_writer(*more: str) -> Callable[[Settings], list[Right]]:
    return lambda settings: [
        *_reader(AUTOMATIONS, *more)(settings),
        *_of_topics(settings, "Write", AUTOMATIONS),
        _writer(settings, CONTROL_WRITER),
    ]


def _redrive(settings: Settings) -> list[Right]:
    return [
        *_reader(EVENTS_DLQ)(settings),
        *_of_topics(settings, "Write", EVENTS_DLQ, RETRY_1M),
        _writer(settings, REDRIVE_WRITER),
    ]


def _backtest(settings: Settings) -> list[Right]:
    return [
        *_reader(*INPUTS, AUTOMATIONS, AUTOMATION_EVENTS)(settings),
        *_changelogs(settings, "Read"),
    ]


def _backtest_of_a_draft(settings: Settings) -> list[Right]:
    return [
        *_reader(*INPUTS, AUTOMATIONS, AUTOMATION_CATALOG)(settings),
        # Their append times say how late it is.
        *_changelogs(settings, "Describe"),
    ]


def _explain(settings: Settings) -> list[Right]:
    return [
        *_reader(*INPUTS, AUTOMATIONS, AUTOMATION_EVENTS, ACTION_RESULTS)(settings),
        *_changelogs(settings, "Read"),
    ]


ROLES: Mapping[Role, Callable[[Settings], list[Right]]] = {
    "topology apply": lambda settings: _of_all_topics(settings, "Create", "Describe", "AlterConfigs"),
    "topology check": lambda settings: _of_all_topics(settings, "Describe", "DescribeConfigs"),
    "consumer": _consumer,
    "actions": _actions,
    "apply": _control_writer(AUTOMATION_CATALOG),
    "apply --dry-run": _reader(AUTOMATIONS, AUTOMATION_CATALOG),
    "delete": _control_writer(),
    "export": _reader(AUTOMATIONS),
    "backtest": _backtest,
    "backtest -f": _backtest_of_a_draft,
    "explain": _explain,
    "test-action": _reader(AUTOMATIONS),
    "events tail": _reader(AUTOMATION_EVENTS),
    "results tail": _reader(ACTION_RESULTS),
    "dlq list": _reader(EVENTS_DLQ),
    "dlq redrive": _redrive,
    "simulate": lambda settings: _of_topics(settings, "Write", FLOW_RUN_STATE, AGENT_HEARTBEAT),
}
"""By the service's or command's name. Who reports runs and agents needs what ``simulate`` does."""
