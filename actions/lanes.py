"""Which delivery goes next: bounded, fair, and in order.

Laws: at most ``overall`` are out at once and at most ``each`` to one destination; one lane (a subject at a
destination) has at most one out, and gives them in the order of their coming; destinations take turns.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from actions.delivery import Delivery

OVERALL = 64
EACH = 8


class Lane(NamedTuple):
    """Where a delivery queues."""

    destination: str
    subject: str


class _Destination:
    """The lanes of one destination. A subject in ``ready`` has deliveries and none of them is out."""

    def __init__(self) -> None:
        self.queues: dict[str, deque[Delivery]] = {}
        self.ready: deque[str] = deque()
        self.out: set[str] = set()


class Lanes:
    """The queue of all deliveries that are to be sent now."""

    def __init__(self, overall: int = OVERALL, each: int = EACH) -> None:
        self._overall = overall
        self._each = each
        self._destinations: dict[str, _Destination] = {}
        self._turns: dict[str, None] = {}
        self.out = 0

    def add(self, lane: Lane, delivery: Delivery) -> None:
        """Queue a delivery at the end of its lane."""
        destination = self._destinations.setdefault(lane.destination, _Destination())
        queue = destination.queues.setdefault(lane.subject, deque())
        queue.append(delivery)
        if len(queue) == 1 and lane.subject not in destination.out:
            destination.ready.append(lane.subject)
        self._offer(lane.destination)

    def take(self) -> tuple[Lane, Delivery] | None:
        """The next delivery to send, or ``None`` as long as nothing may go. Each is to be given back."""
        if self.out >= self._overall or not self._turns:
            return None
        name = next(iter(self._turns))
        del self._turns[name]
        destination = self._destinations[name]
        subject = destination.ready.popleft()
        delivery = destination.queues[subject].popleft()
        destination.out.add(subject)
        self.out += 1
        self._offer(name)
        return Lane(name, subject), delivery

    def give_back(self, lane: Lane) -> None:
        """The delivery taken from ``lane`` is no longer out."""
        destination = self._destinations[lane.destination]
        destination.out.remove(lane.subject)
        self.out -= 1
        if destination.queues[lane.subject]:
            destination.ready.append(lane.subject)
        else:
            del destination.queues[lane.subject]
        self._offer(lane.destination)

    def drop(self, unwanted: Callable[[Delivery], bool]) -> None:
        """Forget those that are queued and unwanted; what is out stays."""
        for name in list(self._destinations):
            destination = self._destinations[name]
            for subject, queue in list(destination.queues.items()):
                kept = deque(delivery for delivery in queue if not unwanted(delivery))
                destination.queues[subject] = kept
                if not kept and subject not in destination.out:
                    del destination.queues[subject]
            destination.ready = deque(s for s in destination.ready if s in destination.queues)
            self._turns.pop(name, None)
            self._offer(name)

    def _offer(self, name: str) -> None:
        """Give the destination a turn if it has something to send and a place to send it from."""
        destination = self._destinations[name]
        if destination.ready and len(destination.out) < self._each:
            self._turns.setdefault(name)
        elif not destination.queues:
            del self._destinations[name]
