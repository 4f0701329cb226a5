"""Whose transactions a new owner ends at once: those of who is surely gone."""

from streams.predecessors import is_gone

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
