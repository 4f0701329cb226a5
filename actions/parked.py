"""Which deliveries that were put off are still to come, so that none of their lane goes before them.

Law: of one lane none is sent while an older one, never tried, waits elsewhere: in a retry topic, with the process
that reads it, or in the memory of the process that had put the later one off. What is known comes from the brokers
alone: the retry topics tell who was put off, and the positions of the group's members who of them has ended. So it
outlives any process. Nobody is waited for longer than ``HOLD_MS`` past the time for which it was told to come again.

Pure: time is an argument, milliseconds since 1970 as the brokers tell it; 0 as long as they haven't. How long the
brokers' answers are waited for is measured by a clock that never jumps (``clock_ms``).
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from actions.delivery import Delivery
from actions.offsets import Resumed
from actions.order import ORDERED_MS, Order, lane_key
from streams.app import Place
from topology.names import AUTOMATION_EVENTS

HOLD_MS = 300_000
"""Who hasn't been sent by so long past its time holds nobody back any more."""
SWEEP_MS = 60_000
ANSWER_MS = 60_000
"""Brokers that don't tell what is known within this time are waited for no longer."""
AT_ONCE = 2_000
"""So many records are taken in one turn of the event loop: that takes about 8 ms."""
_KEY = 4
"""So many fields of an order are its place, with its lane; others tell of neighbours."""
MOST = 100_000
"""So many are remembered. Those beyond may be overtaken."""


class Reached(NamedTuple):
    """How far a partition was committed, and what has ended beyond that."""

    point: int
    beyond: Resumed = Resumed()

    def past(self, offset: int, place: int) -> bool:
        """Whether that delivery has ended, or been tried at least."""
        if offset < self.point:
            return True
        return bool(self.beyond.ended(offset) >> place & 1 or self.beyond.tried(offset, place))


class PutOff(NamedTuple):
    """A retry record of a delivery that has a place in a lane."""

    delivery_id: str
    order: Order
    due_ms: int
    at: tuple[Place, int]


class Knowledge(NamedTuple):
    """What the brokers told. ``asked`` = all questions up to that number were asked before.

    ``reached`` is older than the newest of ``records``: so a record that follows one that has ended is known
    before that one's end is. It is empty where not all records could be read.
    """

    asked: int
    records: list[PutOff]
    reached: Mapping[Place, Reached]

    def slices(self) -> Iterator["Knowledge"]:
        """The same, in parts to be taken one after the other; the last one has what ends the reading."""
        whole = max(0, len(self.records) - 1) // AT_ONCE * AT_ONCE
        for first in range(0, whole, AT_ONCE):
            yield Knowledge(0, self.records[first : first + AT_ONCE], {})
        yield self._replace(records=self.records[whole:])


class _Entry(NamedTuple):
    """``here`` = it is in the lanes of this process.

    ``unread``: this process has put it off, and hasn't read its record yet; it was in this partition before.
    """

    order: Order
    due_ms: int
    at: tuple[tuple[Place, int], ...]
    here: bool = False
    unread: Place | None = None


