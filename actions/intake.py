"""The loop between the source and the runner: reads while there is room, commits what has ended."""

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping

import structlog

from actions.backlog import Backlog
from actions.clock import Clock, monotonic_ms
from actions.delivery import Source, Unreadable
from actions.ledger import Ledger
from actions.offsets import Resumed
from actions.one_thread import OneThread
from actions.parked import Parked
from actions.runner import Runner
from actions.source import EventSource, Read
from schemas.codec import Rejected
from streams.app import Place
from streams.errors import Lost
from streams.metrics import (
    LAG_RECORDS,
    PARTITIONS_PAUSED,
    REBALANCES,
    RECORDS_CONSUMED,
    RECORDS_REJECTED,
    Metrics,
)
from topology.topics import AUTOMATION_EVENTS, AUTOMATION_TESTS

log = structlog.get_logger()

MOST_UNDELIVERED = 10_000
"""So many deliveries are held at most before reading pauses."""
MOST_BYTES = 32 * 1024 * 1024
"""And so many bytes of records."""
READ_TIMEOUT_S = 0.1
PATIENCE_S = 7.0
"""How long requests in flight may take to end when a partition is given up, or the process leaves."""
LAST_COMMITS_S = 10.0
TURN_BOUND_S = 30.0
READY_BEHIND = 10_000
"""Ready is who has no more events than this before it."""
MAIN = (AUTOMATION_EVENTS, AUTOMATION_TESTS)


