"""Whose transactions a new owner ends at once: those of who is surely gone."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from streams.app import Place
from streams.asking import Asked
from streams.errors import Lost
from streams.position import Position
from streams.predecessors import PATIENCE_S, PEEK_AFTER_S, TRY_AGAIN_S, Predecessors, Span, is_gone
from tests.kafka.consumer_process import until

STEM = "p-group-"
OWN, OTHER, DEAD = "p-group-b", "p-group-c", "p-group-a"


def test_an_owner_that_is_no_member_any_more_is_gone() -> None:
    assert is_gone(DEAD, frozenset({OWN, OTHER}), OWN, STEM)


def test_a_member_is_not_gone_nor_is_the_process_itself() -> None:
    members = frozenset({OWN, OTHER})
    assert not is_gone(OTHER, members, OWN, STEM)
    assert not is_gone(OWN, frozenset(), OWN, STEM)


def test_nobody_counts_as_gone_by_a_list_of_members_that_can_not_be_the_present_one() -> None:
    """The asking process is a member itself: where it is missing, the answer is of another time."""
    assert not is_gone(DEAD, frozenset({OTHER}), OWN, STEM)


def test_nobody_counts_as_gone_while_members_have_names_that_say_nothing() -> None:
    """In the middle of an upgrade an older build's member may be the owner."""
    assert not is_gone(DEAD, frozenset({OWN, "automations-consumer-4711"}), OWN, STEM)


class Group:
    """A group's members and what is known of them, on a clock that the test moves."""

    def __init__(self, *members: str) -> None:
        self.now_s = 100.0
        self.members = list(members)
        self.asked: list[Future[Any]] = []
        self.shut_out: list[str] = []
        self.fails: list[str] = []
        self.peeks: list[Span] = []
        self.peeked: list[bytes] | KafkaException = []
        ids = (STEM, OWN)
        self.predecessors = Predecessors(self._ask, ids, self._peek, self._end, lambda: self.now_s)

    def told(self) -> None:
        """The coordinator answers all that it was asked, and what was to be done on threads is done."""
        for future in self.asked:
            future.set_result(SimpleNamespace(members=[SimpleNamespace(client_id=member) for member in self.members]))
        self.asked.clear()
        self.predecessors.poll()
        until(lambda: not self.predecessors.busy, 5, "the errands are done")
        self.predecessors.poll()

    def held_back(self, waited_s: float, owner: str | None = None, span: Span = (5, 9)) -> None:
        self.predecessors.end("runs [0]", owner, ("runs-changelog", 0), span, waited_s)
        until(lambda: not self.predecessors.busy, 5, "the errands are done")

    def _ask(self) -> Asked[str]:
        self.asked.append(Future())
        return Asked({"group": self.asked[-1]})

    def _peek(self, changelog: Place, span: Span) -> list[bytes]:
        self.peeks.append(span)
        if isinstance(self.peeked, KafkaException):
            raise self.peeked
        return self.peeked

    def _end(self, owner: str) -> None:
        self.shut_out.append(owner)
        if owner in self.fails:
            raise Lost("no coordinator")


def test_who_is_back_since_the_members_were_asked_for_is_left_alone() -> None:
    """Killed, started again with the same INSTANCE_ID, and at work while others still restore."""
    group = Group(OWN)
    group.predecessors.look()
    group.told()
    group.now_s += 5
    group.members.append(DEAD)
    group.predecessors.end_if_gone("runs [0]", DEAD)
    assert (group.shut_out, len(group.asked)) == ([], 1)
    group.told()
    assert group.shut_out == []


def test_who_is_gone_is_ended_once_that_is_known() -> None:
    """Also when the partition was restored before the answer came."""
    group = Group(OWN, OTHER)
    group.predecessors.look()
    for _ in range(3):
        group.predecessors.end_if_gone("runs [0]", DEAD)
        group.predecessors.end_if_gone("runs [0]", OTHER)
    assert group.shut_out == []
    group.told()
    group.predecessors.end_if_gone("runs [0]", DEAD)
    group.told()
    assert group.shut_out == [DEAD]


def test_an_end_that_failed_is_tried_again_a_moment_later() -> None:
    group = Group(OWN)
    group.fails.append(DEAD)
    group.predecessors.look()
    group.predecessors.end_if_gone("runs [0]", DEAD)
    group.told()
    group.told()
    assert group.shut_out == [DEAD]
    group.fails.clear()
    for _ in range(4):
        group.now_s += TRY_AGAIN_S / 2
        group.told()
        group.told()
    assert group.shut_out == [DEAD, DEAD]


def test_what_holds_an_end_back_is_looked_for_twice_a_second_at_most_and_a_failure_is_no_end() -> None:
    group = Group(OWN)
    group.predecessors.look()
    group.told()
    group.peeked = KafkaException(KafkaError(KafkaError._TRANSPORT))
    for _ in range(10):
        group.held_back(PATIENCE_S + 1)
    assert group.peeks == [(5, 9)]
    group.now_s += PEEK_AFTER_S
    group.peeked = [Position(5, 1, 1, 0, 0, 1, OTHER).encode()]
    for _ in range(2):
        group.held_back(PATIENCE_S + 1)
    assert (group.peeks, group.shut_out) == ([(5, 9), (5, 9)], [OTHER])


def test_what_was_seen_of_an_earlier_takeover_says_nothing_about_this_one() -> None:
    group = Group(OWN)
    group.predecessors.look()
    group.told()
    group.peeked = [Position(5, 1, 1, 0, 0, 1, OTHER).encode()]
    group.held_back(PATIENCE_S + 1)
    group.peeked = []
    group.predecessors.look()
    group.told()
    for _ in range(2):
        group.held_back(PATIENCE_S + 1, span=(20, 21))
    assert (group.peeks[-1], group.shut_out) == ((20, 21), [])
