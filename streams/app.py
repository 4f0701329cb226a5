"""What runs on the loop, and who watches it."""

from __future__ import annotations

from typing import Protocol

from streams.partition import Logic, Partition, Unread
from streams.store import Store

Place = tuple[str, int]
"""A topic and a partition."""


class App(Protocol):
    """Something that reads control records, and logic for each input partition.

    The loop and the test driver run it alike.
    """

    def control(self, record: Unread) -> None:
        """Takes the next control record."""

    def logic(self, topic: str, partition: int, partitions: int, store: Store) -> Logic:
        """The logic of an input partition, over its store; ``topic`` has no prefix."""


class Watcher(Protocol):
    """Who counts what the loop does."""

    def committed(self, seconds: float, partitions: dict[Place, Partition]) -> None:
        """A transaction was committed."""

    def aborted(self) -> None:
        """A transaction was aborted."""

    def rebalanced(self) -> None:
        """Partitions were given or taken."""

    def restored(self, seconds: float) -> None:
        """A partition's state was restored."""
