"""Deadlines in order of their instants: an index over state, never a second truth.

Each key has at most one next instant. Keys lie in buckets of about a second, and only the bucket whose time has
come is put in order: there are many deadlines, and most are met long before. What an older instant of a key has
left is passed over when it comes up, and swept out when such leftovers outnumber what is live.
"""

from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

K = TypeVar("K", bytes, tuple[str, str])

BUCKET_BITS = 10
"""A bucket holds 1,024 ms."""


class Deadlines(Generic[K]):
    """Next instants (log time, ms) by key."""

    __slots__ = ("_buckets", "_coming", "_heap", "_left", "_next", "_opened")

    def __init__(self) -> None:
        self._next: dict[K, int] = {}
        self._buckets: dict[int, list[K]] = {}
        self._coming: list[int] = []
        """The buckets, as a heap."""
        self._heap: list[tuple[int, K]] = []
        """What is due in the buckets that were opened."""
        self._opened = -(2**63)
        """The last bucket that was opened."""
        self._left = 0
        """Entries in buckets and heap, leftovers included."""

    def __len__(self) -> int:
        return len(self._next)

    def set(self, key: K, due_ms: int | None) -> None:
        """Sets or clears a key's next instant."""
        if due_ms is None:
            self._next.pop(key, None)
        elif self._next.get(key) != due_ms:
            self._next[key] = due_ms
            self._put(key, due_ms)
            if self._left > 2 * len(self._next) + 1_000:
                self._sweep()

    def pop_before(self, instant_ms: int) -> K | None:
        """Takes out the key of the earliest instant, if that is before ``instant_ms``."""
        heap, coming = self._heap, self._coming
        while True:
            while heap and heap[0][0] < instant_ms:
                due_ms, key = heappop(heap)
                self._left -= 1
                if self._next.get(key) == due_ms:
                    del self._next[key]
                    return key
            # All in the heap is earlier than what is in buckets, so what is left there may wait.
            if heap or not coming or coming[0] << BUCKET_BITS >= instant_ms:
                return None
            self._open(heappop(coming))

    def _put(self, key: K, due_ms: int) -> None:
        self._left += 1
        number = due_ms >> BUCKET_BITS
        if number <= self._opened:
            heappush(self._heap, (due_ms, key))
            return
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = [key]
            heappush(self._coming, number)
        else:
            bucket.append(key)

    def _open(self, number: int) -> None:
        """Puts a bucket's keys in order, but for those whose instant is another by now."""
        self._opened = number
        keys = self._buckets.pop(number)
        dues = ((self._next.get(key, -1), key) for key in set(keys))
        self._heap[:] = [due for due in dues if due[0] >> BUCKET_BITS == number]
        heapify(self._heap)
        self._left += len(self._heap) - len(keys)

    def _sweep(self) -> None:
        """Makes it all anew, without leftovers."""
        self._buckets, self._coming, self._heap, self._left = {}, [], [], 0
        for key, due_ms in self._next.items():
            self._put(key, due_ms)
