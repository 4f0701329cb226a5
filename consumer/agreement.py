"""Whether the events that a topic has are those that a replay of the history decides.

Law:

1. Events are a multiset: the same id as often, with the same content but for ``detected_at``.
2. An event that only one side has is a difference, unless one side can't know it: decided only after the
   position up to which the live consumer has committed (*ahead*), or about what began before the history that
   is left (*unproven*). Those are counted apart, never as agreement.

What the topic has is remembered as digests: the events themselves are read again where they are left over.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from schemas.records import AutomationEvent

SHOWN = 1_000
"""Differences of which the events are remembered; more are only counted."""

MISSING = "missing"
UNEXPECTED = "unexpected"
TWICE = "twice"
DIFFERENT = "different"
UNREADABLE = "unreadable"

Place = tuple[int, int]
"""Partition and offset on the topic."""


class Difference(NamedTuple):
    """One event that is not on both sides alike. ``event`` is the topic's, where that has one."""

    kind: str
    event: AutomationEvent | None
    place: Place | None
    fields: tuple[str, ...] = ()
    """The fields that differ."""


class Verdict(NamedTuple):
    """How many events agree, and what does not."""

    agree: int
    ahead: int
    unproven: int
    counts: dict[str, int]
    """Differences by kind."""
    differences: list[Difference]
    """The first of them."""

    @property
    def agrees(self) -> bool:
        """Whether nothing contradicts."""
        return not self.counts


class _Decided(NamedTuple):
    event: AutomationEvent
    sure: bool
    provable: bool


class Agreement:
    """First everything that the topic has (`found`), then what the replay decides (`decided`), then what is
    left over on the topic (`left_over` for each of ``places``).
    """

    def __init__(self) -> None:
        self._found: dict[bytes, list[tuple[bytes, Place]]] = {}
        self._missing: dict[bytes, list[_Decided]] = {}
        self._matched: set[bytes] = set()
        self._agree = self._ahead = self._unproven = 0
        self._counts: dict[str, int] = {}
        self._differences: list[Difference] = []

    def found(self, event: AutomationEvent, place: Place) -> None:
        """The topic has this event."""
        self._found.setdefault(_id(event), []).append((_digest(event), place))

    def unreadable(self, place: Place) -> None:
        """The topic has something there that is no event."""
        self._differ(Difference(UNREADABLE, None, place))

    def decided(self, event: AutomationEvent, *, sure: bool, provable: bool) -> None:
        """The replay decides this event. ``sure``: the live consumer has to have decided it as well."""
        key, digest = _id(event), _digest(event)
        entries = self._found.get(key, [])
        for at, entry in enumerate(entries):
            if entry[0] == digest:
                del entries[at]
                self._agree += 1
                self._matched.add(key)
                if not entries:
                    del self._found[key]
                return
        if entries:  # perhaps the same with another content
            self._missing.setdefault(key, []).append(_Decided(event, sure, provable))
        else:
            self._lack(_Decided(event, sure, provable))

    @property
    def places(self) -> set[Place]:
        """Where the events lie that the replay did not decide."""
        return {place for entries in self._found.values() for _, place in entries}

    def left_over(self, event: AutomationEvent, place: Place, *, provable: bool) -> None:
        """The topic's event at one of ``places``; ``provable``: the history shows all that it rests on."""
        key = _id(event)
        others = self._missing.get(key)
        if others:
            other = others.pop().event
            if not others:
                del self._missing[key]
            if provable:
                self._differ(Difference(DIFFERENT, event, place, _fields(event, other)))
            else:
                self._unproven += 1
        elif provable:
            self._differ(Difference(TWICE if key in self._matched else UNEXPECTED, event, place))
        else:
            self._unproven += 1

    def verdict(self) -> Verdict:
        """The outcome, once all is told."""
        for decided in [one for several in self._missing.values() for one in several]:
            self._lack(decided)
        self._missing.clear()
        return Verdict(self._agree, self._ahead, self._unproven, self._counts, self._differences)

    def _lack(self, decided: _Decided) -> None:
        """The topic does not have it."""
        if not decided.sure:
            self._ahead += 1
        elif not decided.provable:
            self._unproven += 1
        else:
            self._differ(Difference(MISSING, decided.event, None))

    def _differ(self, difference: Difference) -> None:
        self._counts[difference.kind] = self._counts.get(difference.kind, 0) + 1
        if len(self._differences) < SHOWN:
            self._differences.append(difference)


def _id(event: AutomationEvent) -> bytes:
    return blake2b(event.id.encode(), digest_size=16).digest()


def _digest(event: AutomationEvent) -> bytes:
    return blake2b(repr(tuple(event._replace(detected_at=0))).encode("utf-8", "replace"), digest_size=16).digest()


def _fields(one: AutomationEvent, other: AutomationEvent) -> tuple[str, ...]:
    return tuple(
        name for name in AutomationEvent._fields if name != "detected_at" and getattr(one, name) != getattr(other, name)
    )
