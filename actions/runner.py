"""From a record that was read to the end of each of its deliveries.

Law: a delivery ends in exactly one of succeeded, dead, expired and muted; it counts as ended with the commit
that holds its result and, of a dead one, its dead letter. Until then a crash repeats it, with the same ids.
What has to wait for longer than seconds, or finds its destination closed or overloaded, leaves through a
retry topic: waiting takes no slot, no turn in a lane and no memory of this process.
"""

import asyncio
from collections.abc import Callable, Collection
from functools import partial

import structlog

from actions import decide
from actions.attempt import Attempt, Attempts
from actions.backlog import Backlog
from actions.channels import CHANNELS
from actions.decide import Decision, Limits
from actions.delivery import Delivery, Source, Unreadable, deliveries, retried, subject
from actions.destinations import lane_of
from actions.health import NEVER
from actions.lanes import Lane, Lanes, Refused
from actions.ledger import Ledger
from actions.means import Means
from actions.offsets import MOST_TRIES
from actions.outbox import Entry, Record, dead_letter, result_of, result_record, retry_record, unattempted
from actions.parked import ANSWER_MS, Knowledge, Parked, place_of
from actions.schedule import parked_delay_ms, retry_after_ms, spread
from actions.soon import Soon
from actions.telling import Telling
from actions.waiting import Waiting, WaitingRoom
from schemas.codec import Codec
from schemas.delivery_headers import DeliveryHeaders
from schemas.records import AutomationEvent
from topology.topics import AUTOMATION_TESTS

log = structlog.get_logger()

CLOCK_UNSURE = "clock_unsure"


