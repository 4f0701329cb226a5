"""What was read and has not ended, over all partitions this process has been given.

Law: a record counts only for the assignment that it was read under. What ends after its partition was taken
away changes nothing: the partition's next owner has the record too.
"""

from actions.delivery import Source
from actions.offsets import PartitionOffsets

MOST_UNDELIVERED = 1_000


class Backlog:
    """Open deliveries of the assigned partitions, and how far each partition may be committed."""

    def __init__(self, most: int = MOST_UNDELIVERED) -> None:
        self._most = most
        self._generation = 0
        self._assigned: dict[int, tuple[int, PartitionOffsets]] = {}
        self.open = 0

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partitions assigned now."""
        return tuple(self._assigned)

    def assign(self, partitions: list[int]) -> None:
        """Begin anew with these partitions."""
        self._generation += 1
        for partition in partitions:
            self._assigned[partition] = (self._generation, PartitionOffsets())

    def revoke(self, partitions: list[int]) -> None:
        """Forget these partitions and all that is open in them."""
        for partition in partitions:
            assigned = self._assigned.pop(partition, None)
            if assigned is not None:
                self.open -= assigned[1].open_deliveries

    def generation(self, partition: int) -> int | None:
        """The assignment that a record of ``partition`` read now belongs to; ``None`` if there is none."""
        assigned = self._assigned.get(partition)
        return None if assigned is None else assigned[0]

    def has_room(self, deliveries: int) -> bool:
        """Whether so many more may be held. An empty backlog takes any number, or it would never end."""
        return self.open == 0 or self.open + deliveries <= self._most

    def room(self) -> int:
        """How many more deliveries may be held."""
        return max(0, self._most - self.open)

    def read(self, source: Source, deliveries: int) -> None:
        """A record of an assigned partition was read and became so many deliveries."""
        self._assigned[source.partition][1].read(source.offset, deliveries)
        self.open += deliveries

    def holds(self, source: Source) -> bool:
        """Whether the record still counts here."""
        return self.generation(source.partition) == source.generation

    def ended(self, source: Source) -> None:
        """One delivery of the record has ended, and that is on record."""
        if self.holds(source):
            self._assigned[source.partition][1].ended(source.offset)
            self.open -= 1

    def commit_points(self) -> dict[int, int]:
        """The commit point of each partition where it has moved since ``committed``."""
        moved = {}
        for partition, (_, offsets) in self._assigned.items():
            point = offsets.uncommitted()
            if point is not None:
                moved[partition] = point
        return moved

    def committed(self, points: dict[int, int]) -> None:
        """These points were handed to the broker."""
        for partition, point in points.items():
            if partition in self._assigned:
                self._assigned[partition][1].committed(point)

    def commit_failed(self, partitions: list[int]) -> None:
        """The broker didn't take the points of these partitions: they count as uncommitted again."""
        for partition in partitions:
            if partition in self._assigned:
                self._assigned[partition][1].committed(-1)
