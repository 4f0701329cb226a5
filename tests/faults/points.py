"""A consumer that kills or freezes itself at a named point: ``python -m tests.faults.points``.

``FAULT_PLAN`` names a file. Once it holds ``<point> <n> <signal>``, the process sends itself that signal at the
n-th passing of the point from then on, and the file goes: so a test chooses the moment, and a point is passed
exactly where the code is, not about there.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from consumer.service import run
from streams.loop import Loop
from streams.takeover import Taken
from streams.transaction import GroupMember, Transaction
from topology.settings import Settings

IN_A_COMMIT = ("before-flush", "after-flush", "after-offsets", "after-commit")
IN_A_REBALANCE = ("assigned", "revoked", "given-up")
IN_A_RESTORE = ("restoring", "restored")

_passed: dict[str, int] = {}


def passing(point: str) -> None:
    """The process stands at a point."""
    plan = Path(os.environ["FAULT_PLAN"])
    try:
        named, count, number = plan.read_text().split()
    except (OSError, ValueError):  # no plan, or one that is still being written
        return
    if named != point:
        return
    _passed[point] = _passed.get(point, 0) + 1
    if _passed[point] >= int(count):
        _passed.clear()
        plan.unlink()
        os.kill(os.getpid(), getattr(signal, number))


class PointedTransaction(Transaction):
    """Names the points of a commit."""

    def flush(self) -> None:
        passing("before-flush")
        super().flush()
        passing("after-flush")

    def _send_offsets(self, offsets: list[TopicPartition], metadata: Any) -> None:
        super()._send_offsets(offsets, metadata)
        passing("after-offsets")

    def commit(self, consumer: GroupMember, offsets: list[TopicPartition]) -> None:
        super().commit(consumer, offsets)
        passing("after-commit")


class PointedLoop(Loop):
    """Names the points of a rebalance and of a restore."""

    transactions = PointedTransaction

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        super()._on_assign(consumer, partitions)
        if partitions:
            passing("assigned")

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        passing("revoked")
        super()._on_revoke(consumer, partitions)

    def _give_up(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        super()._give_up(consumer, partitions)
        passing("given-up")

    def _restore(self, busy: bool) -> None:
        if len(self._takeovers):
            passing("restoring")
        super()._restore(busy)

    def _begin(self, taken: Taken) -> None:
        super()._begin(taken)
        passing("restored")


if __name__ == "__main__":
    sys.exit(run(Settings.from_env(os.environ), accept_gap="--accept-gap" in sys.argv, loop=PointedLoop))
