"""How far a partition may be committed.

Law: the commit point is the offset after the last record such that it and all records before it have ended;
it never passes a record of which a delivery has not ended, and never goes back.
"""

from collections import OrderedDict


class PartitionOffsets:
    """One assignment of one partition: the records read since, and how many deliveries of each are open."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, int] = OrderedDict()
        self._after_last_read: int | None = None
        self._committed: int | None = None

    def read(self, offset: int, deliveries: int) -> None:
        """The record at ``offset``, higher than all before, was read and became so many deliveries."""
        if self._after_last_read is not None and offset < self._after_last_read:
            raise ValueError(f"offset {offset} was read after {self._after_last_read - 1}")
        self._after_last_read = offset + 1
        if deliveries:
            self._open[offset] = deliveries

    def ended(self, offset: int) -> None:
        """One delivery of the record at ``offset`` has ended. Raises ``KeyError`` if none was open."""
        left = self._open[offset] - 1
        if left:
            self._open[offset] = left
        else:
            del self._open[offset]

    def commit_point(self) -> int | None:
        """The offset to go on from after a restart; ``None`` if nothing was read yet."""
        if self._open:
            return next(iter(self._open))
        return self._after_last_read

    def uncommitted(self) -> int | None:
        """The commit point, if it has moved since the last ``committed``."""
        point = self.commit_point()
        return None if point == self._committed else point

    def committed(self, point: int) -> None:
        """``point`` was handed to the broker."""
        self._committed = point

    @property
    def open_deliveries(self) -> int:
        """Deliveries that have not ended."""
        return sum(self._open.values())
