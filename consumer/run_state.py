"""What is kept of a flow run, as the bytes that lie in the changelog.

Little-endian: a header (format, counts, last log time), then an entry for each known state, the versions of
other states, what has fired, and the body: the record of the highest version as Avro (v1, in the wire format).
The format byte lets a newer build read an older one's state.
"""

from __future__ import annotations

import struct
from functools import cache, lru_cache
from itertools import chain
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

from consumer.timing import Timing
from schemas.fast_decoder import HEADER_BYTES
from schemas.ids import uuid5_url
from schemas.states import FINISHES, WAITS
from streams.errors import newer_format

FORMAT = 1
NO_TIME = -(2**63)

MAX_LISTED = 256
"""Versions listed of a run, of known states and of others each."""

_HEADER = struct.Struct("<BxHHHqi")
_ENTRY = struct.Struct("<iHBqqq")
_new = tuple.__new__
"""Makes a named tuple of a sequence without the call and the check of its ``_make``."""
_OTHER = struct.Struct("<iH")
_FIRED = struct.Struct("<16sBqi")


class Entry(NamedTuple):
    """A record of a known state, as deadlines see it. ``scheduled_ms`` is ``NO_TIME`` where there is none."""

    version: int
    mark: int
    """Tells the state's name from another's (see `state_mark`)."""
    state_class: int
    occurred_ms: int
    log_ms: int
    scheduled_ms: int


class Other(NamedTuple):
    """A record of a state that means nothing for deadlines."""

    version: int
    mark: int


class Fired(NamedTuple):
    """A miss that fired: of this automation and kind, with this base, given by this version's record."""

    automation: bytes
    """The automation's id: 16 bytes of UUID, or what stands for another form of id."""
    kind: int
    base_ms: int
    version: int


class RunState(NamedTuple):
    """A run: entries in order of version, other states' versions, misses fired, highest version's record."""

    last_log_ms: int
    entries: tuple[Entry, ...]
    others: tuple[Other, ...]
    fired: tuple[Fired, ...]
    body: bytes
    floor: int = 0
    """Versions up to here that are not listed count as read: a run of very many states forgets the old ones."""

    def encode(self) -> bytes:
        """The changelog record's value."""
        last_log_ms, entries, others, fired, body, floor = self
        count = len(entries)
        head = _head(count).pack(
            FORMAT, count, len(others), len(fired), last_log_ms, floor, *chain.from_iterable(entries)
        )
        if not (others or fired):
            return head + body
        parts = [head]
        parts += [_OTHER.pack(*other) for other in self.others]
        parts += [_FIRED.pack(*fired) for fired in self.fired]
        parts.append(self.body)
        return b"".join(parts)

    def mark_of(self, version: int) -> int | None:
        """The mark of the state that a version was read with; None if it was not read, -1 if that's forgotten."""
        for entry in self.entries:
            if entry[0] == version:
                return entry[1]
        for other in self.others:
            if other[0] == version:
                return other[1]
        return -1 if version <= self.floor else None

    @property
    def top_version(self) -> int:
        """The highest version read; 0 before the first."""
        top = self.entries[-1].version if self.entries else 0
        return max(top, self.others[-1].version) if self.others else top

    def bounded(self) -> RunState:
        """The run with at most `MAX_LISTED` versions listed of each sort, for one that never stops changing.

        What the last attempt's deadlines count from stays; the other low versions are forgotten as records,
        but still count as read.
        """
        if len(self.entries) <= MAX_LISTED and len(self.others) <= MAX_LISTED:
            return self
        entries, others = self.entries, self.others
        floor = self.floor
        if len(entries) > MAX_LISTED:
            half = len(entries) - MAX_LISTED // 2
            floor = max(floor, entries[half - 1].version)
            start = max((i + 1 for i in range(half) if entries[i].state_class == FINISHES), default=0)
            entries = (*sorted(_bases(entries[start:half])), *entries[half:])
        if len(others) > MAX_LISTED:
            half = len(others) - MAX_LISTED // 2
            floor = max(floor, others[half - 1].version)
            others = others[half:]
        return self._replace(entries=entries, others=others, floor=floor)

    @property
    def finished(self) -> bool:
        """Whether the last attempt has finished."""
        return bool(self.entries) and self.entries[-1].state_class == FINISHES


