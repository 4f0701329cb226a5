"""How far a partition may be committed, and what has ended beyond that.

Law: the commit point is the offset after the last record such that it and all records before it have ended;
it never passes a record of which a delivery has not ended. What has ended beyond it is kept with it, in the
commit's metadata, so that whoever goes on from there repeats none of it.

The metadata lists the records that have *not* ended, each with those of its deliveries that have; all others
below its ``end`` have. So its size grows with what is under way, not with how far others have got. As text:
``2;<owner>;<base 85 of varints>``, the varints being ``end`` less the commit point, then for each open record
twice its distance from the one before (of the first: from the commit point), the bits of its ended deliveries,
and, where the first was made odd, how often its deliveries were tried, in two bits each, and the HTTP status that
each was answered last, in ten. Version 1 has no statuses: it is written wherever there are none.

Law: what has ended is listed before anything else is. Where the broker's limit is too near for all, first the
statuses are left out, then the tries, and only then does the list end early: what has ended behind its end would be
repeated. So a partition that is ``pressed`` takes less of those that wait, and one that is ``full`` is not read until
more has ended. A record that was tried counts double there, as it takes up to twice the room without its statuses: of
as many as that, with up to seven deliveries each and few others between them, nothing that has ended is left out.
"""

from base64 import b85decode, b85encode
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

MOST_BYTES = 4_000
"""The broker takes 4,096 (``offset.metadata.max.bytes``)."""

PRESSED = 700
FULL = 1_400
"""Open records of one partition, those that were tried counted double: two and a half bytes of text each, as a rule."""

ALL_ENDED = -1
_STATUS = (1 << 10) - 1
STATUS_BITS = 10
MOST_TRIES = 3
"""What two bits hold: what was tried more often goes on elsewhere."""


class Position(NamedTuple):
    """What is to be committed of a partition."""

    offset: int
    metadata: str


class Resumed(NamedTuple):
    """What an earlier owner of the partition has ended beyond the commit point, and who that was."""

    owner: str = ""
    end: int = 0
    open: dict[int, tuple[int, int]] = {}  # noqa: RUF012 - never written to
    answered: dict[int, int] = {}  # noqa: RUF012 - never written to

    def ended(self, offset: int) -> int:
        """The bits of the record's deliveries that have ended; ``ALL_ENDED`` = all of them."""
        return 0 if offset >= self.end else self.open.get(offset, (ALL_ENDED, 0))[0]

    def tried(self, offset: int, place: int) -> int:
        """How often the record's delivery at this place was tried."""
        return self.open.get(offset, (0, 0))[1] >> 2 * place & MOST_TRIES

    def status(self, offset: int, place: int) -> int | None:
        """The HTTP status that the record's delivery at this place was answered last; ``None`` if there was none."""
        return self.answered.get(offset, 0) >> STATUS_BITS * place & _STATUS or None


class _Open(NamedTuple):
    """A record that has not ended: the bits of its deliveries that have, their tries and what they were answered."""

    offset: int
    ended: int
    tried: int = 0
    answered: int = 0