class Intake:
    """Reads events into the runner. ``commit_interval_s`` bounds how much a crash repeats."""

    def __init__(
        self,
        source: EventSource,
        runner: Runner,
        backlog: Backlog,
        ledger: Ledger,
        clock: Clock,
        metrics: Metrics,
        commit_interval_s: float,
        parked: Parked,
    ) -> None:
        self._source = source
        self._thread = OneThread("events")
        self._runner = runner
        self._backlog = backlog
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._commit_interval_s = commit_interval_s
        self._parked = parked
        self._consumed = {topic: metrics[RECORDS_CONSUMED].labels(topic) for topic in (*MAIN, *runner.waiting.topics)}
        self._loop = asyncio.get_running_loop()
        self._held: defaultdict[Place, deque[Read]] = defaultdict(deque)
        self._lag_at = 0.0
        self._behind = 0
        self._turned_at = time.monotonic()
        self._has_assignment = False
        self._abandoned = False

    def unhealthy(self) -> str | None:
        """Why the loop counts as stuck; ``None`` if it doesn't."""
        still_s = time.monotonic() - self._turned_at
        return None if still_s < TURN_BOUND_S else f"the loop has not turned for {still_s:.0f} s"

    def unready(self) -> str | None:
        """Why the process isn't at work, or not caught up; ``None`` if it is."""
        if not self._has_assignment:
            return "the group has not assigned partitions yet"
        return None if self._behind < READY_BEHIND else f"{self._behind} events are not read yet"

    async def run(self, stopping: asyncio.Event) -> None:
        """Read and commit until ``stopping``; then let what is in flight end, commit, and leave the group.

        Raises ``SourceFailed`` or ``KafkaException`` if events can't be read, ``Lost`` if results can't be
        written by these clients.
        """
        await self._thread.call(self._source.subscribe, self)
        self._leaving = asyncio.Event()
        committing = asyncio.create_task(self._commit())
        try:
            while not stopping.is_set() and not self._runner.failed.done() and not committing.done():
                await self._turn()
            await self._runner.drain(PATIENCE_S if stopping.is_set() else 0)
            self._leaving.set()
            await committing
            await self._last_commit()
            await self._thread.call(self._source.close)
        except BaseException as error:
            if isinstance(error, Lost):
                await self._thread.call(self._source.hear_of_twin)
            # What these clients can't write is left to the next ones.
            self._abandoned = True
            committing.cancel()
            await self._runner.drain(0)
            with contextlib.suppress(Exception):
                await self._thread.call(self._source.close)
            raise
        if self._runner.failed.done():
            self._runner.failed.result()

    def close(self) -> None:
        """Let the consumer go, after it was closed."""
        self._thread.close()

    async def _turn(self) -> None:
        self._turned_at = time.monotonic()
        closed = self._closed()
        self._metrics[PARTITIONS_PAUSED].set(len(closed))
        for read in await self._thread.call(self._source.read, closed, READ_TIMEOUT_S):
            self._held[read.place].append(read)
        for place, held in self._held.items():
            while held and not self._full(place):
                self._admit(held.popleft())
        self._runner.turn()
        now = time.monotonic()
        if now - self._lag_at >= 1:
            self._lag_at = now
            self._runner.measure()
            lags = await self._thread.call(self._source.lag)
            self._behind = sum(lag for (topic, _), lag in lags.items() if topic in MAIN)
            for (topic, partition), lag in lags.items():
                self._metrics[LAG_RECORDS].labels(topic, str(partition)).set(lag)

    async def _commit(self) -> None:
        """Commit again and again, also while what is in flight is waited for."""
        while not self._leaving.is_set() and not self._runner.failed.done():
            await asyncio.sleep(self._commit_interval_s)
            await self._ledger.commit()

    async def _last_commit(self) -> bool:
        """Whether all is written."""
        give_up_at = time.monotonic() + LAST_COMMITS_S
        while not await self._ledger.commit():
            if time.monotonic() > give_up_at:
                return False
        return True

    def _closed(self) -> set[Place]:
        return {place for place in self._backlog.partitions if self._held.get(place) or self._full(place)}

    def _full(self, place: Place) -> bool:
        if self._backlog.full(place) or self._ledger.behind:
            return True
        if place[0] in self._runner.waiting.topics:
            return self._runner.waiting.full(place)
        if not self._parked.ready(place, monotonic_ms()):
            return True
        deliveries, size = self._backlog.open(MAIN)
        return deliveries >= MOST_UNDELIVERED or size >= MOST_BYTES

    def _admit(self, read: Read) -> None:
        generation = self._backlog.generation(read.place)
        if generation is None:
            return
        if read.event is None:
            self._backlog.passed(read.place, read.offset)
            return
        source = Source(*read.place, read.offset, read.key, read.value, read.log_ms, generation)
        self._consumed[source.topic].inc()
        self._clock.seen(read.log_ms)
        event = None if isinstance(read.event, Rejected) else read.event
        unreadable = self._runner.admit(source, event, read.headers)
        wrong = read.event if isinstance(read.event, Rejected) else unreadable
        if isinstance(wrong, (Rejected, Unreadable)):
            self._metrics[RECORDS_REJECTED].labels(source.topic, wrong.reason).inc()
            log.warning(
                "an event can't be read and is skipped",
                topic=source.topic,
                partition=source.partition,
                offset=source.offset,
                reason=wrong.reason,
                detail=wrong.detail,
            )

    def assigned(self, partitions: Mapping[Place, Resumed]) -> None:
        """Partitions are this process's now."""

        async def take() -> None:
            self._metrics[REBALANCES].inc()
            self._backlog.assign(partitions)
            for place in partitions:
                # What was read under an assignment before is read again.
                self._held.pop(place, None)
            self._parked.assigned([one for one in partitions if one[0] == AUTOMATION_EVENTS], monotonic_ms())
            self._has_assignment = True
            log.info("partitions assigned", partitions=_shown(partitions))

        self._wait_for(take)

    def revoked(self, partitions: list[Place]) -> None:
        """Partitions go to others: what they reached is committed."""

        async def give() -> None:
            if not self._abandoned:
                await self._runner.release(partitions, PATIENCE_S)
                if not await self._last_commit():
                    self._parked.unwritten(partitions)
            self._forget(partitions)

        self._wait_for(give)

    def lost(self, partitions: list[Place]) -> None:
        """Partitions went to others already: nothing may be committed of them."""

        async def drop() -> None:
            self._has_assignment = False
            await self._runner.release(partitions, 0)
            self._parked.unwritten(partitions)
            self._forget(partitions)

        self._wait_for(drop)

    def _forget(self, partitions: list[Place]) -> None:
        self._metrics[REBALANCES].inc()
        self._backlog.revoke(partitions)
        for place in partitions:
            self._held.pop(place, None)
        log.info("partitions given up", partitions=_shown(partitions))

    def _wait_for(self, step: Callable[[], Awaitable[None]]) -> None:
        async def awaited() -> None:
            await step()

        # A rebalance has bounds of its own: while it lasts the loop does not hang.
        self._turned_at = time.monotonic()
        asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()
        self._turned_at = time.monotonic()


def _shown(partitions: Mapping[Place, Resumed] | list[Place]) -> list[str]:
    return [f"{topic}/{partition}" for topic, partition in sorted(partitions)]
