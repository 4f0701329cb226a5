"""What is written with what: results, retry records and dead letters with the positions that count on them."""

import asyncio
from threading import Event
from typing import Any

import pytest

from actions.backlog import Backlog
from actions.delivery import Delivery
from actions.ledger import AT_ONCE, MOST_ENTRIES, Ledger
from actions.offsets import Position, Resumed, resumed
from actions.outbox import Entry, Record
from streams.app import Place
from streams.errors import Lost, MustAbort
from streams.metrics import COMMIT_SECONDS, TRANSACTION_ABORTS, Metrics
from tests.unit.actions_events import delivery, source
from topology.names import ACTION_RESULTS, AUTOMATION_EVENTS, AUTOMATION_TESTS

EVENTS: Place = (AUTOMATION_EVENTS, 0)
TESTS: Place = (AUTOMATION_TESTS, 0)
NOBODY = {"bootstrap.servers": "127.0.0.1:1", "transactional.id": "me", "transaction.timeout.ms": 1_000, "log_level": 0}


class Nobody:
    """A member of no group."""

    def consumer_group_metadata(self) -> Any:
        return None


class Written(Ledger):
    """A ledger whose transactions end as told: each raises the next of ``problems``, or is kept in ``commits``."""

    def __init__(self, backlog: Backlog, *problems: Exception | None) -> None:
        self.metrics = Metrics()
        super().__init__(NOBODY, lambda _: None, Nobody(), backlog, self.metrics, lambda topic: f"prefix-{topic}")
        self.problems = list(problems)
        self.commits: list[tuple[list[bytes], dict[Place, Position]]] = []
        self.may_write = Event()
        self.may_write.set()

    def _write(self, records: list[Record], positions: dict[Place, Position]) -> None:
        assert self.may_write.wait(5)
        problem = self.problems.pop(0) if self.problems else None
        if problem is not None:
            raise problem
        self.commits.append(([record.value for record in records], positions))

    def offsets(self) -> list[dict[Place, int]]:
        return [{place: at.offset for place, at in positions.items()} for _, positions in self.commits]

    def values(self) -> list[list[bytes]]:
        return [values for values, _ in self.commits]


class Read:
    """Deliveries of an assigned partition, one for each record."""

    def __init__(self, *problems: Exception | None) -> None:
        self.backlog = Backlog()
        self.backlog.assign({EVENTS: Resumed(), TESTS: Resumed()})
        self.ledger = Written(self.backlog, *problems)

    def delivery(self, offset: int, topic: str = AUTOMATION_EVENTS) -> Delivery:
        at = source(offset, topic, generation=self.backlog.generation((topic, 0)))
        return self.backlog.read(at, [delivery(offset, of=at)])[0]

    def ends(self, one: Delivery, ends: bool = True) -> None:
        """What is written says so."""
        value = f"{one.source.topic} {one.source.offset}".encode()
        self.ledger.add(Entry(one, (Record(ACTION_RESULTS, None, value, []),), ends))


async def test_a_position_is_committed_with_what_it_counts_on() -> None:
    read = Read()
    first, second = read.delivery(1), read.delivery(2)
    read.ends(second)
    assert await read.ledger.commit()
    read.ends(first)
    assert await read.ledger.commit()
    assert read.ledger.values() == [[b"automation-events 2"], [b"automation-events 1"]]
    assert read.ledger.offsets() == [{EVENTS: 1}, {EVENTS: 3}]
    at = read.ledger.commits[0][1][EVENTS]
    assert resumed(at.metadata, at.offset).owner == "me"
    assert read.ledger.metrics.registry.get_sample_value(f"{COMMIT_SECONDS.name}_count") == 2


async def test_nothing_to_write_is_no_transaction() -> None:
    read = Read()
    assert await read.ledger.commit()
    read.delivery(1)
    assert await read.ledger.commit()
    assert await read.ledger.commit()
    assert read.ledger.offsets() == [{EVENTS: 1}]
    assert read.ledger.busy_since_s is None


async def test_what_was_taken_back_is_written_before_any_later_position_and_counts_once() -> None:
    read = Read(MustAbort("no"), MustAbort("no"))
    first, second = read.delivery(1), read.delivery(2)
    read.ends(first)
    assert not await read.ledger.commit()
    read.ends(second)
    assert not await read.ledger.commit()
    assert read.ledger.commits == []
    assert await read.ledger.commit()
    assert read.ledger.values() == [[b"automation-events 1", b"automation-events 2"]]
    assert read.ledger.offsets() == [{EVENTS: 3}]
    assert read.ledger.metrics.registry.get_sample_value(TRANSACTION_ABORTS.name) == 2


async def test_a_try_that_was_taken_back_counts_once() -> None:
    read = Read(MustAbort("no"))
    read.ends(read.delivery(1), ends=False)
    assert not await read.ledger.commit()
    assert await read.ledger.commit()
    at = read.ledger.commits[0][1][EVENTS]
    assert at.offset == 1
    assert resumed(at.metadata, at.offset).tried(1, 0) == 1


async def test_of_a_partition_that_went_away_nothing_is_written_of_the_others_all_is() -> None:
    read = Read(MustAbort("no"))
    read.ends(read.delivery(1))
    read.ends(read.delivery(5, AUTOMATION_TESTS))
    assert not await read.ledger.commit()
    read.backlog.revoke([EVENTS])
    assert await read.ledger.commit()
    assert read.ledger.values() == [[b"automation-tests 5"]]
    assert read.ledger.offsets() == [{TESTS: 6}]


async def test_what_comes_while_a_commit_is_under_way_is_in_the_next_one() -> None:
    read = Read()
    first, second = read.delivery(1), read.delivery(2)
    read.ledger.may_write.clear()
    read.ends(first)
    commits = [asyncio.create_task(read.ledger.commit())]
    await asyncio.sleep(0.01)
    read.ends(second)
    assert read.ledger.busy_since_s is not None
    commits.append(asyncio.create_task(read.ledger.commit()))
    await asyncio.sleep(0.01)
    read.ledger.may_write.set()
    assert await asyncio.gather(*commits) == [False, True]
    assert read.ledger.offsets() == [{EVENTS: 2}, {EVENTS: 3}]


async def test_clients_that_are_lost_say_so() -> None:
    read = Read(Lost("fenced"))
    read.ends(read.delivery(1))
    with pytest.raises(Lost):
        await read.ledger.commit()
    assert read.ledger.busy_since_s is None


async def test_so_much_is_written_at_once_that_a_transaction_ends_in_time() -> None:
    """And no delivery counts as ended before its part is written."""
    read = Read()
    many = [read.delivery(offset) for offset in range(1, AT_ONCE + 11)]
    for one in many:
        read.ends(one)
    assert not await read.ledger.commit()
    assert read.ledger.offsets() == [{EVENTS: AT_ONCE + 1}]
    assert await read.ledger.commit()
    assert read.ledger.offsets()[-1] == {EVENTS: AT_ONCE + 11}


async def test_nothing_more_is_to_be_sent_while_too_much_is_unwritten() -> None:
    read = Read()
    assert not read.ledger.behind
    for offset in range(1, MOST_ENTRIES + 1):
        read.ends(read.delivery(offset))
    assert read.ledger.behind
    while not await read.ledger.commit():
        pass
    assert not read.ledger.behind
