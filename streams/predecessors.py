"""Ending what earlier owners of a partition have left open, so that nobody waits for their transaction timeout.

The transactional id of whoever wrote last is in the changelog's position record. Who is no member of the group
any more is shut out at once; a member may be committing at this moment, and is given some time first. Shutting
out a producer that is not dead is safe: it makes new clients and takes part again.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.app import Place
from streams.asking import Asked, Errand
from streams.errors import StreamError
from streams.group import members_in
from streams.position import POSITION_KEY, decode

log = structlog.get_logger()

PATIENCE_S = 2.0
"""How long a living producer may hold an end back: markers take a moment to be written."""
PEEK_AFTER_S = 0.5
"""How long after the last one was shut out another is looked for."""
FRESH_S = 1.0
"""How old an answer about who is a member may be."""
TRY_AGAIN_S = 2.0
"""After somebody could not be shut out."""
BATCH = 5_000
PEEK_S = 2.0

Span = tuple[int, int]
"""Offsets of a changelog, from and to (not included)."""


class Predecessors:
    """Knows which owners are gone, and ends what they have open.

    ``ids`` are what all transactional ids of the group begin with, and this process's own. ``end_transaction``
    is given one, and blocks. ``clock`` counts seconds.
    """

    def __init__(
        self,
        ask_members: Callable[[], Asked[str]],
        ids: tuple[str, str],
        peek: Callable[[Place, Span], list[bytes]],
        end_transaction: Callable[[str], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._ask_members = ask_members
        self._stem, self._own_id = ids
        self._peek = peek
        self._end_transaction = end_transaction
        self._clock = clock
        self._asked: Asked[str] | None = None
        self._members: frozenset[str] = frozenset()
        self._heard_s = clock() - FRESH_S
        self._wanted: dict[str, str] = {}
        """Who is to be ended if gone, and where: until who is a member was asked since."""
        self._ending: dict[str, tuple[str, Errand[None]]] = {}
        self._ended: dict[str, float] = {}
        """Who was shut out, and when."""
        self._again: dict[str, float] = {}
        """Who could not be shut out, and when that is tried again."""
        self._peeking: dict[tuple[Place, int], Errand[list[bytes]]] = {}
        self._peeked_s: dict[Place, float] = {}

    def look(self) -> None:
        """Partitions were given: finds out who is a member now."""
        self._ended.clear()
        self._again.clear()
        self._peeking.clear()
        self._asked = self._ask_members()

    def poll(self) -> None:
        """Takes the answers that have come."""
        if self._asked is not None and self._asked.answered:
            asked, self._asked, self._heard_s = self._asked, None, self._clock()
            try:
                self._members = members_in(asked.answer())
            except KafkaException as error:
                self._members = frozenset()
                log.warning("who is a member of the group is not known", problem=str(error))
        for owner, (where, errand) in list(self._ending.items()):
            if errand.done:
                del self._ending[owner]
                try:
                    errand.result()
                    self._ended[owner] = self._clock()
                except (StreamError, KafkaException) as error:
                    self._again[owner] = self._clock() + TRY_AGAIN_S
                    self._wanted[owner] = where
                    log.warning("an earlier owner could not be shut out", producer=owner, problem=str(error))
        self._judge()

    @property
    def busy(self) -> bool:
        """Whether something is under way on a thread of its own."""
        ended = all(errand.done for _, errand in self._ending.values())
        return not ended or not all(errand.done for errand in self._peeking.values())

    def end_if_gone(self, where: str, owner: str) -> None:
        """Ends what ``owner`` may have open, if it is no member any more."""
        if owner != self._own_id and owner not in self._ending and owner not in self._ended:
            self._wanted[owner] = where
            self._judge()

    def end(self, where: str, owner: str | None, changelog: Place, span: Span, waited_s: float) -> None:
        """Ends what has held a changelog's end back for ``waited_s``: over ``span`` lies what is open.

        ``owner`` wrote its last committed position. Called again and again while it lasts.
        """
        if owner is not None:
            self.end_if_gone(where, owner)
        if self._ending or self._asked is not None:
            return
        now_s, ended_s = self._clock(), self._ended.get(owner or "")
        if waited_s < PATIENCE_S and (ended_s is None or now_s - ended_s < PEEK_AFTER_S):
            return
        # Where what is open begins: as long as that stays, it is the same that holds the end back.
        key = (changelog, span[0])
        peeking = self._peeking.get(key)
        if peeking is None:
            if now_s - self._peeked_s.get(changelog, now_s - PEEK_AFTER_S) >= PEEK_AFTER_S:
                self._peeking[key] = Errand(lambda: self._peek(changelog, span))
        elif peeking.done:
            del self._peeking[key]
            self._peeked_s[changelog] = now_s
            try:
                owners: set[str | None] = {decode(value).owner for value in peeking.result()}
            except KafkaException as error:
                log.warning("what holds a changelog's end back is not known", partition=where, problem=str(error))
                return
            for found in owners or {owner}:
                if found is not None and waited_s > PATIENCE_S:
                    self._shut_out(where, found)
                elif found is not None:
                    self.end_if_gone(where, found)

    def _judge(self) -> None:
        """Shuts out who is wanted and gone, by an answer of just now: a member that was gone may be back."""
        now_s = self._clock()
        due = [owner for owner in self._wanted if self._again.get(owner, now_s) <= now_s]
        if not due or self._asked is not None:
            return
        if now_s - self._heard_s >= FRESH_S:
            self._asked = self._ask_members()
        elif self._own_id in self._members:
            for owner in due:
                where = self._wanted.pop(owner)
                if is_gone(owner, self._members, self._own_id, self._stem):
                    self._shut_out(where, owner)

    def _shut_out(self, where: str, owner: str) -> None:
        waits = self._clock() < self._again.get(owner, 0.0)
        if waits or owner in self._ending or owner in self._ended or owner == self._own_id:
            return
        log.info("ending what an earlier owner left open", partition=where, producer=owner)
        self._wanted.pop(owner, None)
        self._ending[owner] = where, Errand(lambda: self._end_transaction(owner))


def is_gone(owner: str, members: frozenset[str], own_id: str, stem: str) -> bool:
    """Whether the owner of a transactional id is surely no member of the group any more.

    It is not sure while this process is not among the ``members`` itself, or some have a ``client.id`` without
    the ``stem`` of all transactional ids: those of a build whose members are named in another way.
    """
    if owner == own_id or owner in members:
        return False
    return own_id in members and all(member.startswith(stem) for member in members)


def peek_positions(config: dict[str, Any], changelog: Place, span: Span) -> list[bytes]:
    """Positions between two offsets of a changelog, whether their transactions were committed or not."""
    start, end = span
    reader = Consumer({**config, "isolation.level": "read_uncommitted"})
    found = []
    try:
        reader.assign([TopicPartition(*changelog, start)])
        at, give_up_s = start, monotonic() + PEEK_S
        while at < end and monotonic() < give_up_s:
            for message in reader.consume(BATCH, 0.1):
                at = max(at, (message.offset() or 0) + (message.error() is None))
                if message.error() is None and message.key() == POSITION_KEY:
                    value = message.value()
                    if value is not None:
                        found.append(value)
    finally:
        reader.close()
    return found
