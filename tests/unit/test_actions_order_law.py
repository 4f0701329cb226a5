"""A lane keeps its order over processes that are killed: the lanes and what is known of others, among many of them."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actions.delivery import Delivery, subject
from actions.lanes import Lane, Lanes
from actions.offsets import Resumed
from actions.parked import ANSWER_MS, Knowledge, Parked, PutOff, Reached, place_of
from streams.app import Place
from tests.unit.actions_events import EVENT, delivery, source
from topology.names import AUTOMATION_EVENTS, RETRY_1M, RETRY_10M

START = 10**12
EVENTS: Place = (AUTOMATION_EVENTS, 0)
RETRIES: tuple[Place, ...] = ((RETRY_1M, 0), (RETRY_1M, 1), (RETRY_10M, 0))
TAKEOVER_MS = 8_000


class Brokers:
    """Partitions, how far they were committed, and the time."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now = START
        self._serial = count()
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self.logs: dict[Place, list[Delivery]] = {place: [] for place in (EVENTS, *RETRIES)}
        self.dues: dict[str, int] = {}
        self.ended: defaultdict[Place, set[int]] = defaultdict(set)
        self.owners: dict[Place, Process] = {}
        self.sent: defaultdict[str, list[int]] = defaultdict(list)
        self.seen: set[str] = set()

    def after(self, delay_ms: int, step: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + delay_ms, next(self._serial), step))

    def run(self, until: Callable[[], bool]) -> None:
        while not until():
            self.now, _, step = heapq.heappop(self._due)
            step()

    def reached(self) -> dict[Place, Reached]:
        found = {}
        for place, log in self.logs.items():
            ended = self.ended[place]
            point = next((offset for offset in range(len(log)) if offset not in ended), len(log))
            end = max(ended, default=-1) + 1
            left = {offset: (0, 0) for offset in range(point, end) if offset not in ended}
            found[place] = Reached(point, Resumed("", end, left))
        return found

    def append(self, place: Place, one: Delivery, due_ms: int = 0) -> None:
        offset = len(self.logs[place])
        self.logs[place].append(one._replace(source=source(offset, place[0], partition=place[1])))
        self.dues[f"{place}{offset}"] = due_ms
        if place in self.owners:
            self.owners[place].reads(place)

    def records(self, read: dict[Place, int]) -> list[PutOff]:
        found = []
        for place in RETRIES:
            for offset in range(read.get(place, 0), len(self.logs[place])):
                one = self.logs[place][offset]
                if one.order is not None:
                    found.append(PutOff(one.id, one.order, self.dues[f"{place}{offset}"], (place, offset)))
            read[place] = len(self.logs[place])
        return found