class Parked:
    """What is known of those that were put off. For one event loop; ``begin`` is for the reader's thread too."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._entries: dict[str, _Entry] = {}
        self._lanes: dict[str, list[tuple[int, int, int, str]]] = {}
        self._records: defaultdict[Place, dict[int, str]] = defaultdict(dict)
        self._reached: dict[Place, Reached] = {}
        self._asked = self._begun = self._known = 0
        self._assigned: dict[Place, tuple[int, int]] = {}
        self._doubted: dict[str, int] = {}
        self._swept_ms = 0

    # What is asked of the brokers.

    @property
    def wanted(self) -> bool:
        """Whether somebody has asked since reading began last."""
        return self._asked > self._begun

    def ask(self) -> int:
        """Ask for what is known by now; ``knows`` says whether the answer has come."""
        if self._asked == self._begun:
            self._asked += 1
        return self._asked

    def follow(self, now_ms: int) -> None:
        """Ask as long as anybody is to come, and forget those who are long due. To be called often."""
        if self._entries:
            self.ask()
            self._sweep(now_ms - HOLD_MS)

    def begin(self) -> int:
        """Reading begins: what will be answered."""
        self._begun = self._asked
        return self._begun

    def knows(self, asked: int, until_ms: int, clock_ms: int) -> bool:
        """Whether all is known that there was when it was asked; nobody waits for it beyond ``until_ms``."""
        return self._known >= asked or clock_ms > until_ms

    def assigned(self, partitions: Iterable[Place], clock_ms: int) -> None:
        """Partitions of events are this process's now: what others put off of them is to be known first."""
        asked = self.ask()
        self._assigned.update((place, (asked, clock_ms + ANSWER_MS)) for place in partitions)

    def ready(self, place: Place, clock_ms: int) -> bool:
        """Whether the partition's events may be taken up."""
        asked = self._assigned.get(place)
        if asked is None:
            return True
        if not self.knows(*asked, clock_ms):
            return False
        del self._assigned[place]
        return True

    def learn(self, knowledge: Knowledge) -> None:
        """Take what the brokers told."""
        for record in knowledge.records:
            self._read(record)
        self._reached.update(knowledge.reached)
        for place, reached in knowledge.reached.items():
            self._end(place, reached)
        self._known = max(self._known, knowledge.asked)
        for delivery_id in [one for one, asked in self._doubted.items() if asked <= self._known]:
            self._never_written(delivery_id)

    # What happens here.

    def __len__(self) -> int:
        return len(self._entries)

    def put_off(
        self, delivery: Delivery, order: Order | None, held: Iterable[Delivery], now_ms: int, delay_ms: int
    ) -> Delivery:
        """The delivery that this process puts off, with its place, if it keeps that.

        ``held`` are those of its lane that are here, newest first.
        """
        if order is None or delay_ms > ORDERED_MS:
            return delivery._replace(order=None)
        due_ms = now_ms + delay_ms
        if order.after is None:
            after = next((one for one in held if _before(one, order)), None)
            if after is not None:
                order = order._replace(after=(after.source.offset, after.place), after_due_ms=due_ms)
        before = self._entries.get(delivery.id)
        source = delivery.source
        unread = source.topic, source.partition
        self._doubted.pop(delivery.id, None)
        self._enter(delivery.id, _Entry(order, due_ms, before.at if before else (), unread=unread))
        return delivery._replace(order=order)

    def came(self, delivery_id: str) -> None:
        """A delivery got into the lanes here, which keep their order themselves."""
        entry = self._entries.get(delivery_id)
        if entry is not None:
            self._entries[delivery_id] = entry._replace(here=True)

    def released(self, partitions: Collection[Place]) -> None:
        """What came from these partitions is no longer here."""
        for delivery_id, entry in self._entries.items():
            if entry.here:
                origin = AUTOMATION_EVENTS, entry.order.partition
                if origin in partitions or any(place in partitions for place, _ in entry.at):
                    self._entries[delivery_id] = entry._replace(here=False)

    def unwritten(self, partitions: Collection[Place]) -> None:
        """What was put off of these partitions may not have been committed: what isn't read soon was not."""
        asked = self.ask()
        self._doubted.update((one, asked) for one, entry in self._entries.items() if entry.unread in partitions)

    def behind(self, delivery_id: str, order: Order, now_ms: int) -> int | None:
        """When the one is or was due that is to go before this delivery; ``None`` if it may go."""
        lane = self._lanes.get(order.lane, ())
        for number in range(bisect_left(lane, (order.partition, order.offset, order.place, "")) - 1, -1, -1):
            partition, _, _, older_id = lane[number]
            if partition != order.partition:
                break
            older = self._entries[older_id]
            if not older.here and older_id != delivery_id and now_ms < older.due_ms + HOLD_MS:
                return older.due_ms
        if order.after is not None and now_ms < order.after_due_ms + HOLD_MS:
            reached = self._reached.get((AUTOMATION_EVENTS, order.partition))
            if reached is None or not reached.past(*order.after):
                return order.after_due_ms
        return None

    def _read(self, record: PutOff) -> None:
        place, offset = record.at
        entry = self._entries.get(record.delivery_id)
        # Of records that a transaction wrote in vain, only the group's position tells: all are kept.
        at = (*(entry.at if entry else ()), record.at)
        due_ms = max(record.due_ms, entry.due_ms) if entry and not entry.unread else record.due_ms
        if self._enter(record.delivery_id, _Entry(record.order, due_ms, at)):
            self._records[place][offset] = record.delivery_id

    def _enter(self, delivery_id: str, entry: _Entry) -> bool:
        before = self._entries.get(delivery_id)
        known = before is not None and before.order[:_KEY] == entry.order[:_KEY]
        if before is not None and not known:
            # Its records still tell when it has ended.
            self._forget(delivery_id)
        if before is None and len(self._entries) >= self._most:
            self._sweep(entry.due_ms - ORDERED_MS - HOLD_MS)
            if len(self._entries) >= self._most:
                return False
        self._entries[delivery_id] = entry
        if not known:
            insort(self._lanes.setdefault(entry.order.lane, []), _in_lane(entry.order, delivery_id))
        return True

    def _sweep(self, before_ms: int) -> None:
        """Forget those that were due before: nobody waits for them."""
        if before_ms < self._swept_ms + SWEEP_MS:
            return
        self._swept_ms = before_ms
        for delivery_id, entry in list(self._entries.items()):
            if entry.due_ms < before_ms:
                for place, offset in entry.at:
                    self._records[place].pop(offset, None)
                self._forget(delivery_id)

    def _end(self, place: Place, reached: Reached) -> None:
        """Forget those of a retry topic's partition that have ended or been tried."""
        records = self._records.get(place)
        if not records:
            return
        ended = []
        most = max(reached.point, reached.beyond.end)
        for offset in records:
            if offset >= most:
                break
            if reached.past(offset, 0):
                ended.append(offset)
        for offset in ended:
            self._remove(records.pop(offset), (place, offset))

    def _remove(self, delivery_id: str, at: tuple[Place, int]) -> None:
        entry = self._entries[delivery_id]
        left = tuple(one for one in entry.at if one != at)
        if left or entry.unread:
            self._entries[delivery_id] = entry._replace(at=left)
        else:
            self._forget(delivery_id)

    def _never_written(self, delivery_id: str) -> None:
        del self._doubted[delivery_id]
        entry = self._entries.get(delivery_id)
        if entry is not None and entry.unread and entry.at:
            self._entries[delivery_id] = entry._replace(unread=None)
        elif entry is not None and entry.unread:
            self._forget(delivery_id)

    def _forget(self, delivery_id: str) -> None:
        order = self._entries.pop(delivery_id).order
        lane = self._lanes[order.lane]
        del lane[bisect_left(lane, _in_lane(order, delivery_id))]
        if not lane:
            del self._lanes[order.lane]


def _in_lane(order: Order, delivery_id: str) -> tuple[int, int, int, str]:
    """What a lane is sorted by."""
    return order.partition, order.offset, order.place, delivery_id


def _before(one: Delivery, order: Order) -> bool:
    """Whether it is an older one that no retry record tells of, and was never tried."""
    source = one.source
    place = source.topic, source.partition
    return (
        place == (AUTOMATION_EVENTS, order.partition)
        and one.attempt == 1
        and (source.offset, one.place) < (order.offset, order.place)
    )


def place_of(delivery: Delivery, destination: str, subject: str) -> Order | None:
    """Its place in its lane; ``None`` if it has none: it was tried, or redriven, or has lost it."""
    if delivery.order is not None or delivery.attempt > 1:
        return delivery.order if delivery.attempt == 1 else None
    source = delivery.source
    if source.topic != AUTOMATION_EVENTS:
        return None
    return Order(lane_key(destination, subject), source.partition, source.offset, delivery.place)
