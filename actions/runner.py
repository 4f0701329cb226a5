"""From a record that was read to the end of each of its deliveries.

Law: a delivery ends in exactly one of succeeded, dead and expired; it counts as ended, and its record as
done, only when the brokers have its result and, of a dead one, its dead letter. Until then a crash repeats
it, with the same ids. Waiting for a retry takes memory only: no slot, and no turn in a lane.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from typing import NamedTuple, Protocol

import structlog
from confluent_kafka import KafkaException
from yarl import URL

from actions import decide
from actions.backlog import Backlog
from actions.channels import CHANNELS
from actions.channels.channel import Channel
from actions.decide import Decision, Limits
from actions.delivery import Delivery, Source, Unreadable, deliveries, subject
from actions.exchange import Answer, Failure, Outcome, Request, failed
from actions.lanes import Lane, Lanes
from actions.secrets import SecretStore
from schemas.records import ActionResult, AutomationEvent
from streams.metrics import (
    ACTIONS,
    DELIVERIES_IN_FLIGHT,
    DELIVERIES_PENDING,
    DELIVERY_LATENCY_SECONDS,
    Metrics,
)

log = structlog.get_logger()

Send = Callable[[Request, int | None], Awaitable[Answer | Failure]]
"""Makes a request within so many milliseconds, or the usual time if ``None``. Never raises."""


class Results(Protocol):
    """Where attempts and dead letters are written. A future is done when the brokers have the record."""

    def write(self, result: ActionResult) -> asyncio.Future[None]: ...
    def dead_letter(self, delivery: Delivery, decision: Decision) -> asyncio.Future[None]: ...


class Surroundings(NamedTuple):
    """What tests put others in the place of: the clock (milliseconds since 1970) and randomness ([0, 1))."""

    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    roll: Callable[[], float] = random.random


class Runner:
    """Delivers what it is given, within bounds. All methods belong to one event loop."""

    def __init__(
        self,
        limits: Limits,
        send: Send,
        results: Results,
        secrets: SecretStore,
        metrics: Metrics,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._limits = limits
        self._send = send
        self._results = results
        self._secrets = secrets
        self._metrics = metrics
        self._clock_ms, self._roll = surroundings or Surroundings()
        self.backlog = Backlog()
        self._lanes = Lanes()
        self._tasks: dict[asyncio.Task[None], Delivery] = {}
        self._waiting: dict[int, tuple[asyncio.TimerHandle, Delivery]] = {}
        self._timers = 0
        self._draining = False
        self._leaving: set[int] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        metrics[DELIVERIES_PENDING].set_function(lambda: self.backlog.open)
        metrics[DELIVERIES_IN_FLIGHT].set_function(lambda: self._lanes.out)

    def admit(self, source: Source, event: AutomationEvent | None) -> bool | Unreadable:
        """Take a record. ``False`` = there is no room for it now: offer it again later.

        ``Unreadable`` = no deliveries can be made out, and it is done with. ``event`` ``None`` has none.
        """
        found = [] if event is None else deliveries(event, source)
        if isinstance(found, Unreadable):
            self.backlog.read(source, 0)
            return found
        if not self.backlog.has_room(len(found)):
            return False
        self.backlog.read(source, len(found))
        for delivery in found:
            self._queue(delivery)
        self._pump()
        return True

    async def release(self, partitions: Collection[int], patience_s: float) -> None:
        """Begin nothing more of these partitions; let what is in flight end, but wait no longer than that.

        The backlog is to forget them right after it, before anything else is awaited.
        """

        def unwanted(delivery: Delivery) -> bool:
            return delivery.source.partition in partitions

        self._leaving.update(partitions)
        self._lanes.drop(unwanted)
        for number, (timer, delivery) in list(self._waiting.items()):
            if unwanted(delivery):
                timer.cancel()
                del self._waiting[number]
        await self._ended([task for task, delivery in self._tasks.items() if unwanted(delivery)], patience_s)
        self._leaving.difference_update(partitions)

    async def drain(self, patience_s: float) -> None:
        """Begin nothing more at all; let what is in flight end, but wait no longer than that."""
        self._draining = True
        for timer, _ in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        await self._ended(list(self._tasks), patience_s)

    async def _ended(self, tasks: list[asyncio.Task[None]], patience_s: float) -> None:
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=patience_s)
        for task in late:
            task.cancel()
        if late:
            log.warning("requests in flight were given up, they are sent again", count=len(late))
            await asyncio.wait(late, timeout=1)

    def _queue(self, delivery: Delivery) -> None:
        channel = CHANNELS.get(delivery.action.action_type)
        action, event = delivery.action, delivery.event
        destination = decide.UNSUPPORTED if channel is None else channel.destination(event, action.config)
        self._lanes.add(Lane(destination, subject(event)), delivery)

    def _pump(self) -> None:
        """Begin all that may begin."""
        while not self._draining and (taken := self._lanes.take()) is not None:
            lane, delivery = taken
            task = asyncio.create_task(self._deliver(lane, delivery))
            self._tasks[task] = delivery
            task.add_done_callback(self._tidy)

    def _tidy(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and task.exception() is not None and not self.failed.done():
            # Only what can't be written down ends here: nothing may be committed past it.
            self.failed.set_exception(task.exception() or RuntimeError())

    async def _deliver(self, lane: Lane, delivery: Delivery) -> None:
        """One attempt: decide, send, decide, write it down, go on."""
        channel = CHANNELS.get(delivery.action.action_type)
        started_ms = self._clock_ms()
        host: str | None = None
        try:
            decision = decide.before(delivery, started_ms, self._limits, supported=channel is not None)
            if decision is None:
                assert channel is not None
                outcome, host = await self._attempt(channel, delivery)
                decision = decide.after(delivery, outcome, self._clock_ms(), self._limits, self._roll())
        finally:
            self._lanes.give_back(lane)
            self._pump()
        if not self.backlog.holds(delivery.source):
            return
        result = self._result(delivery, decision, started_ms, host)
        writing = self._results.write(result)
        if decision.status == decide.DEAD:
            await self._results.dead_letter(delivery, decision)
        self._tell(delivery, result)
        if decision.delay_ms is None:
            await writing
            self.backlog.ended(delivery.source)
        else:
            writing.add_done_callback(self._written)
            self._wait(delivery._replace(attempt=delivery.attempt + 1), decision.delay_ms)

    async def _attempt(self, channel: Channel, delivery: Delivery) -> tuple[Outcome, str | None]:
        """The outcome of one attempt and the host that it went to. A channel's mistake is an outcome too."""
        try:
            request = self._request(channel, delivery)
            if isinstance(request, Failure):
                return failed(request), None
            host = _host(request.url)
            answer = await self._send(request, delivery.action.timeout_ms)
            return (failed(answer) if isinstance(answer, Failure) else channel.classify(answer)), host
        except Exception as error:
            # Its text may hold a secret, so the log has only its type.
            log.error("an attempt failed unexpectedly", delivery_id=delivery.id, error=type(error).__name__)
            return failed(Failure("internal_error")), None

    def _request(self, channel: Channel, delivery: Delivery) -> Request | Failure:
        event, config = delivery.event, delivery.action.config
        values = {}
        for name in channel.secret_names(config):
            value = self._secrets.find(event.tenant_slug, name)
            if value is None:
                return Failure(f"secret_missing: {name[:128]}")
            values[name] = value
        return channel.request(event, config, values)

    def _wait(self, delivery: Delivery, delay_ms: int) -> None:
        if self._draining or delivery.source.partition in self._leaving:
            return
        self._timers += 1
        number = self._timers

        def again() -> None:
            del self._waiting[number]
            if self.backlog.holds(delivery.source):
                self._queue(delivery)
                self._pump()

        timer = asyncio.get_running_loop().call_later(delay_ms / 1000, again)
        self._waiting[number] = (timer, delivery)

    def _written(self, writing: asyncio.Future[None]) -> None:
        error = None if writing.cancelled() else writing.exception()
        if isinstance(error, KafkaException) and not self.failed.done():
            self.failed.set_exception(error)

    def _result(self, delivery: Delivery, decision: Decision, started_ms: int, host: str | None) -> ActionResult:
        event, finished_ms = delivery.event, self._clock_ms()
        return ActionResult(
            delivery_id=delivery.id,
            event_id=event.id,
            action_id=delivery.action.id,
            action_type=delivery.action.action_type,
            automation_id=event.automation_id,
            tenant_id=event.tenant_id,
            status=decision.status,
            attempt=decision.attempt,
            error=decision.reason,
            http_status=decision.http_status,
            started_at=started_ms,
            finished_at=finished_ms,
            flow_run_id=event.flow_run_id,
            agent_config_id=event.agent_config_id,
            flow_group_id=event.flow_group_id,
            destination=host,
            next_attempt_at=None if decision.delay_ms is None else finished_ms + decision.delay_ms,
        )

    def _tell(self, delivery: Delivery, result: ActionResult) -> None:
        known = result.action_type if result.action_type in CHANNELS else "other"
        self._metrics[ACTIONS].labels(known, result.status).inc()
        if result.status == decide.SUCCEEDED:
            since_s = (result.finished_at - delivery.event.detected_at) / 1000
            self._metrics[DELIVERY_LATENCY_SECONDS].observe(max(0.0, since_s))
        level = "info" if result.status == decide.SUCCEEDED else "warning"
        getattr(log, level)(
            f"delivery {result.status}",
            event_id=result.event_id,
            delivery_id=result.delivery_id,
            automation_id=result.automation_id,
            action_type=result.action_type,
            attempt=result.attempt,
            reason=result.error,
            destination=result.destination,
        )


def _host(url: str) -> str | None:
    try:
        return URL(url).host
    except ValueError:
        return None
