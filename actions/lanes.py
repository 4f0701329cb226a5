"""Which delivery goes next: bounded, fair, in order, and kept from destinations that are closed.

Laws: at most ``overall`` are out at once, at most ``each`` to one destination, and at most half of
``overall`` to slow ones; one lane (a subject at a destination) has at most one out, and gives them in the
order of their coming; destinations take turns. A destination holds what it takes within seconds at the pace
that it shows; what is beyond is told when to come again, in a row. Where it's this process that can't keep up,
deliveries stay, and reading pauses.

Times are milliseconds of one clock, given as arguments.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from actions.channels.channel import Rate
from actions.delivery import Delivery
from actions.health import NEVER, SLOW_MS, Health
from actions.row import COME_AGAIN_MS, LONGEST_MS, Row

OVERALL = 512
EACH = 8
DRAIN_MS = 10_000
"""A destination holds what it takes in this time."""
PRESSED_DRAIN_MS = 1_000
"""And of partitions of which much is open already, what it takes in this time."""
HELD_BACK_MS = 10_000
"""What a destination won't take for longer than this is not kept waiting in memory."""
UNKNOWN = 2
"""So many requests may be out to a destination that has not answered yet before it counts as slow."""
RETURN_ROOM = 300
"""Who comes again gets in as long as no more than this wait: its time was reckoned from the pace before."""


class Lane(NamedTuple):
    """Where a delivery queues."""

    destination: str
    subject: str


class Refused(NamedTuple):
    """Why a delivery is not queued, and for how long (ms) its destination takes nothing.

    ``exact``: it has a place in a row, and is to come again then, neither earlier nor later.
    """

    reason: str
    for_ms: int
    exact: bool = False


class _Destination:
    """The lanes of one destination. A subject in ``ready`` has deliveries and none of them is out.

    ``out`` has the subjects whose delivery is out, oldest first, with the time that it went; ``away`` has those
    deliveries.
    """

    __slots__ = ("asleep_until_ms", "away", "health", "held", "out", "queues", "ready", "row")

    def __init__(self, health: Health) -> None:
        self.health = health
        self.queues: dict[str, deque[Delivery]] = {}
        self.ready: deque[str] = deque()
        self.out: dict[str, int] = {}
        self.away: dict[str, Delivery] = {}
        self.held = 0
        self.asleep_until_ms = 0
        self.row = Row()

    def pace_ms(self, now_ms: int, each: int) -> float:
        """About how long it takes to take one more: as it has shown, or as it shows by answering nobody."""
        shown_ms = self.health.pace_ms(each)
        if len(self.out) < self.health.allowed(each):
            return shown_ms
        since_ms = now_ms - next(reversed(self.out.values()))
        return max(shown_ms, since_ms / each if since_ms > SLOW_MS else 0)

    def slow(self, now_ms: int) -> bool:
        oldest = next(iter(self.out.values()), now_ms)
        # One that has never answered may be one that never will.
        unknown = not self.health.known and len(self.out) >= UNKNOWN
        return self.health.slow or unknown or now_ms - oldest > SLOW_MS


