"""What was read and has not ended, over all partitions this process has been given.

Law: a record counts only for the assignment that it was read under. What ends after its partition was taken
away changes nothing: the partition's next owner has the record too.
"""

from collections.abc import Collection, Iterable, Mapping

from actions.delivery import Delivery, Source
from actions.offsets import PartitionOffsets, Position, Resumed
from streams.app import Place


class Backlog:
    """Open deliveries of the assigned partitions, and how far each partition may be committed."""

    def __init__(self) -> None:
        self._generation = 0
        self._assigned: dict[Place, tuple[int, PartitionOffsets]] = {}
        self._open: dict[str, tuple[int, int]] = {}

    @property
    def partitions(self) -> tuple[Place, ...]:
        """The partitions assigned now."""
        return tuple(self._assigned)

    def assign(self, partitions: Mapping[Place, Resumed]) -> None:
        """Begin anew with these partitions, each from where its last owner left it."""
        self._generation += 1
        for place, resumed in partitions.items():
            self._assigned[place] = (self._generation, PartitionOffsets(resumed))

    def revoke(self, partitions: Iterable[Place]) -> None:
        """Forget these partitions and all that is open in them."""
        for place in partitions:
            assigned = self._assigned.pop(place, None)
            if assigned is not None:
                self._count(place[0], -assigned[1].open_deliveries, -assigned[1].open_bytes)

    def generation(self, place: Place) -> int | None:
        """The assignment that a record of this partition read now belongs to; ``None`` if there is none."""
        assigned = self._assigned.get(place)
        return None if assigned is None else assigned[0]

    def read(self, source: Source, found: list[Delivery]) -> list[Delivery]:
        """A record of an assigned partition was read; those of its deliveries that had not ended before."""
        offsets = self._assigned[source.topic, source.partition][1]
        before = offsets.open_deliveries, offsets.open_bytes
        ended = offsets.read(source.offset, len(found), len(source.value))
        self._count(source.topic, offsets.open_deliveries - before[0], offsets.open_bytes - before[1])
        left = [delivery for delivery in found if not ended >> delivery.place & 1]
        if source.offset not in offsets.resumed.open:
            return left
        return [_tried(delivery, offsets.resumed) for delivery in left]

    def passed(self, place: Place, offset: int) -> None:
        """Before this offset of an assigned partition are no records that were not read."""
        if place in self._assigned:
            self._assigned[place][1].passed(offset)

    def open(self, topics: Collection[str]) -> tuple[int, int]:
        """Deliveries of these topics that have not ended, and the bytes of their records."""
        deliveries = size = 0
        for topic in topics:
            held = self._open.get(topic, (0, 0))
            deliveries += held[0]
            size += held[1]
        return deliveries, size

    def _count(self, topic: str, deliveries: int, size: int) -> None:
        before = self._open.get(topic, (0, 0))
        self._open[topic] = before[0] + deliveries, before[1] + size

    def holds(self, source: Source) -> bool:
        """Whether the record still counts here."""
        return self.generation((source.topic, source.partition)) == source.generation

    def ended(self, delivery: Delivery) -> None:
        """The delivery has ended, and what is to be written of it is in the same commit."""
        source = delivery.source
        if self.holds(source):
            offsets = self._assigned[source.topic, source.partition][1]
            before = offsets.open_deliveries, offsets.open_bytes
            offsets.ended(source.offset, delivery.place)
            self._count(source.topic, offsets.open_deliveries - before[0], offsets.open_bytes - before[1])

    def tried(self, delivery: Delivery) -> None:
        """The delivery was tried, with this status, and goes on here, and its result is in the same commit."""
        source = delivery.source
        if self.holds(source):
            self._assigned[source.topic, source.partition][1].tried(source.offset, delivery.place, delivery.http_status)

    def positions(self, owner: str) -> dict[Place, Position]:
        """What is to be committed of each partition that has moved."""
        found = {}
        for place, (_, offsets) in self._assigned.items():
            if offsets.moved():
                position = offsets.position(owner)
                if position is not None:
                    found[place] = position
        return found

    def uncommitted(self, partitions: Iterable[Place]) -> None:
        """The broker didn't take the positions of these partitions."""
        for place in partitions:
            if place in self._assigned:
                self._assigned[place][1].uncommitted()

    def pressed(self, place: Place) -> bool:
        """Whether much of this partition is open, so that less of it should wait in memory."""
        return place in self._assigned and self._assigned[place][1].pressed

    def full(self, place: Place) -> bool:
        """Whether no more of this partition should be read for now."""
        return place in self._assigned and self._assigned[place][1].full


def _tried(delivery: Delivery, resumed: Resumed) -> Delivery:
    offset, place = delivery.source.offset, delivery.place
    tries, status = resumed.tried(offset, place), resumed.status(offset, place)
    return delivery._replace(attempt=delivery.attempt + tries, tries=tries, http_status=status or delivery.http_status)
