"""The loop between the source and the runner: reads while there is room, commits what has ended."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from actions.delivery import Source, Unreadable
from actions.one_thread import OneThread
from actions.runner import Runner
from actions.source import EventSource, Read
from schemas.codec import Rejected
from streams.metrics import (
    LAG_RECORDS,
    PARTITIONS_PAUSED,
    REBALANCES,
    RECORDS_CONSUMED,
    RECORDS_REJECTED,
    Metrics,
)
from topology.topics import AUTOMATION_EVENTS

log = structlog.get_logger()

READ_AT_ONCE = 100
READ_TIMEOUT_S = 0.1
PATIENCE_S = 8.0
"""How long requests in flight may take to end when a partition is given up, or the process leaves."""
TURN_BOUND_S = 30.0


class Intake:
    """Reads events into the runner. ``commit_interval_s`` bounds how much a crash repeats."""

    def __init__(
        self,
        source: EventSource,
        thread: OneThread,
        runner: Runner,
        metrics: Metrics,
        commit_interval_s: float,
    ) -> None:
        self._source = source
        self._thread = thread
        self._runner = runner
        self._metrics = metrics
        self._commit_interval_s = commit_interval_s
        self._loop = asyncio.get_running_loop()
        self._held: deque[Read] = deque()
        self._committed_at = 0.0
        self._lag_at = 0.0
        self._turned_at = time.monotonic()
        self._has_assignment = False

    def unhealthy(self) -> str | None:
        """Why the loop counts as stuck; ``None`` if it doesn't."""
        still_s = time.monotonic() - self._turned_at
        return None if still_s < TURN_BOUND_S else f"the loop has not turned for {still_s:.0f} s"

    def unready(self) -> str | None:
        """Why the process isn't at work; ``None`` if it is."""
        return None if self._has_assignment else "the group has not assigned partitions yet"

    async def run(self, stopping: asyncio.Event) -> None:
        """Read and commit until ``stopping``; then let what is in flight end, commit, and leave the group.

        Raises ``SourceFailed`` or ``KafkaException`` if events can't be read, or results not be written.
        """
        await self._thread.call(self._source.subscribe, self)
        while not stopping.is_set():
            await self._turn()
            if self._runner.failed.done():
                break
        await self._runner.drain(PATIENCE_S)
        await self._thread.call(self._source.close)
        if self._runner.failed.done():
            self._runner.failed.result()

    async def _turn(self) -> None:
        self._turned_at = time.monotonic()
        most = 0 if self._held else min(READ_AT_ONCE, self._runner.backlog.room())
        paused = len(self._runner.backlog.partitions) if most == 0 else 0
        self._metrics[PARTITIONS_PAUSED].set(paused)
        self._held.extend(await self._thread.call(self._source.read, most, READ_TIMEOUT_S))
        self._admit()
        now = time.monotonic()
        if now - self._committed_at >= self._commit_interval_s:
            self._committed_at = now
            await self._commit()
        if now - self._lag_at >= 1:
            self._lag_at = now
            await self._measure_lag()

    def _admit(self) -> None:
        """Give the runner what it has room for, in order."""
        while self._held:
            read = self._held[0]
            generation = self._runner.backlog.generation(read.partition)
            if generation is not None:
                source = Source(read.partition, read.offset, read.key, read.value, generation)
                event = None if isinstance(read.event, Rejected) else read.event
                taken = self._runner.admit(source, event)
                if taken is False:
                    return
                self._count(read, taken)
            self._held.popleft()

    def _count(self, read: Read, taken: bool | Unreadable) -> None:
        self._metrics[RECORDS_CONSUMED].labels(AUTOMATION_EVENTS).inc()
        wrong = read.event if isinstance(read.event, Rejected) else taken
        if isinstance(wrong, (Rejected, Unreadable)):
            self._metrics[RECORDS_REJECTED].labels(AUTOMATION_EVENTS, wrong.reason).inc()
            log.warning(
                "an event can't be read and is skipped",
                partition=read.partition,
                offset=read.offset,
                reason=wrong.reason,
                detail=wrong.detail,
            )

    async def _commit(self) -> None:
        points = self._runner.backlog.commit_points()
        if points:
            self._runner.backlog.committed(points)
            await self._thread.call(self._source.commit, points)

    async def _measure_lag(self) -> None:
        for partition, lag in (await self._thread.call(self._source.lag)).items():
            self._metrics[LAG_RECORDS].labels(AUTOMATION_EVENTS, str(partition)).set(lag)

    def assigned(self, partitions: list[int]) -> None:
        """Partitions are this process's now."""

        async def take() -> None:
            self._metrics[REBALANCES].inc()
            self._runner.backlog.assign(partitions)
            self._has_assignment = True
            log.info("partitions assigned", partitions=partitions)

        self._wait_for(take)

    def revoked(self, partitions: list[int]) -> dict[int, int]:
        """Partitions go to others: what they reached is to be committed."""
        points: dict[int, int] = {}

        async def give() -> None:
            await self._runner.release(partitions, PATIENCE_S)
            # All of their points: a commit that was handed over may still be on its way.
            self._runner.backlog.commit_failed(partitions)
            moved = self._runner.backlog.commit_points()
            points.update({p: point for p, point in moved.items() if p in partitions})
            self._forget(partitions)

        self._wait_for(give)
        return points

    def lost(self, partitions: list[int]) -> None:
        """Partitions went to others already: nothing may be committed of them."""

        async def drop() -> None:
            await self._runner.release(partitions, 0)
            self._forget(partitions)

        self._wait_for(drop)

    def commit_failed(self, partitions: list[int]) -> None:
        """The broker didn't take the points of these partitions. Called on any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._runner.backlog.commit_failed, partitions)

    def _forget(self, partitions: list[int]) -> None:
        self._metrics[REBALANCES].inc()
        self._runner.backlog.revoke(partitions)
        self._held = deque(read for read in self._held if read.partition not in partitions)
        log.info("partitions given up", partitions=partitions)

    def _wait_for(self, step: Callable[[], Awaitable[None]]) -> None:
        async def awaited() -> None:
            await step()

        asyncio.run_coroutine_threadsafe(awaited(), self._loop).result()
