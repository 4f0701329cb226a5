"""One input partition at work: the order in which deadlines fire, records apply and progress moves.

Law (the reference, "Clocks"):

1. Progress never goes back. While records remain unread it is the log time of the last one read; at the end
   it is the broker time just before the request whose answer confirmed that end.
2. Progress never passes that of the control topic, so a record waits until the automations of its log time
   are known, all of them.
3. Whatever is due before a record's log time fires before that record is applied.

Nothing here reads a clock or talks to a broker: the Kafka loop and the test driver both feed it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from streams.errors import StateError
from streams.position import GAP_AHEAD, POSITION_KEY, Position, decode
from streams.store import Store

SLICE = 1_000
"""Deadlines fired before the loop gets to commit and to poll again."""


class Unread(NamedTuple):
    """A record of the input as the broker gave it; ``log_ms`` is its append time."""

    offset: int
    log_ms: int
    key: bytes | None
    value: bytes | None


class Output(NamedTuple):
    """A record to produce in the partition's transaction. ``topic`` has no prefix."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] | None = None


class Logic(Protocol):
    """What a partition's records mean. Time is always an argument; state lives in the `Store`."""

    out: list[Output]

    @property
    def pending(self) -> int:
        """Keys from which something is still to be derived before time can go on."""

    def apply(self, record: Unread, log_ms: int, now_ms: int) -> None:
        """Applies the next record. ``log_ms`` never goes back; ``now_ms`` is broker time.

        Raises before it changes anything, if at all; the record then comes again.
        """

    def tick(self, progress_ms: int, now_ms: int, limit: int) -> bool:
        """Fires what is due before ``progress_ms``, at most ``limit`` of it; True when nothing is left."""

    def started(self, started_ms: int, gap_ms: int, progress_ms: int) -> None:
        """State is restored: what counts from which log time on, and the progress it stands at."""

    def rolled_back(self, keys: list[bytes], progress_ms: int) -> None:
        """These keys of the store went back to what they were at ``progress_ms``: what is derived from them
        is made again.
        """