def _bases(entries: tuple[Entry, ...]) -> set[Entry]:
    """What an attempt's deadlines count from: its first entry of each class, and what set the schedule last."""
    bases: dict[int, Entry] = {}
    scheduled: Entry | None = None
    for entry in entries:
        bases.setdefault(entry.state_class, entry)
        if entry.state_class == WAITS and (
            scheduled is None or entry.scheduled_ms not in (NO_TIME, scheduled.scheduled_ms)
        ):
            scheduled = entry
    return {*bases.values(), *([scheduled] if scheduled else ())}


@cache
def _head(entries: int) -> struct.Struct:
    """Header and so many entries as one layout: packing them at once is several times as fast."""
    return struct.Struct(_HEADER.format + _ENTRY.format[1:] * entries)


def decode(value: bytes) -> RunState:
    """Reads a run back; a newer format raises `StateError`."""
    if value[0] > FORMAT:
        raise newer_format("a run")
    _, entry_count, other_count, fired_count, last_log_ms, floor = _HEADER.unpack_from(value)
    at = _HEADER.size
    end = at + entry_count * _ENTRY.size
    entries = tuple([_new(Entry, entry) for entry in _ENTRY.iter_unpack(value[at:end])])
    if not (other_count or fired_count):
        return RunState(last_log_ms, entries, (), (), value[end:], floor)
    at, end = end, end + other_count * _OTHER.size
    others = tuple(map(Other._make, _OTHER.iter_unpack(value[at:end])))
    at, end = end, end + fired_count * _FIRED.size
    fired = tuple(map(Fired._make, _FIRED.iter_unpack(value[at:end])))
    return RunState(last_log_ms, entries, others, fired, value[end:], floor)


def expires_ms(run: RunState, timing: Timing) -> int:
    """Log time after which the run is dropped."""
    if run.finished:
        return run.last_log_ms + timing.keep_finished_ms
    scheduled_ms = max((entry.scheduled_ms for entry in run.entries), default=NO_TIME)
    return max(run.last_log_ms, scheduled_ms) + timing.keep_unfinished_ms


def run_key(tenant_id: str, flow_run_id: str) -> bytes:
    """The state's key: runs are kept by tenant and id; the length keeps the two apart."""
    return f"r{len(tenant_id)}:{tenant_id}{flow_run_id}".encode()


def tenant_of(key: bytes) -> str:
    """The tenant in a state's key."""
    colon = key.index(b":")
    return key[colon + 1 :].decode()[: int(key[1:colon])]


def flow_group_of(body: bytes) -> str:
    """The flow group in a run's body, of which nothing else is decoded: the fifth of the strings it begins with."""
    at = HEADER_BYTES
    for field in range(5):
        # A length is a zigzag varint, which for a short string is one byte.
        length, shift, more = 0, -1, 0x80
        while more:
            byte = body[at]
            more = byte & 0x80
            length |= (byte & 0x7F) << shift if shift >= 0 else (byte & 0x7F) >> 1
            shift += 7
            at += 1
        if field == 4:
            break
        at += length
    return body[at : at + length].decode()


def state_mark(state: str) -> int:
    """16 bits that tell one (case-folded) state name from another, to count conflicting duplicates."""
    return crc32(state.encode()) & 0xFFFF


@lru_cache(maxsize=10_000)
def automation_bytes(automation_id: str) -> bytes:
    """An automation's id in 16 bytes: the UUID's own, or a digest of an id of another form."""
    try:
        return UUID(automation_id).bytes
    except ValueError:
        return UUID(uuid5_url(automation_id)).bytes
