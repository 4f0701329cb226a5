"""Deadlines in order of their instants: an index over state, never a second truth.

Each key has at most one next instant. What an older instant of a key has left in the heap is passed over
when it comes up, and swept out when such leftovers outnumber what is live.
"""

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", bytes, tuple[str, str])


class Deadlines(Generic[K]):
    """Next instants (log time, ms) by key."""

    __slots__ = ("_heap", "_next")

    def __init__(self) -> None:
        self._next: dict[K, int] = {}
        self._heap: list[tuple[int, K]] = []

    def __len__(self) -> int:
        return len(self._next)

    def set(self, key: K, due_ms: int | None) -> None:
        """Sets or clears a key's next instant."""
        if due_ms is None:
            self._next.pop(key, None)
        elif self._next.get(key) != due_ms:
            self._next[key] = due_ms
            heappush(self._heap, (due_ms, key))
            if len(self._heap) > 2 * len(self._next) + 1_000:
                self._heap = [(due, key) for key, due in self._next.items()]
                heapify(self._heap)

    def pop_before(self, instant_ms: int) -> K | None:
        """Takes out the key of the earliest instant, if that is before ``instant_ms``."""
        heap = self._heap
        while heap and heap[0][0] < instant_ms:
            due_ms, key = heappop(heap)
            if self._next.get(key) == due_ms:
                del self._next[key]
                return key
        return None
