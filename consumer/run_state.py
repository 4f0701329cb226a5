"""What is kept of a flow run, as the bytes that lie in the changelog.

Little-endian: a header (format, counts, last log time), then an entry for each known state, the versions of
other states, what has fired, and the body: the record of the highest version as Avro (v1, without prefix).
The format byte lets a newer build read an older one's state.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

from schemas.ids import uuid5_url
from schemas.states import FINISHES, RUNS, STARTS, WAITS

FORMAT = 1
NO_TIME = -(2**63)

MAX_LISTED = 256
"""Versions listed of a run, of known states and of others each."""

_HEADER = struct.Struct("<BxHHHqi")
_ENTRY = struct.Struct("<iHBqqq")
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
        counts = (len(self.entries), len(self.others), len(self.fired))
        parts = [_HEADER.pack(FORMAT, *counts, self.last_log_ms, self.floor)]
        parts += [_ENTRY.pack(*entry) for entry in self.entries]
        parts += [_OTHER.pack(*other) for other in self.others]
        parts += [_FIRED.pack(*fired) for fired in self.fired]
        parts.append(self.body)
        return b"".join(parts)

    def mark_of(self, version: int) -> int | None:
        """The mark of the state that a version was read with; None if it was not read, -1 if that's forgotten."""
        for entry in self.entries:
            if entry.version == version:
                return entry.mark
        for other in self.others:
            if other.version == version:
                return other.mark
        return -1 if version <= self.floor else None

    @property
    def top_version(self) -> int:
        """The highest version read; 0 before the first."""
        return max((records[-1].version for records in (self.entries, self.others) if records), default=0)

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
            bases = [
                next((e for e in entries[start:half] if e.state_class == c), None)
                for c in (WAITS, STARTS, RUNS)
            ]
            entries = (*sorted(e for e in bases if e is not None), *entries[half:])
        if len(others) > MAX_LISTED:
            half = len(others) - MAX_LISTED // 2
            floor = max(floor, others[half - 1].version)
            others = others[half:]
        return self._replace(entries=entries, others=others, floor=floor)

    @property
    def finished(self) -> bool:
        """Whether the last attempt has finished."""
        return bool(self.entries) and self.entries[-1].state_class == FINISHES


def decode(value: bytes) -> RunState:
    """Reads a run back."""
    _, entry_count, other_count, fired_count, last_log_ms, floor = _HEADER.unpack_from(value)
    at = _HEADER.size
    end = at + entry_count * _ENTRY.size
    entries = tuple(map(Entry._make, _ENTRY.iter_unpack(value[at:end])))
    if not (other_count or fired_count):
        return RunState(last_log_ms, entries, (), (), value[end:], floor)
    at, end = end, end + other_count * _OTHER.size
    others = tuple(map(Other._make, _OTHER.iter_unpack(value[at:end])))
    at, end = end, end + fired_count * _FIRED.size
    fired = tuple(map(Fired._make, _FIRED.iter_unpack(value[at:end])))
    return RunState(last_log_ms, entries, others, fired, value[end:], floor)


def run_key(tenant_id: str, flow_run_id: str) -> bytes:
    """The state's key: runs are kept by tenant and id; the length keeps the two apart."""
    return f"r{len(tenant_id)}:{tenant_id}{flow_run_id}".encode()


def tenant_of(key: bytes) -> str:
    """The tenant in a state's key."""
    head, _, rest = key.partition(b":")
    return rest.decode()[: int(head[1:])]


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
