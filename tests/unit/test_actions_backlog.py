"""What was read and has not ended, over all partitions and their assignments."""

from collections.abc import Iterable

from actions.backlog import Backlog
from actions.delivery import Delivery, Source
from actions.offsets import FULL, Resumed, resumed
from streams.app import Place
from tests.unit.actions_events import delivery, source
from topology.names import AUTOMATION_EVENTS, RETRY_1M

EVENTS: Place = (AUTOMATION_EVENTS, 0)
RETRIES: Place = (RETRY_1M, 0)


def assigned(*partitions: Place) -> Backlog:
    backlog = Backlog()
    assign(backlog, partitions)
    return backlog


def assign(backlog: Backlog, partitions: Iterable[Place]) -> None:
    backlog.assign(dict.fromkeys(partitions, Resumed()))


def read(backlog: Backlog, offset: int, count: int, topic: str = AUTOMATION_EVENTS) -> list[Delivery]:
    generation = backlog.generation((topic, 0))
    assert generation is not None
    at: Source = source(offset, topic, generation=generation)
    return backlog.read(at, [delivery(offset, of=at)._replace(place=place) for place in range(count)])


def test_what_ends_after_its_partition_was_taken_away_changes_nothing() -> None:
    """The next owner has it too, even if that is this process again."""
    backlog = assigned(EVENTS, RETRIES)
    before = read(backlog, 7, 2)
    read(backlog, 3, 1, RETRY_1M)
    backlog.revoke([EVENTS])
    backlog.ended(before[0])
    assign(backlog, [EVENTS])
    read(backlog, 7, 2)
    backlog.ended(before[0])
    assert not backlog.holds(before[0].source)
    assert backlog.open([AUTOMATION_EVENTS, RETRY_1M])[0] == 3
    assert {place: at.offset for place, at in backlog.positions("me").items()} == {EVENTS: 7, RETRIES: 3}


def test_the_next_owner_is_given_only_what_had_not_ended() -> None:
    backlog = assigned(EVENTS)
    found = read(backlog, 7, 3)
    backlog.ended(found[1])
    position = backlog.positions("me")[EVENTS]
    backlog.revoke([EVENTS])
    backlog.assign({EVENTS: resumed(position.metadata, position.offset)})
    assert [one.place for one in read(backlog, 7, 3)] == [0, 2]


def test_only_what_moved_is_committed_and_what_failed_is_committed_again() -> None:
    backlog = assigned(EVENTS, RETRIES)
    assert backlog.positions("me") == {}
    read(backlog, 7, 0)
    assert backlog.positions("me")[EVENTS].offset == 8
    assert backlog.positions("me") == {}
    backlog.uncommitted([EVENTS, ("gone", 4)])
    assert backlog.positions("me")[EVENTS].offset == 8


def test_a_partition_that_stays_keeps_its_assignment_when_another_comes() -> None:
    backlog = assigned(EVENTS)
    kept = read(backlog, 7, 1)[0]
    assign(backlog, [RETRIES])
    assert backlog.holds(kept.source)
    assert set(backlog.partitions) == {EVENTS, RETRIES}
    assert backlog.generation(("other", 0)) is None


def test_what_is_open_is_told_by_topic_with_the_bytes_of_its_records() -> None:
    backlog = assigned(EVENTS, RETRIES)
    first = read(backlog, 1, 2)
    read(backlog, 1, 1, RETRY_1M)
    assert backlog.open([AUTOMATION_EVENTS]) == (2, 5)
    assert backlog.open([AUTOMATION_EVENTS, RETRY_1M]) == (3, 10)
    for one in first:
        backlog.ended(one)
    assert backlog.open([AUTOMATION_EVENTS]) == (0, 0)


def test_each_partition_is_pressed_and_full_for_itself() -> None:
    backlog = assigned(EVENTS, RETRIES)
    for offset in range(FULL):
        read(backlog, offset, 1)
    assert backlog.pressed(EVENTS)
    assert backlog.full(EVENTS)
    for other in (RETRIES, ("gone", 4)):
        assert not backlog.pressed(other)
        assert not backlog.full(other)