class Lanes:
    """The queue of all deliveries that are to be sent now.

    ``rate`` is what no destination is asked beyond; a service's own rate may be lower.
    """

    def __init__(self, overall: int = OVERALL, each: int = EACH, rate: Rate | None = None) -> None:
        self._overall = overall
        self._each = each
        self._rate = rate
        self._destinations: dict[str, _Destination] = {}
        self._turns: dict[str, None] = {}
        self._slow_turns: dict[str, None] = {}
        self._asleep: list[tuple[int, str]] = []
        self._slow_out: set[Lane] = set()
        self._slow_went = False
        self.out = 0

    def add(
        self,
        lane: Lane,
        delivery: Delivery,
        now_ms: int,
        rate: Rate | None = None,
        *,
        returns: bool = False,
        pressed: bool = False,
        strained: bool = False,
        older_ms: int | None = None,
    ) -> Refused | None:
        """Queue a delivery at the end of its lane; or why it can't wait here.

        ``returns``: it was told to come again before. ``pressed``: less should wait than usual. ``strained``:
        this process can't keep up itself, so that all destinations look slower than they are. ``older_ms``: an
        older one of its lane comes from elsewhere in so long, or was to come so long ago, which goes first.
        """
        destination = self._destinations.get(lane.destination)
        if destination is None:
            self._look_back(now_ms)
            destination = self._destinations[lane.destination] = _Destination(Health(self._rate))
        health = destination.health
        if rate is not None:
            health.limit(rate)
        closed_ms = max(health.closed_until_ms, health.patience_until_ms) - now_ms
        if closed_ms > HELD_BACK_MS:
            return Refused("breaker_open" if health.closed else "retry_after", closed_ms)
        # In the turn in which an older one comes, it goes first all the same.
        wait_ms = 0 if older_ms is None else min(max(older_ms + 1, -older_ms // 2, COME_AGAIN_MS), LONGEST_MS)
        if self._no_room(destination, now_ms, returns=returns, pressed=pressed, strained=strained):
            pace_ms = destination.pace_ms(now_ms, self._each)
            told_ms = destination.row.tell(now_ms, destination.held * pace_ms, pace_ms)
            wait_ms = max(wait_ms, told_ms - now_ms)
        if wait_ms:
            return Refused("destination_busy", wait_ms, exact=True)
        queue = destination.queues.setdefault(lane.subject, deque())
        queue.append(delivery)
        destination.held += 1
        if len(queue) == 1 and lane.subject not in destination.out:
            destination.ready.append(lane.subject)
        self._offer(lane.destination, now_ms)
        return None

    def _no_room(self, destination: _Destination, now_ms: int, *, returns: bool, pressed: bool, strained: bool) -> bool:
        if returns:
            return destination.held >= RETURN_ROOM
        if strained and not destination.slow(now_ms):
            return False
        drain_ms = PRESSED_DRAIN_MS if pressed else DRAIN_MS
        return destination.held * destination.pace_ms(now_ms, self._each) > drain_ms

    def take(self, now_ms: int) -> tuple[Lane, Delivery] | None:
        """The next delivery to send, or ``None`` as long as nothing may go. Each is to be given back."""
        self._wake(now_ms)
        while self.out < self._overall:
            # The slow ones have every other turn, and half of the places: neither side can starve the other.
            slow = bool(self._slow_turns) and len(self._slow_out) < self._overall // 2
            turns = self._slow_turns if slow and not (self._slow_went and self._turns) else self._turns
            if not turns:
                break
            name = next(iter(turns))
            del turns[name]
            # Since it was given its turn it may have become slow, or have asked for patience.
            self._offer(name, now_ms)
            if name in turns:
                del turns[name]
                self._slow_went = turns is self._slow_turns
                return self._send(name, now_ms)
        return None

    def wakes_at(self) -> int:
        """When a destination that is held back may be asked again; ``NEVER`` if none is."""
        return self._asleep[0][0] if self._asleep else NEVER

    def give_back(self, lane: Lane, now_ms: int) -> None:
        """The delivery taken from ``lane`` is no longer out."""
        destination = self._destinations[lane.destination]
        del destination.out[lane.subject], destination.away[lane.subject]
        destination.held -= 1
        self.out -= 1
        self._slow_out.discard(lane)
        if destination.queues[lane.subject]:
            destination.ready.append(lane.subject)
        else:
            del destination.queues[lane.subject]
        self._offer(lane.destination, now_ms)

    def health(self, destination: str) -> Health:
        """How a destination fares, of which a delivery is out."""
        return self._destinations[destination].health

    def evict(self, name: str, now_ms: int) -> Iterator[tuple[Delivery, Refused]]:
        """What waits for a destination that won't be asked for long. It is no longer queued here."""
        destination = self._destinations.get(name)
        if destination is None:
            return
        health = destination.health
        closed_ms = max(health.closed_until_ms, health.patience_until_ms) - now_ms
        if closed_ms <= HELD_BACK_MS:
            return
        refused = Refused("breaker_open" if health.closed else "retry_after", closed_ms)
        for delivery in self._dropped(name, lambda _: True, now_ms):
            yield delivery, refused

    def drop(self, unwanted: Callable[[Delivery], bool], now_ms: int) -> list[Delivery]:
        """Forget those that are queued and unwanted, and tell them; what is out stays."""
        return [one for name in list(self._destinations) for one in self._dropped(name, unwanted, now_ms)]

    def held(self, lane: Lane) -> Iterator[Delivery]:
        """Those of a lane that are queued or out, the newest first."""
        destination = self._destinations.get(lane.destination)
        if destination is not None:
            yield from reversed(destination.queues.get(lane.subject, ()))
            if lane.subject in destination.away:
                yield destination.away[lane.subject]

    def closed(self) -> list[str]:
        """The destinations whose breaker is open."""
        return [name for name, destination in self._destinations.items() if destination.health.closed]

    def _look_back(self, now_ms: int) -> None:
        """Forget who is idle: two are looked at for each that is new, so that few are kept in vain."""
        for name in list(islice(self._destinations, 2)):
            self._destinations[name] = self._destinations.pop(name)
            self._offer(name, now_ms)

    def _dropped(self, name: str, unwanted: Callable[[Delivery], bool], now_ms: int) -> list[Delivery]:
        destination = self._destinations[name]
        dropped: list[Delivery] = []
        for subject, queue in list(destination.queues.items()):
            kept: deque[Delivery] = deque()
            for delivery in queue:
                (dropped if unwanted(delivery) else kept).append(delivery)
            destination.queues[subject] = kept
            if not kept and subject not in destination.out:
                del destination.queues[subject]
        destination.held -= len(dropped)
        destination.ready = deque(s for s in destination.ready if s in destination.queues)
        self._turns.pop(name, None)
        self._slow_turns.pop(name, None)
        self._offer(name, now_ms)
        return dropped

    def _send(self, name: str, now_ms: int) -> tuple[Lane, Delivery]:
        destination = self._destinations[name]
        subject = destination.ready.popleft()
        delivery = destination.queues[subject].popleft()
        lane = Lane(name, subject)
        if destination.slow(now_ms):
            self._slow_out.add(lane)
        destination.health.sent(now_ms)
        destination.out[subject] = now_ms
        destination.away[subject] = delivery
        self.out += 1
        self._offer(name, now_ms)
        return lane, delivery

    def _wake(self, now_ms: int) -> None:
        while self._asleep and self._asleep[0][0] <= now_ms:
            _, name = heapq.heappop(self._asleep)
            if name in self._destinations:
                self._offer(name, now_ms)

    def _offer(self, name: str, now_ms: int) -> None:
        """Give the destination a turn if it has something to send and a place to send it from."""
        if name in self._turns or name in self._slow_turns:
            return
        destination = self._destinations[name]
        health = destination.health
        if destination.ready and len(destination.out) < health.allowed(self._each):
            at_ms = health.free_at(now_ms)
            if at_ms > now_ms:
                if not now_ms < destination.asleep_until_ms <= at_ms:
                    destination.asleep_until_ms = at_ms
                    heapq.heappush(self._asleep, (at_ms, name))
            else:
                (self._slow_turns if destination.slow(now_ms) else self._turns)[name] = None
        elif destination.queues or destination.out or not destination.row.over(now_ms):
            return
        elif health.forgettable(now_ms):
            del self._destinations[name]