class PartitionOffsets:
    """One assignment of one partition: the records read since, and which deliveries of each have ended."""

    def __init__(self, resumed: Resumed | None = None) -> None:
        self.resumed = resumed or Resumed()
        self._ended: OrderedDict[int, int] = OrderedDict()
        self._left: dict[int, int] = {}
        self._tried: dict[int, int] = {}
        self._answered: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._after_last_read: int | None = None
        self._changed = False
        self.open_deliveries = 0
        self.open_bytes = 0
        self._overfull = False

    def read(self, offset: int, deliveries: int, size: int = 0) -> int:
        """The record at ``offset``, higher than all before, was read: so many deliveries, so many bytes.

        The bits of those that had ended before; they count as ended here.
        """
        if self._after_last_read is not None and offset < self._after_last_read:
            raise ValueError(f"offset {offset} was read after {self._after_last_read - 1}")
        self._after_last_read = offset + 1
        self._changed = True
        every = (1 << deliveries) - 1
        ended = self.resumed.ended(offset) & every
        left = deliveries - ended.bit_count()
        if left:
            self._ended[offset] = ended
            self._left[offset] = left
            tried = self.resumed.open.get(offset, (0, 0))[1]
            if tried:
                self._tried[offset] = tried
                self._answered[offset] = self.resumed.answered.get(offset, 0)
            self._sizes[offset] = size
            self.open_deliveries += left
            self.open_bytes += size
        return ended

    def passed(self, offset: int) -> None:
        """All records before ``offset`` were read; those that weren't are none."""
        if offset > (self._after_last_read or 0):
            self._after_last_read = offset
            self._changed = True

    def ended(self, offset: int, place: int) -> None:
        """One delivery of the record at ``offset`` has ended. Raises ``KeyError`` if the record has none open."""
        if self._ended[offset] >> place & 1:
            raise KeyError(f"delivery {place} of offset {offset} has ended before")
        self._changed = True
        self.open_deliveries -= 1
        self._left[offset] -= 1
        if self._left[offset]:
            self._ended[offset] |= 1 << place
        else:
            del self._ended[offset], self._left[offset]
            self.open_bytes -= self._sizes.pop(offset)
            self._tried.pop(offset, None)
            self._answered.pop(offset, None)

    def tried(self, offset: int, place: int, status: int | None = None) -> None:
        """One delivery of the record was tried, was answered this HTTP status, and goes on here."""
        self._changed = True
        others = self._answered.get(offset, 0) & ~(_STATUS << STATUS_BITS * place)
        self._answered[offset] = others | (status or 0) << STATUS_BITS * place
        tried = self._tried.get(offset, 0)
        if tried >> 2 * place & MOST_TRIES < MOST_TRIES:
            self._tried[offset] = tried + (1 << 2 * place)

    def moved(self) -> bool:
        """Whether there is anything to commit that the last ``position`` had not."""
        return self._changed

    def position(self, owner: str) -> Position | None:
        """The commit point and its metadata; ``None`` if nothing was read yet."""
        self._changed = False
        if self._after_last_read is None:
            return None
        point = next(iter(self._ended), self._after_last_read)
        encoded, self._overfull = _metadata(point, max(self._after_last_read, self.resumed.end), self._entries(), owner)
        return Position(point, encoded)

    def uncommitted(self) -> None:
        """The last position did not reach the broker."""
        self._changed = True

    @property
    def pressed(self) -> bool:
        """Whether much is open."""
        return self._weight >= PRESSED

    @property
    def full(self) -> bool:
        """Whether all that is open can't be told of, or soon couldn't."""
        # Of one record alone that is too long, waiting helps nothing.
        return self._weight >= FULL or (self._overfull and len(self._ended) > 1)

    @property
    def _weight(self) -> int:
        return len(self._ended) + len(self._tried)

    def _entries(self) -> list[_Open]:
        """What is open: of what was read, and of what was not read again yet."""
        tried, answered = self._tried, self._answered
        read = [_Open(at, ended, tried.get(at, 0), answered.get(at, 0)) for at, ended in self._ended.items()]
        again = self._after_last_read or 0
        resumed = self.resumed
        unread = [_Open(at, *bits, resumed.answered.get(at, 0)) for at, bits in resumed.open.items() if at >= again]
        return [*read, *sorted(unread)]


def resumed(metadata: str | None, offset: int) -> Resumed:
    """What the metadata of a commit at ``offset`` says; nothing if it isn't of this format."""
    try:
        version, owner, encoded = (metadata or "").split(";", 2)
        numbers = _numbers(b85decode(encoded))
        if version not in ("1", "2"):
            return Resumed()
        end, found, answered, at = offset + next(numbers), {}, {}, offset
        for distance in numbers:
            at += distance >> 1
            found[at] = next(numbers), next(numbers) if distance & 1 else 0
            if distance & 1 and version == "2":
                answered[at] = next(numbers)
    except (ValueError, StopIteration):
        return Resumed()
    return Resumed(owner, end, found, answered)


def _metadata(point: int, end: int, entries: list[_Open], owner: str) -> tuple[str, bool]:
    """The metadata as text, and whether more than the statuses had to be left out."""
    most = (MOST_BYTES - len(owner) - 4) // 5 * 4 - 10
    version, encoded, overfull = 1, None, False
    if any(one.answered for one in entries):
        version, encoded = 2, _fitting(point, entries, most, statuses=True)
    if encoded is None:
        version, encoded = 1, _fitting(point, entries, most)
    if encoded is None:
        overfull = True
        end, encoded = _cut(point, end, [one._replace(tried=0) for one in entries], most)
    return f"{version};{owner};{b85encode(_varint(end - point) + encoded).decode()}", overfull


def _fitting(point: int, entries: list[_Open], most: int, *, statuses: bool = False) -> bytes | None:
    """The list of what is open; ``None`` if it is too long."""
    encoded, at = bytearray(), point
    for one in entries:
        encoded += _entry(one, at, statuses=statuses)
        if len(encoded) > most:
            return None
        at = one.offset
    return bytes(encoded)


def _cut(point: int, end: int, entries: list[_Open], most: int) -> tuple[int, bytes]:
    """The list, and where it ends: at the first open record that doesn't fit, or at ``end``."""
    encoded, at = bytearray(), point
    for one in entries:
        entry = _entry(one, at)
        if len(encoded) + len(entry) > most:
            return one.offset, bytes(encoded)
        encoded += entry
        at = one.offset
    return end, bytes(encoded)


def _entry(one: _Open, at: int, *, statuses: bool = False) -> bytes:
    entry = _varint(2 * (one.offset - at) + bool(one.tried)) + _varint(one.ended)
    if one.tried:
        entry += _varint(one.tried)
        if statuses:
            entry += _varint(one.answered)
    return entry


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _numbers(encoded: bytes) -> Iterator[int]:
    """All varints of ``encoded``. Raises ``ValueError`` if the last one is cut off."""
    number, shift = 0, 0
    for byte in encoded:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("cut off")