class Partition:
    """State, queue and progress of one input partition, whatever brings its records.

    ``partitions`` is how many the input has; ``owner`` the transactional id written with each position.
    """

    def __init__(self, where: str, logic: Logic, store: Store, partitions: int, owner: str) -> None:
        self.where = where
        self.logic = logic
        self.store = store
        self.queue: deque[Unread] = deque()
        self.position: Position | None = None
        self.beside: list[tuple[str, bytes]] | None = None
        """Headers to write with each position."""
        self.offset = 0
        self.progress_ms = -1
        self._log_ms = -1
        self._started_ms: int | None = None
        self._gap_ms = 0
        self._partitions = partitions
        self._owner = owner
        self._confirmed: tuple[int, int] | None = None
        self._end = 0
        self.noted = True
        """Whether a commit may do without this partition: nothing that has to be kept changed since `note`."""
        self._noted_offset = 0
        self._secured = self.note()
        """Where a rollback goes back to: the last position committed, or where work began."""

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Takes the next changelog record. Raises `StateError` on a position that does not fit."""
        if key != POSITION_KEY:
            self.store.restore(key, value)
        elif value is not None:
            self.position = decode(value)
            if self.position.partitions != self._partitions:
                raise StateError(
                    f"{self.where}: the input has {self._partitions} partitions, its changelog was written with "
                    f"{self.position.partitions}. An input's partition count is fixed for life: put it back"
                )

    def resume(self, offset: int, started_ms: int | None, gap: bool) -> None:
        """State is restored: work goes on at ``offset``.

        ``started_ms`` counts for a partition that has no position yet: the first start, or 0 for "as
        they were", or None while broker time is unknown. With a ``gap``, records before ``offset`` may have
        been missed.
        """
        position = self.position
        self.offset = offset
        self._end = offset
        if position is not None:
            self.progress_ms, self._log_ms = position.progress_ms, position.log_ms
            self._started_ms, self._gap_ms = position.started_ms, position.gap_ms
        if self._started_ms is None:
            self._started_ms = started_ms
        if gap:
            self._gap_ms = GAP_AHEAD
        self._secured = self.note()
        self.noted = False
        if self._started_ms is not None:
            self.logic.started(self._started_ms, self._gap_ms, self.progress_ms)

    @property
    def ready(self) -> bool:
        """Whether records may be applied: the instant of the first start is known."""
        return self._started_ms is not None

    def begin(self, started_ms: int) -> None:
        """Sets the instant of the first start, now that broker time is known."""
        if self._started_ms is None:
            self._started_ms = started_ms
            self.noted = False
            self.logic.started(started_ms, self._gap_ms, self.progress_ms)

    def offer(self, record: Unread) -> None:
        """A record was read from the log. Those below the position (read before a seek) are passed over."""
        if record.offset >= self._end:
            self.queue.append(record)
            self._end = record.offset + 1

    def read_to(self, offset: int) -> None:
        """Everything visible below ``offset`` has been offered."""
        self._end = max(self._end, offset)

    def confirm_end(self, high: int, asked_ms: int) -> None:
        """The leader answered: its high watermark was ``high``, asked at broker time ``asked_ms``."""
        if self._end >= high:
            self._confirmed = (self._end, asked_ms)

    @property
    def read_end(self) -> int:
        """The offset after the last record offered."""
        return self._end

    @property
    def waits_for_control_ms(self) -> int | None:
        """The log time of the next record, if there is one: control records up to it must be known."""
        return self.queue[0].log_ms if self.queue else None

    def work(self, control_ms: int, now_ms: int, limit: int = 2_000) -> bool:
        """Applies and fires what can be; ``control_ms`` is the control topic's progress, ``now_ms`` broker
        time. False: there is more to do as soon as the caller has sent what is in ``out``.
        """
        try:
            if not self._apply(control_ms, now_ms, limit):
                return False
        finally:
            self._moved()
        # A record that waits for the control topic is unread: the end is not in sight.
        return True if self.queue else self._advance(control_ms, now_ms)

    def _apply(self, control_ms: int, now_ms: int, limit: int) -> bool:
        """Applies records, firing what is due before each; False: there is more to do at once."""
        queue, logic = self.queue, self.logic
        for _ in range(limit):
            if not queue or queue[0].log_ms >= control_ms:
                return True
            record = queue[0]
            if record.log_ms > self._log_ms:
                self._pass_gap(record.log_ms)
                if not logic.tick(record.log_ms, now_ms, SLICE):
                    return False
                self._log_ms = record.log_ms
            logic.apply(record, self._log_ms, now_ms)
            queue.popleft()
            self.offset = record.offset + 1
        return not queue

    def _moved(self) -> None:
        """However far the work came, position and state are committed together."""
        self.progress_ms = max(self.progress_ms, self._log_ms)
        if self.offset != self._noted_offset or self.store.changed:
            self.noted = False

    def _advance(self, control_ms: int, now_ms: int) -> bool:
        """At the confirmed end: moves progress to the instant that the confirmation speaks for."""
        self.offset = max(self.offset, self._end)
        if self._confirmed is None or self._confirmed[0] < self._end:
            return True
        progress_ms = min(self._confirmed[1], control_ms)
        if progress_ms > self.progress_ms:
            self._pass_gap(progress_ms)
            done = self.logic.tick(progress_ms, now_ms, SLICE)
            if done:
                self.progress_ms = progress_ms
            self._moved()
            return done
        return True

    def _pass_gap(self, log_ms: int) -> None:
        """The first log time known after missed records is where the gap ends."""
        if self._gap_ms == GAP_AHEAD:
            self._gap_ms = max(log_ms, self.progress_ms + 1)
            self.noted = False
            assert self._started_ms is not None
            self.logic.started(self._started_ms, self._gap_ms, self.progress_ms)

    def note(self) -> Position:
        """The position to write with the transaction that is about to be committed."""
        self.noted, self._noted_offset = True, self.offset
        return Position(
            self.offset, self.progress_ms, self._log_ms, self._started_ms, self._gap_ms,
            self._partitions, self._owner,
        )  # fmt: skip

    def committed(self, position: Position) -> None:
        """The transaction that wrote ``position`` was committed."""
        self.position = self._secured = position
        self.store.committed()

    def rollback(self) -> int:
        """The transaction was aborted: back to the last committed position, whose offset is returned."""
        keys = list(self.store.rollback())
        self.queue.clear()
        self.logic.out.clear()
        position = self._secured
        self.offset = self._end = position.offset
        self.progress_ms, self._log_ms = position.progress_ms, position.log_ms
        self._confirmed = None
        self.noted, self._noted_offset = False, self.offset
        self.logic.rolled_back(keys, self.progress_ms)
        return position.offset
