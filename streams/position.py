"""How far a partition's state has come: one record in its changelog, written by every transaction.

It says which input offset comes next, so that a restore can prove that state and committed offset belong
together, and it names the producer that wrote it, so that a new owner can end what a dead one left open.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from streams.errors import StateError, newer_format

POSITION_KEY = b"position"
FORMAT = 1
GAP_AHEAD = -1
"""A position's ``gap_ms`` while records were missed and none after them has been read yet."""
CHANGELOG_LOW = "changelog-low"
"""A header beside it: the changelog's first offset, as it was when the partition was taken over. Without: 0."""


class Position(NamedTuple):
    """Where a partition's state stands. Offsets count records, times are log time in ms."""

    offset: int
    """The input offset that comes next."""
    progress_ms: int
    log_ms: int
    """The greatest log time of a record read."""
    started_ms: int | None
    """Broker time of the first start: no automation counts as in force before it. None: not known yet."""
    gap_ms: int
    """Attempts armed before this log time fire only by proof."""
    partitions: int
    """How many partitions the input has: fixed for life."""
    owner: str
    """Transactional id of the producer that wrote this."""

    @property
    def gap_ends_ms(self) -> int:
        """Where the gap ends at the earliest: one that no record has ended yet lies where this stands."""
        return self.progress_ms + 1 if self.gap_ms == GAP_AHEAD else self.gap_ms

    def encode(self) -> bytes:
        """The changelog record's value."""
        return json.dumps({"format": FORMAT, **self._asdict()}, separators=(",", ":")).encode()


def decode(value: bytes) -> Position:
    """Reads a position back; a newer format raises `StateError`."""
    fields = json.loads(value)
    if fields.pop("format") > FORMAT:
        raise newer_format("the position")
    return Position(**fields)


def low_header(low: int) -> tuple[str, bytes]:
    """What is written beside a position of the changelog's first offset: so far, what it lost is accepted."""
    return CHANGELOG_LOW, str(low).encode()


def changelog_gap(
    changelog: str, made_anew: bool, low: int, headers: Sequence[tuple[str, bytes | None]] | None
) -> str | None:
    """What a changelog has lost, if anything, since the position with these ``headers`` was written.

    A compacted one keeps its beginning, so that ``low``, its first offset, moves only where records are deleted.
    """
    if made_anew:
        return f"its changelog {changelog} was deleted and made anew: state is gone"
    accepted = max((int(value) for name, value in headers or [] if name == CHANGELOG_LOW and value), default=0)
    return (
        f"the first {low} offsets of its changelog {changelog} were deleted: state is gone" if low > accepted else None
    )


class Resume(NamedTuple):
    """Where to go on reading. ``gap`` says that records before it may have been missed."""

    offset: int
    gap: bool


def resume_at(
    where: str,
    committed: int | None,
    position: Position | None,
    low: int,
    high: int,
    accept_gap: bool,
    input_anew: bool = False,
    changelog_gap: str | None = None,
) -> Resume:
    """Decides where a partition goes on, from its committed offset, its changelog's position and its log.

    ``where`` names the partition for the error. ``low`` and ``high`` are the input's first offset and high
    watermark. ``input_anew``: the position is of another topic of that name; ``changelog_gap``: what is known to
    be missing in the changelog. Raises `StateError` naming the gap, unless ``accept_gap``.
    """
    if committed is None and position is None:
        return Resume(low, gap=False)
    if input_anew and position is not None:
        gap: str | None = f"the topic was deleted and made anew since its offset {position.offset} was read"
        offset = low
    elif committed is not None and position is not None and committed != position.offset:
        raise StateError(
            f"{where}: the changelog stands at offset {position.offset}, the group's committed offset is "
            f"{committed}: they were not written together (a reset of the group's offsets?). Put the "
            f"committed offset back to {position.offset}, or delete both to start anew"
        )
    else:
        known = position.offset if position is not None else committed
        assert known is not None
        gap = changelog_gap or _gap(known, committed, position, low, high)
        offset = max(known, low) if known <= high else low
    if gap is not None and not accept_gap:
        raise StateError(f"{where}: {gap}. With --accept-gap it goes on, and what began before fires by proof only")
    return Resume(offset, gap=gap is not None)


def _gap(known: int, committed: int | None, position: Position | None, low: int, high: int) -> str | None:
    """What is missing between state, committed offset and log."""
    if committed is None:
        return f"the changelog stands at offset {known}, but the group has no committed offset (deleted or expired)"
    if position is None:
        return f"the group's committed offset is {known}, but the changelog is empty (deleted or recreated)"
    if known < low:
        return f"offsets {known} to {low - 1} are gone from the log before they were read"
    if known > high:
        return f"the committed offset {known} is beyond the log's end {high} (the topic was recreated?)"
    return None
