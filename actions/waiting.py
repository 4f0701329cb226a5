"""Where deliveries from the retry topics wait until they are due.

Law: nothing waits here longer than its topic's stay, counted from its append. So a record behind it in the
partition, which was appended later, has been read by the end of its own stay at the latest, however many wait
before it; and memory holds a bounded number of each partition. Times are milliseconds since 1970.
"""

import heapq
from collections.abc import Callable, Iterable
from itertools import count
from typing import NamedTuple

from actions.delivery import Delivery
from actions.schedule import Tier
from streams.app import Place

PLACES = 300
"""So many wait of each partition. The rest stays in the topic."""
BYTES = 3 * 1024 * 1024
"""More is read of no partition whose waiting records are larger than this together."""


class Waiting(NamedTuple):
    """A delivery that is due at a time. ``asked``: what is to be known of those before it by then.

    ``until_ms``, of a clock that never jumps, is how long that is waited for once it is due.
    """

    delivery: Delivery
    due_ms: int
    asked: int = 0
    until_ms: int | None = None


class WaitingRoom:
    """The deliveries that wait, of all retry topics."""

    def __init__(self, tiers: Iterable[Tier], places: int = PLACES, most_bytes: int = BYTES) -> None:
        self._stay_ms = {tier.topic: tier.stay_ms for tier in tiers}
        self._places = places
        self._most_bytes = most_bytes
        self._heap: list[tuple[int, int, Waiting]] = []
        self._numbers = count()
        self._held: dict[Place, tuple[int, int]] = {}

    @property
    def topics(self) -> Iterable[str]:
        """The topics whose deliveries wait here."""
        return self._stay_ms

    def full(self, place: Place) -> bool:
        """Whether no more of this partition should be read."""
        places, size = self._held.get(place, (0, 0))
        return places >= self._places or size >= self._most_bytes

    def add(self, waiting: Waiting) -> None:
        """Let it wait until it is due, or has to leave."""
        source = waiting.delivery.source
        leaves_ms = min(waiting.due_ms, source.log_ms + self._stay_ms[source.topic])
        heapq.heappush(self._heap, (leaves_ms, next(self._numbers), waiting))
        self._count(waiting, 1)

    def leaving(self, now_ms: int) -> list[Waiting]:
        """Those that are due, and those that have to leave although they are not."""
        found = []
        while self._heap and self._heap[0][0] <= now_ms:
            found.append(heapq.heappop(self._heap)[2])
            self._count(found[-1], -1)
        return found

    def drop(self, unwanted: Callable[[Delivery], bool]) -> None:
        """Forget those."""
        kept = []
        for entry in self._heap:
            if unwanted(entry[2].delivery):
                self._count(entry[2], -1)
            else:
                kept.append(entry)
        heapq.heapify(kept)
        self._heap = kept

    def _count(self, waiting: Waiting, sign: int) -> None:
        source = waiting.delivery.source
        place = source.topic, source.partition
        places, size = self._held.get(place, (0, 0))
        self._held[place] = (places + sign, size + sign * len(source.value))
