"""Consumers broken on purpose, to see that the campaign notices: ``python -m tests.faults.sabotage NAME``.

Each replaces one piece of the implementation and runs the service. A checker that passes these proves nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from consumer import run_state, service
from streams import broker_time, clients, loop, partition, transaction
from streams.position import POSITION_KEY
from topology.settings import Settings

if TYPE_CHECKING:
    from tests.faults.campaign import Plan

CLOCK_WRONG_MS = 60_000
LEFT_OUT = 50
"""Runs that a short restore leaves out of each partition."""
SECONDS = 60.0
"""What is broken this badly shows within a minute of faults."""


def offsets_first(settings: Settings) -> None:
    """Offsets are committed on their own, before the records that they stand for."""

    def commit(self: Any, consumer: Any, offsets: list[TopicPartition]) -> None:
        if offsets:
            consumer.commit(offsets=offsets, asynchronous=False)
        self.flush()
        self._call(self._producer.commit_transaction)
        self.open = False

    transaction.Transaction.commit = commit  # type: ignore[method-assign]


def no_fencing(settings: Settings) -> None:
    """Offsets are committed in the name of nobody, and no producer is shut out: who was declared dead can commit.

    What is produced leaves the process with the commit only: so a pause finds it there, and no transaction that has
    begun on the brokers makes a successor wait for it.
    """
    nobody = Consumer({"bootstrap.servers": settings.bootstrap_servers, "group.id": settings.consumer_group})

    class Nobody:
        def consumer_group_metadata(self) -> Any:
            return nobody.consumer_group_metadata()

    true = transaction.Transaction.commit

    def commit(self: Any, consumer: Any, offsets: list[TopicPartition]) -> None:
        true(self, Nobody(), offsets)

    transaction.Transaction.commit = commit  # type: ignore[method-assign]
    usual = clients.transactional_producer
    late = {"linger.ms": 3_000}
    clients.transactional_producer = lambda settings, transactional_id: {**usual(settings, transactional_id), **late}
    loop.end_predecessor = lambda config, transactional_id, logger=None: None  # type: ignore[attr-defined]


def short_restore(settings: Settings) -> None:
    """A restore leaves out the changelog's last runs."""
    true = partition.Partition.restore
    seen: dict[int, list[tuple[bytes, bytes | None]]] = {}

    def restore(self: Any, key: bytes, value: bytes | None) -> None:
        if key == POSITION_KEY:
            true(self, key, value)
            return
        waiting = seen.setdefault(id(self), [])
        waiting.append((key, value))
        if len(waiting) > LEFT_OUT:
            true(self, *waiting.pop(0))

    partition.Partition.restore = restore  # type: ignore[method-assign]


def host_clock(settings: Settings) -> None:
    """Progress goes by the host's clock, which is wrong."""

    def at(self: Any, monotonic_ms: int) -> int | None:
        return time.time_ns() // 1_000_000 + CLOCK_WRONG_MS

    broker_time.BrokerTime.at = at  # type: ignore[method-assign]


def no_version_check(settings: Settings) -> None:
    """A second record of a version is applied again."""
    run_state.RunState.mark_of = lambda self, version: None  # type: ignore[method-assign]


class Kind(NamedTuple):
    """A sabotage, and the faults that bring it to light."""

    apply: Callable[[Settings], None]
    faults: tuple[str, ...]


KINDS: Mapping[str, Kind] = {
    "offsets-first": Kind(offsets_first, ("kill a consumer", "kill all consumers")),
    "no-fencing": Kind(no_fencing, ("pause a consumer",)),
    "short-restore": Kind(short_restore, ("kill a consumer", "kill all consumers")),
    "host-clock": Kind(host_clock, ("change automations",)),
    "no-version-check": Kind(no_version_check, ("change automations",)),
}


def plan(usual: Plan, name: str) -> Plan:
    """The campaign that has to fail with this sabotage."""
    return usual._replace(
        kinds=KINDS[name].faults,
        module=("tests.faults.sabotage", name),
        seconds=min(usual.seconds, SECONDS),
        partitions=4,
        consumers=2,
        runners=1,
    )


def main() -> int:
    settings = Settings.from_env(os.environ)
    KINDS[sys.argv[1]].apply(settings)
    return service.run(settings)


if __name__ == "__main__":
    sys.exit(main())