class Runner:
    """Delivers what it is given, within bounds. All methods belong to one event loop."""

    def __init__(
        self,
        limits: Limits,
        means: Means,
        codec: Codec,
        lanes: Lanes,
        backlog: Backlog,
        ledger: Ledger,
        telling: Telling,
        parked: Parked,
    ) -> None:
        self._limits = limits
        self._mutes, self._clock, self._roll = means.mutes, means.clock, means.roll
        self._attempts = Attempts(means.send, means.secrets, means.services, means.clock)
        self._services = means.services
        self._codec = codec
        self._lanes = lanes
        self._backlog = backlog
        self._ledger = ledger
        self._telling = telling
        self._parked = parked
        self._tasks: dict[asyncio.Task[None], Delivery] = {}
        self._soon = Soon(self._again)
        self._pump_at: asyncio.TimerHandle | None = None
        self._pump_at_ms = NEVER
        self._pump_soon = False
        self._draining = False
        self._leaving: set[tuple[str, int]] = set()
        self._pulse = means.pulse
        self.waiting = WaitingRoom(limits.schedule.tiers)
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()

    def admit(
        self, source: Source, event: AutomationEvent | None, headers: DeliveryHeaders | None
    ) -> Unreadable | None:
        """Take a record; why no deliveries can be made out, if so. ``event`` ``None`` has none."""
        found: list[Delivery] | Unreadable = []
        if event is not None and source.topic in self.waiting.topics:
            one = retried(event, headers, source)
            found = one if isinstance(one, Unreadable) else [one]
        elif event is not None:
            found = deliveries(event, source, test=source.topic == AUTOMATION_TESTS)
        if isinstance(found, Unreadable):
            self._backlog.read(source, [])
            return found
        due_ms = headers.not_before_ms if headers is not None else None
        for delivery in self._backlog.read(source, found):
            if source.topic in self.waiting.topics:
                self.waiting.add(Waiting(delivery, due_ms or 0, self._parked.ask() if delivery.order else 0))
            elif delivery.tries:
                # Its wait was cut short together with the process that tried it.
                delay_ms = self._limits.schedule.delays_ms[min(delivery.tries, self._limits.schedule.attempts - 1) - 1]
                self._wait(delivery, spread(delay_ms, self._roll()))
            else:
                self._queue(delivery)
        if not self._pump_soon:
            # Once for all that are taken in one go.
            self._pump_soon = True
            self._loop.call_soon(self._in_time, self._pump)
        return None

    def turn(self) -> None:
        """Take up what is due. To be called every tenth of a second or so."""
        now_ms = self._clock.now_ms()
        self._parked.follow(self._sure_ms())
        clock_ms = self._pulse.now_ms()
        for waiting in self.waiting.leaving(now_ms):
            delivery, due_ms, asked, until_ms = waiting
            until_ms = clock_ms + ANSWER_MS if until_ms is None else until_ms
            if due_ms <= now_ms and not self._parked.knows(asked, until_ms, clock_ms):
                self.waiting.add(waiting._replace(until_ms=until_ms))
            elif due_ms <= now_ms:
                self._queue(delivery)
            elif not self._ended_unsent(delivery, now_ms):
                self._move(unattempted(delivery, "waiting", due_ms - now_ms), delivery)
        self._pump()

    def learn(self, knowledge: Knowledge) -> None:
        """Take what the brokers told of those who were put off."""
        self._in_time(partial(self._parked.learn, knowledge))

    def measure(self) -> None:
        """Bring the metrics up to date that nobody changes as it goes."""
        self._telling.still_closed(self._lanes.closed())

    async def release(self, partitions: Collection[tuple[str, int]], patience_s: float) -> None:
        """Begin nothing more of these partitions; let what is in flight end, but wait no longer than that.

        The backlog is to forget them right after it, before anything else is awaited but a commit.
        """

        def unwanted(delivery: Delivery) -> bool:
            return (delivery.source.topic, delivery.source.partition) in partitions

        self._leaving.update(partitions)
        self._parked.released(partitions)
        # Who queued behind one that goes elsewhere waits for it there.
        shaken = {subject(one.event) for one in self._lanes.drop(unwanted, self._pulse.now_ms())}
        for delivery in self._lanes.drop(lambda one: subject(one.event) in shaken, self._pulse.now_ms()):
            self._queue(delivery)
        self.waiting.drop(unwanted)
        self._soon.drop(unwanted)
        self._pump()
        await self._ended([task for task, delivery in self._tasks.items() if unwanted(delivery)], patience_s)
        self._leaving.difference_update(partitions)

    async def drain(self, patience_s: float) -> None:
        """Begin nothing more at all; let what is in flight end, but wait no longer than that."""
        self._draining = True
        self._soon.drop(lambda _: True)
        if self._pump_at is not None:
            self._pump_at.cancel()
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
        if self._ended_unsent(delivery, self._clock.now_ms()):
            return
        channel, source = CHANNELS[delivery.action.action_type], delivery.source
        lane = lane_of(delivery, self._services)
        refused = self._lanes.add(
            lane,
            delivery,
            self._pulse.now_ms(),
            channel.rate,
            returns=source.topic in self.waiting.topics,
            pressed=self._backlog.pressed((source.topic, source.partition)),
            strained=self._pulse.strained,
            older_ms=self._older_ms(lane, delivery),
        )
        if refused is not None:
            self._park(lane, delivery, refused)
        else:
            self._parked.came(delivery.id)

    def _older_ms(self, lane: Lane, delivery: Delivery) -> int | None:
        """In how long an older one of its lane comes from elsewhere; ``None`` if none does."""
        order = place_of(delivery, *lane) if self._parked or delivery.order else None
        now_ms = self._sure_ms()
        due_ms = None if order is None else self._parked.behind(delivery.id, order, now_ms)
        return None if due_ms is None else now_ms and due_ms - now_ms

    def _sure_ms(self) -> int:
        """Now, or 0 before the brokers have told it."""
        return self._clock.now_ms() if self._clock.confirmed else 0

    def _pump(self, now_ms: int | None = None) -> None:
        """Begin all that may begin, and come again when a destination that is held back may be asked."""
        self._pump_soon = False
        # What can't be written down for now isn't sent either: it would be sent again.
        if self._draining or self._ledger.behind:
            return
        now_ms = self._pulse.now_ms() if now_ms is None else now_ms
        while (taken := self._lanes.take(now_ms)) is not None:
            task = self._loop.create_task(self._deliver_on(*taken))
            self._tasks[task] = taken[1]
            task.add_done_callback(self._tidy)
        at_ms = self._lanes.wakes_at()
        if at_ms == self._pump_at_ms:
            return
        self._pump_at_ms = at_ms
        if self._pump_at is not None:
            self._pump_at.cancel()
            self._pump_at = None
        if at_ms != NEVER:
            delay_s = max(at_ms - now_ms, 1) / 1000
            self._pump_at = self._loop.call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._pump_at, self._pump_at_ms = None, NEVER
        self._in_time(self._pump)

    def _in_time(self, *steps: Callable[[], object]) -> None:
        """Do what a timer was for. What goes wrong is told: a delivery would wait for good."""
        try:
            for step in steps:
                step()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def _tidy(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Only what can't be written down ends here: nothing may be committed past it.
            self._fail(error)

    async def _deliver_on(self, lane: Lane, delivery: Delivery) -> None:
        """Deliver one after the other while there is one that may go: that costs less than a task for each.

        Who waits for the end of some waits for their tasks, so then each ends with the delivery that it has.
        """
        task = asyncio.current_task()
        assert task is not None
        try:
            # Without a wait for an answer, others would have to wait for all that can go like this.
            while await self._deliver(lane, delivery) and not (self._leaving or task.cancelling()):
                now_ms = self._pulse.now_ms()
                if self._draining or self._ledger.behind or (taken := self._lanes.take(now_ms)) is None:
                    break
                lane, delivery = taken
                self._tasks[task] = delivery
                self._pump(now_ms)
        finally:
            self._pump()

    async def _deliver(self, lane: Lane, delivery: Delivery) -> bool:
        """One attempt: send, decide, write it down. Whether its destination was asked."""
        channel = CHANNELS[delivery.action.action_type]
        started_ms, began_ms = self._clock.now_ms(), self._pulse.now_ms()
        attempt: Attempt | None = None
        try:
            # Its automation may have been switched off while it queued.
            if not self._ended_unsent(delivery, started_ms):
                attempt = await self._attempts.make(channel, delivery)
        finally:
            now_ms = self._pulse.now_ms()
            self._learn(lane, attempt, now_ms - began_ms, now_ms)
            self._lanes.give_back(lane, now_ms)
            self._evict(lane.destination, now_ms)
        if attempt is None or not self._backlog.holds(delivery.source):
            return False
        if attempt.interrupted and not delivery.test:
            # Ended by us, not by the service: who has had it is remembered, and no attempt is counted.
            left = delivery._replace(recipients_left=attempt.outcome.recipients_left)
            self._move(unattempted(left, "interrupted", 0), left)
        else:
            ended_ms = self._clock.now_ms()
            decision = decide.after(delivery, attempt.outcome, ended_ms, self._limits, self._roll())
            self._conclude(delivery, decision, started_ms, ended_ms, attempt)
        return attempt.fault is not None

    def _ended_unsent(self, delivery: Delivery, now_ms: int) -> bool:
        """Whether it is not to be sent at all; then it has ended here."""
        muted = not delivery.test and self._mutes.muted(delivery.event, delivery.asked_at_ms)
        supported = delivery.action.action_type in CHANNELS
        decision = decide.before(delivery, now_ms, self._limits, muted=muted, supported=supported)
        if decision is None:
            return False
        if decision.status != decide.EXPIRED or self._clock.confirmed:
            self._conclude(delivery, decision, now_ms, now_ms, None)
        elif delivery.test:
            return False
        else:
            # The host's own clock may be wrong by days: a trip through the brokers tells their time.
            self._move(unattempted(delivery, CLOCK_UNSURE, 0), delivery, now_ms=0)
        return True

    def _learn(self, lane: Lane, attempt: Attempt | None, took_ms: int, now_ms: int) -> None:
        """What an attempt says of its destination."""
        health = self._lanes.health(lane.destination)
        if attempt is None or attempt.fault is None:
            health.unsent()
            return
        asked_for = attempt.outcome.retry_after
        asked_ms = None if asked_for is None else retry_after_ms(asked_for, self._clock.now_ms())
        if asked_ms is not None:
            health.patience(now_ms, min(asked_ms, self._limits.schedule.retry_after_max_ms))
        # Who fails and asks for no patience to speak of has failed.
        if attempt.fault and (asked_ms or 0) < 1_000:
            if health.failed(now_ms):
                self._telling.closed(lane.destination, attempt.host, health.closed_until_ms - now_ms)
        else:
            if health.closed:
                self._telling.opened(lane.destination)
            health.answered(took_ms)

    def _evict(self, destination: str, now_ms: int) -> None:
        for delivery, refused in self._lanes.evict(destination, now_ms):
            self._park(Lane(destination, subject(delivery.event)), delivery, refused)

    def _conclude(
        self, delivery: Delivery, decision: Decision, started_ms: int, now_ms: int, attempt: Attempt | None
    ) -> None:
        """Write down what an attempt, or the lack of one, has come to."""
        result = result_of(delivery, decision, started_ms, now_ms, None if attempt is None else attempt.host)
        records: list[Record] = [result_record(result, self._codec)]
        self._telling.result(delivery, result)
        ends = True
        if decision.status == decide.DEAD and not delivery.test:
            records.append(dead_letter(delivery, decision))
        elif decision.delay_ms is not None:
            if self._leaves(delivery, decision, decision.delay_ms):
                records.append(retry_record(delivery, decision, self._limits.schedule, now_ms))
            else:
                ends = False
                again = delivery._replace(
                    attempt=delivery.attempt + 1, tries=delivery.tries + 1, http_status=decision.http_status
                )
                self._wait(again, decision.delay_ms)
        delivery = delivery if ends else delivery._replace(http_status=decision.http_status)
        self._ledger.add(Entry(delivery, tuple(records), ends))

    def _leaves(self, delivery: Delivery, decision: Decision, delay_ms: int) -> bool:
        """Whether a delivery waits for its next attempt in a retry topic: long, or with more to remember.

        How often it was tried is kept with the offsets, up to a bound; who of many has had it only in headers.
        """
        many = delivery.tries + 1 >= MOST_TRIES
        return delay_ms > self._limits.schedule.in_memory_ms or many or bool(decision.recipients_left)

    def _park(self, lane: Lane, delivery: Delivery, refused: Refused) -> None:
        """Let a delivery whose destination takes nothing now wait in a retry topic, without an attempt."""
        now_ms = self._clock.now_ms()
        if self._ended_unsent(delivery, now_ms):
            return
        if delivery.test:
            # Whoever asked for a test waits for its answer now.
            self._conclude(delivery, Decision(decide.DEAD, 0, refused.reason), now_ms, now_ms, None)
            return
        age_ms = max(0, now_ms - delivery.asked_at_ms)
        delay_ms = refused.for_ms
        if not refused.exact:
            delay_ms = parked_delay_ms(self._limits.schedule, age_ms, refused.for_ms, self._roll())
        # That it has become too old is told on time, however long its destination takes nothing.
        left_ms = (delivery.action.max_age_ms or self._limits.max_age_ms) - age_ms + 1_000
        delay_ms = min(delay_ms, left_ms)
        delivery = self._parked.put_off(delivery, place_of(delivery, *lane), self._lanes.held(lane), now_ms, delay_ms)
        # The host's clock may be wrong by days: one never tried comes again at once until the brokers tell the time.
        told_ms = self._sure_ms() if delivery.order else None
        self._move(unattempted(delivery, refused.reason, delay_ms), delivery, now_ms=told_ms)

    def _move(self, decision: Decision, delivery: Delivery, now_ms: int | None = None) -> None:
        """Go on with a delivery in a retry topic: here it has ended. ``now_ms`` is for where the clock is unsure."""
        self._telling.moved(delivery, decision)
        now_ms = self._clock.now_ms() if now_ms is None else now_ms
        record = retry_record(delivery, decision, self._limits.schedule, now_ms)
        self._ledger.add(Entry(delivery, (record,)))

    def _wait(self, delivery: Delivery, delay_ms: int) -> None:
        place = delivery.source.topic, delivery.source.partition
        if self._draining or place in self._leaving:
            return
        self._soon.add(delivery, delay_ms)

    def _again(self, delivery: Delivery) -> None:
        """Its wait in memory is over."""
        if self._backlog.holds(delivery.source):
            self._in_time(partial(self._queue, delivery), self._pump)
