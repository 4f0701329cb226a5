"""What a run's records, taken in order of version, show: its attempts and the deadlines they arm and meet.

Law (the reference, "Flow SLA"):

1. An attempt begins with the run's first record and with the first unfinished record after a finished one.
2. SCHEDULED_NOT_STARTED is armed by the attempt's first waiting record, unless a lower version started it;
   base = the later of its schedule time, if any, and when it occurred. A later waiting record before any
   start with another schedule time meets it and arms a new one. A state that starts or finishes meets it.
3. STARTED_NOT_FINISHED is armed by the attempt's first Running; base = when that occurred. A state that
   finishes meets it.
4. A deadline counts from the later of the base and the log time of the arming record; for
   STARTED_NOT_FINISHED from the earliest log time of the attempt's Running records.
5. Of several records that meet a deadline one in time is enough: no reading of them makes a run late that
   was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consumer.run_state import NO_TIME, Entry
from schemas.records import SCHEDULED_NOT_STARTED, STARTED_NOT_FINISHED
from schemas.states import FINISHES, RUNS, WAITS

NOT_STARTED, NOT_FINISHED = 0, 1
KINDS = (SCHEDULED_NOT_STARTED, STARTED_NOT_FINISHED)
"""Names of the kinds, by number."""

NEVER = 2**63 - 1


class Armed(NamedTuple):
    """A deadline that a run's records arm, whatever the durations; all times in log-time ms."""

    kind: int
    base_ms: int
    from_ms: int
    """What the deadline's duration counts from; at least ``base_ms``."""
    log_ms: int
    """Log time of the record that armed it."""
    version: int
    """Of the record that gave the base."""
    first_version: int
    last_version: int
    """The attempt's versions."""
    met_log_ms: int
    """Earliest log time of a record that meets it, or ``NEVER``."""
    met_ms: int
    """Earliest instant at which such a record occurred, or ``NEVER``."""
    met_version: int
    """Of the record that occurred then; 0 where none meets it."""


class _Open:
    """A deadline while its attempt's records are gone through."""

    __slots__ = ("base_ms", "from_ms", "kind", "log_ms", "met_log_ms", "met_ms", "met_version", "version")

    def __init__(self, kind: int, base_ms: int, entry: Entry) -> None:
        self.kind = kind
        self.base_ms = base_ms
        self.log_ms = log_ms = entry.log_ms
        self.from_ms = log_ms if log_ms > base_ms else base_ms
        self.version = entry.version
        self.met_log_ms = self.met_ms = NEVER
        self.met_version = 0

    def meet(self, entry: Entry) -> None:
        self.met_log_ms = min(self.met_log_ms, entry.log_ms)
        if entry.occurred_ms < self.met_ms:
            self.met_ms, self.met_version = entry.occurred_ms, entry.version


def armed(entries: Sequence[Entry]) -> list[Armed]:
    """Every deadline that ``entries`` (in order of version) arm, met or not."""
    deadlines: list[Armed] = []
    start = 0
    finished = False
    for index, entry in enumerate(entries):
        finishes = entry.state_class == FINISHES
        if finished and not finishes:
            _attempt(entries[start:index], deadlines)
            start = index
        finished = finishes
    if entries:
        _attempt(entries[start:] if start else entries, deadlines)
    return deadlines


def _attempt(entries: Sequence[Entry], deadlines: list[Armed]) -> None:
    """Adds the deadlines of one attempt."""
    opened: list[_Open] = []
    waiting: _Open | None = None
    running: _Open | None = None
    scheduled_ms = NO_TIME
    started = False
    for entry in entries:
        state_class = entry.state_class
        if state_class == WAITS:
            if started:
                continue
            again = waiting is not None and entry.scheduled_ms not in (NO_TIME, scheduled_ms)
            if waiting is None or again:
                if waiting is not None:
                    for deadline in opened:
                        deadline.meet(entry)
                scheduled_ms = entry.scheduled_ms
                waiting = _Open(NOT_STARTED, max(scheduled_ms, entry.occurred_ms), entry)
                opened.append(waiting)
            continue
        for deadline in opened:
            if deadline.kind == NOT_STARTED or state_class == FINISHES:
                deadline.meet(entry)
        started = True
        if state_class == RUNS:
            if running is None:
                running = _Open(NOT_FINISHED, entry.occurred_ms, entry)
                opened.append(running)
            elif entry.log_ms < running.log_ms:
                running.log_ms = entry.log_ms
                running.from_ms = max(running.base_ms, entry.log_ms)
    first, last = entries[0].version, entries[-1].version
    deadlines += [
        Armed(o.kind, o.base_ms, o.from_ms, o.log_ms, o.version, first, last, o.met_log_ms, o.met_ms, o.met_version)
        for o in opened
    ]