class Process:
    """What the runner does with a delivery, as far as its order is concerned."""

    def __init__(self, brokers: Brokers, took_ms: int) -> None:
        self.brokers, self.took_ms, self.alive = brokers, took_ms, True
        self.lanes, self.parked = Lanes(each=2), Parked()
        self.next: dict[Place, int] = {}
        self.tail: dict[Place, int] = {}
        self.entries: list[tuple[Place, int, Delivery | None, int]] = []
        self.every(100, self.commit)
        self.every(200, self.ask)

    def every(self, period_ms: int, step: Callable[[], None]) -> None:
        def again() -> None:
            if self.alive:
                step()
                self.brokers.after(period_ms, again)

        self.brokers.after(self.brokers.random.randint(1, period_ms), again)

    def ask(self) -> None:
        self.parked.ask()
        asked, reached = self.parked.begin(), self.brokers.reached()

        def read() -> None:
            self.parked.learn(Knowledge(asked, self.brokers.records(self.tail), reached))

        self.brokers.after(self.brokers.random.randint(0, 150), read)

    def assign(self, place: Place) -> None:
        self.brokers.owners[place] = self
        self.next[place] = 0
        if place == EVENTS:
            self.parked.assigned([place], self.brokers.now)
        self.reads(place)

    def revoke(self, place: Place) -> None:
        self.commit()
        del self.next[place], self.brokers.owners[place]
        self.parked.released([place])
        dropped = self.lanes.drop(lambda one: (one.source.topic, one.source.partition) == place, self.brokers.now)
        shaken = {subject(one.event) for one in dropped}
        for one in self.lanes.drop(lambda one: subject(one.event) in shaken, self.brokers.now):
            self.queue(one)

    def reads(self, place: Place) -> None:
        def read() -> None:
            if not self.alive or place not in self.next:
                return
            if not self.parked.ready(place, self.brokers.now):
                self.reads(place)
                return
            log, ended = self.brokers.logs[place], self.brokers.ended[place]
            for offset in range(self.next[place], len(log)):
                if offset not in ended:
                    self.take_up(place, offset, log[offset])
            self.next[place] = len(log)

        self.brokers.after(self.brokers.random.randint(1, 100), read)

    def take_up(self, place: Place, offset: int, one: Delivery) -> None:
        if place == EVENTS:
            self.queue(one)
            return
        due_ms, asked = self.brokers.dues[f"{place}{offset}"], self.parked.ask()

        def due() -> None:
            if not self.holds(one):
                return
            if self.parked.knows(asked, due_ms + ANSWER_MS, self.brokers.now):
                self.queue(one)
            else:
                self.brokers.after(100, due)

        self.brokers.after(max(1, due_ms - self.brokers.now), due)

    def holds(self, one: Delivery) -> bool:
        return self.alive and (one.source.topic, one.source.partition) in self.next

    def queue(self, one: Delivery) -> None:
        now, lane = self.brokers.now, Lane("to", subject(one.event))
        order = place_of(one, *lane)
        assert order is not None
        due_ms = self.parked.behind(one.id, order, now)
        older_ms = None if due_ms is None else due_ms - now
        returns = one.source.topic != AUTOMATION_EVENTS
        refused = self.lanes.add(lane, one, now, returns=returns, pressed=True, older_ms=older_ms)
        place = one.source.topic, one.source.partition
        if refused is None:
            self.parked.came(one.id)
        else:
            kept = self.parked.put_off(one, order, self.lanes.held(lane), now, refused.for_ms)
            self.entries.append((place, one.source.offset, kept, now + refused.for_ms))
        self.pump()

    def pump(self) -> None:
        while (taken := self.lanes.take(self.brokers.now)) is not None:
            self.send(*taken)

    def send(self, lane: Lane, one: Delivery) -> None:
        if one.id not in self.brokers.seen:
            self.brokers.seen.add(one.id)
            self.brokers.sent[lane.subject].append(int(one.id[1:]))

        def ends() -> None:
            if self.alive:
                self.lanes.health("to").answered(self.took_ms)
                self.lanes.give_back(lane, self.brokers.now)
                if self.holds(one):
                    self.entries.append(((one.source.topic, one.source.partition), one.source.offset, None, 0))
                self.pump()

        self.brokers.after(self.took_ms * self.brokers.random.choice([1, 1, 5]), ends)

    def commit(self) -> None:
        entries, self.entries = self.entries, []
        for place, offset, again, due_ms in entries:
            if place in self.next:
                self.brokers.ended[place].add(offset)
                if again is not None:
                    self.brokers.append(self.brokers.random.choice(RETRIES), again, due_ms)


@pytest.mark.parametrize("took_ms", [30, 300, 900])
@settings(max_examples=15)
@given(st.integers(0, 2**32), st.sampled_from([20, 100]))
def test_a_lane_keeps_its_order_whatever_is_killed_and_however_partitions_move(
    took_ms: int, seed: int, gap_ms: int
) -> None:
    """All that was put off, by whom and to wherever, is sent before what came later, each at least once."""
    random = Random(seed)
    brokers = Brokers(random)
    processes = [Process(brokers, took_ms) for _ in range(3)]

    def anyone() -> Process:
        return random.choice([one for one in processes if one.alive])

    for place in (EVENTS, *RETRIES):
        anyone().assign(place)

    def kill() -> None:
        victim = anyone()
        victim.alive = False
        processes.append(Process(brokers, took_ms))
        for place in victim.next:
            del brokers.owners[place]
            brokers.after(random.randint(0, TAKEOVER_MS), lambda place=place: anyone().assign(place))  # type: ignore[misc]

    def move() -> None:
        if not brokers.owners:
            return
        place, owner = random.choice(list(brokers.owners.items()))
        owner.revoke(place)
        brokers.after(random.randint(1, 500), lambda: anyone().assign(place))

    numbers, comes = 120, 0
    for number in range(numbers):
        comes += random.randint(0, 2 * gap_ms)
        event = EVENT._replace(flow_run_id=f"run{random.randrange(8)}")
        one = delivery(number)._replace(event=event)
        brokers.after(comes, lambda one=one: brokers.append(EVENTS, one))  # type: ignore[misc]
    for _ in range(3):
        brokers.after(random.randint(0, 20_000), kill)
        brokers.after(random.randint(0, 20_000), move)
    brokers.run(lambda: len(brokers.seen) == numbers)
    for order in brokers.sent.values():
        assert order == sorted(order)
