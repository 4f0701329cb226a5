"""The loop: records in, one transaction out, about every commit interval.

A turn: poll the inputs, read the control topic, look for answers about ends, restore what was taken over,
let each partition work, and commit when it is time. Events, changelogs, positions and input offsets are in
one transaction, committed with the group's metadata: a member that was declared dead can't commit.

An abort takes state back to the last commit and reads on from there. See ``streams.errors`` for the rest.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from schemas.codec import RegistryUnavailable
from streams import clients
from streams.app import App, Place, Watcher
from streams.backpressure import Backpressure
from streams.broker_time import BrokerTime
from streams.control_reader import ControlReader
from streams.control_topic import ControlTopic
from streams.ends import Ends
from streams.errors import Lost, MustAbort, StateError, hold_permitted, more_partitions, of_reading
from streams.group import members_asked
from streams.partition import Partition, Unread
from streams.position import POSITION_KEY
from streams.predecessors import Predecessors, peek_positions
from streams.store import Store
from streams.takeover import Brokers, Taken, Takeovers, seek
from streams.telemetry import librdkafka_logger
from streams.topic_ids import TopicIds
from streams.transaction import Transaction, end_predecessor
from topology.names import AUTOMATIONS, INPUTS
from topology.settings import Settings
from topology.topics import changelog_of

log = structlog.get_logger()

BATCH = 2_000
POLL_S = RESTORE_S = 0.01
ASK_EVERY_S = 0.1
"""How often an idle process asks for the ends."""
ANCHOR_EVERY_S = 10.0
"""How often an idle process appends its positions: that keeps broker time true, and progress from getting lost."""
HOLD_S = 1.0
"""How long a partition is held when the Schema Registry can't be reached."""


class Loop:
    """The Kafka clients of one process, and the partitions that it owns.

    ``widths`` gives the partition count of each input topic. Used from one thread.
    """

    transactions: type[Transaction] = Transaction

    def __init__(
        self, settings: Settings, app: App, widths: dict[str, int], watcher: Watcher, accept_gap: bool = False
    ) -> None:
        self.active: dict[Place, Partition] = {}
        self.highs: dict[Place, int] = {}
        self.assigned = False
        self._owned = 0
        self.moved_s = monotonic()
        self._settings, self._app, self._widths, self._watcher = settings, app, widths, watcher
        self._time = BrokerTime()
        self._anchored = False
        self._control = ControlTopic(app.control)
        self._control_place = (settings.topic(AUTOMATIONS), 0)
        self._inputs = {settings.topic(name): name for name in INPUTS}
        self._held: dict[Place, float] = {}
        self._failure: Exception | None = None
        self._abandoned = False
        self._began_s = self._asked_s = self._anchored_s = monotonic()
        self._connect(settings, accept_gap)

    def _connect(self, settings: Settings, accept_gap: bool) -> None:
        logger = librdkafka_logger()
        own_id = clients.transactional_id_of(settings)
        producer = clients.transactional_producer(settings, own_id)
        self._transaction = self.transactions(producer, self._appended, logger, self._alive)
        self._admin = clients.leaders_admin(settings)
        self._ends = Ends(self._admin)
        changelogs = [changelog_of(settings, name) for name in INPUTS]
        self._topic_ids = TopicIds(self._admin, [*self._inputs, self._control_place[0], *changelogs])
        self._control_reader = ControlReader(settings, self._control_place, self._control, self._observe)
        self._consumer = Consumer(clients.group_consumer(settings, own_id), logger=logger)
        reading, group = clients.table_reader(settings), settings.consumer_group
        self._backpressure = Backpressure(self._consumer)
        self._restore_reader = Consumer(reading, logger=logger)
        predecessors = Predecessors(
            lambda: members_asked(self._admin, group),
            (clients.transactional_ids(settings), own_id),
            lambda changelog, span: peek_positions(reading, changelog, span),
            lambda owner: end_predecessor(producer, owner, logger),
        )
        asked = Brokers(self._admin, group, self._topic_ids)
        self._takeovers = Takeovers(self._restore_reader, asked, predecessors, accept_gap)

    def start(self) -> None:
        """Ends what an earlier process of the same id left open, and joins the group."""
        changelogs = [changelog_of(self._settings, name) for name in INPUTS]
        for reader, topics in ((self._restore_reader, changelogs), (self._consumer, list(self._inputs))):
            clients.warm_up(reader, topics, self._alive)
            self._alive()
        self._transaction.fence()
        self._consumer.subscribe(
            list(self._inputs), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def turn(self) -> None:
        """One turn. Raises `StateError` or `Lost`."""
        busy = self._work()
        try:
            self._transaction.poll()
        except MustAbort as error:
            self._abort(error)
        if self._due(busy):
            self._commit()
        self._control_reader.poll()
        self._take(self._consumer.consume(BATCH, 0 if busy else POLL_S))
        if self._failure is not None:
            raise self._failure
        self._restore(busy)
        self._topic_ids.watch()
        self._ask()
        self._alive()

    def close(self) -> None:
        """Commits what is done and leaves the group."""
        try:
            self._commit()
        finally:
            self._consumer.close()
            self._control_reader.close()
            self._restore_reader.close()

    def abandon(self) -> None:
        """Leaves the group without committing: what is open will be aborted."""
        self._abandoned = True
        for reader in (self._consumer, self._control_reader, self._restore_reader):
            with suppress(KafkaException, RuntimeError):  # closed already
                reader.close()
            self._alive()
        self.active.clear()

    def now_ms(self) -> int | None:
        """Broker time, once this process has appended something."""
        return self._time.at(_monotonic_ms()) if self._anchored else None

    @property
    def restoring(self) -> int:
        """Partitions taken over that are not at work yet."""
        at_work = sum(partition.ready and not partition.logic.pending for partition in list(self.active.values()))
        return self._owned - at_work

    def _work(self) -> bool:
        """Lets each partition work; True if one has more to do at once."""
        now_ms = self.now_ms()
        if now_ms is None:
            return False
        more = False
        control_ms = self._control.progress_ms
        for place, partition in self.active.items():
            if not partition.ready:
                partition.begin(now_ms)
            if self._held and self._held.get(place, 0) > monotonic():
                continue
            try:
                more |= not partition.work(control_ms, now_ms)
            except RegistryUnavailable as error:
                log.warning("held until the Schema Registry answers", partition=partition.where, problem=str(error))
                self._held[place] = monotonic() + HOLD_S
            self._send(place, partition)
            self._alive()
        return more

    def _send(self, place: Place, partition: Partition) -> None:
        """Hands over to the producer what the partition has put out and changed."""
        produce, topic = self._transaction.produce, self._settings.topic
        if partition.logic.out:
            # Whatever a transaction holds, it commits the offsets too: they carry the proof of membership.
            partition.noted = False
        try:
            for output in partition.logic.out:
                produce(topic(output.topic), output.key, output.value, headers=output.headers)
            partition.logic.out.clear()
            changes = partition.store.drain()
            if changes:
                partition.noted = False
                changelog = changelog_of(self._settings, self._inputs[place[0]])
                for key, value in changes.items():
                    produce(changelog, key, value, place[1])
        except MustAbort as error:
            self._abort(error)

    def _due(self, busy: bool) -> bool:
        waited_s = monotonic() - self._began_s
        if waited_s * 1000 < self._settings.commit_interval_ms:
            return False
        if not busy and monotonic() - self._anchored_s > ANCHOR_EVERY_S:
            return True
        return self._transaction.open or any(not partition.noted for partition in self.active.values())

    def _commit(self) -> None:
        """Commits the open transaction, with the positions of the partitions that have moved."""
        if self._abandoned:
            return
        began_s = self._began_s = monotonic()
        anchoring = began_s - self._anchored_s > ANCHOR_EVERY_S
        positions = {}
        try:
            for place, partition in self.active.items():
                if anchoring or not partition.noted:
                    position = positions[place] = partition.note()
                    changelog = changelog_of(self._settings, self._inputs[place[0]])
                    value, beside = position.encode(), partition.beside
                    self._transaction.produce(changelog, POSITION_KEY, value, place[1], beside, anchor=True)
            if not self._transaction.open:
                return
            offsets = [TopicPartition(*place, position.offset) for place, position in positions.items()]
            self._transaction.commit(self._consumer, offsets)
        except MustAbort as error:
            self._abort(error)
            return
        for place, position in positions.items():
            self.active[place].committed(position)
        self._anchored_s = began_s if positions else self._anchored_s
        self._watcher.committed(monotonic() - began_s, self.active)

    def _abort(self, why: MustAbort) -> None:
        """Takes everything since the last commit back, and reads on from there."""
        log.warning("transaction aborted", problem=str(why))
        self._transaction.abort()
        self._watcher.aborted()
        for place, partition in self.active.items():
            seek(self._consumer, place, partition.rollback())
            self._alive()

    def _take(self, messages: list[Message]) -> None:
        """Sorts what was polled to its partitions."""
        active, latest_ms = self.active, 0
        for message in messages:
            place = (message.topic() or "", message.partition() or 0)
            error = message.error()
            if error is not None:
                self._problem(place, message, error)
                continue
            partition = active.get(place)
            if partition is not None:
                kind, log_ms = message.timestamp()
                if kind != TIMESTAMP_LOG_APPEND_TIME:
                    raise StateError(f"{partition.where}: its records have no append time: set LogAppendTime")
                latest_ms = max(latest_ms, log_ms)
                partition.offer(Unread(message.offset() or 0, log_ms, message.key(), message.value()))
        if latest_ms:
            self._observe(latest_ms)
        self._backpressure.balance(active)

    def _problem(self, place: Place, message: Message, error: KafkaError) -> None:
        partition = self.active.get(place)
        hold_permitted(error)
        if error.code() == KafkaError._PARTITION_EOF:
            if partition is not None:
                partition.read_to(message.offset() or 0)
            return
        where = None if partition is None else (partition.where, partition.read_end)
        meaning = of_reading(error, where, self._settings.instance_id)
        if meaning is not None:
            raise meaning
        log.warning("reading", problem=error.str())

    def _ask(self) -> None:
        """Asks for the ends when progress, or a record that waits for the control topic, needs them."""
        answer = self._ends.answer()
        if answer is not None:
            for place, high in answer.highs.items():
                if place == self._control_place:
                    self._control.confirm_end(high, answer.asked_ms)
                elif place in self.active:
                    self.highs[place] = high
                    self.active[place].confirm_end(high, answer.asked_ms)
        now_ms = self.now_ms()
        if self._ends.asking or now_ms is None:
            return
        waits = any(
            at is not None and at >= self._control.progress_ms
            for at in (partition.waits_for_control_ms for partition in self.active.values())
        )
        if waits or monotonic() - self._asked_s > ASK_EVERY_S:
            self._asked_s = monotonic()
            self._ends.ask([self._control_place, *self.active], now_ms)

    def _restore(self, busy: bool) -> None:
        try:
            taken = self._takeovers.poll(0 if busy else RESTORE_S)
        except KafkaException as error:
            hold_permitted(error.args[0])
            log.warning("restoring waits", problem=str(error))
            return
        for one in taken:
            self._begin(one)
            self._alive()
        if taken:
            # At once: the append tells broker time, and whoever takes over next finds this producer's id.
            self._commit()

    def _begin(self, taken: Taken) -> None:
        """A restored partition goes to work, after its position is committed: that also tells broker time."""
        place, partition, resume, seconds = taken
        as_they_were = self._settings.first_start == "beginning"
        partition.resume(resume.offset, 0 if as_they_were else None, resume.gap)
        self.active[place] = partition
        seek(self._consumer, place, resume.offset)
        self._consumer.resume([TopicPartition(*place)])
        self._watcher.restored(seconds)
        log.info(
            "partition at work", partition=partition.where, offset=resume.offset, gap=resume.gap,
            keys=len(partition.store.data), restored_in_s=round(seconds, 3),
        )  # fmt: skip

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.assigned = True
        self._owned += len(partitions)
        self._watcher.rebalanced()
        begin = [TopicPartition(p.topic, p.partition, OFFSET_BEGINNING) for p in partitions]
        consumer.incremental_assign(begin)
        consumer.pause(begin)
        self._takeovers.look()
        for p in partitions:
            name, width = self._inputs[p.topic], self._widths[p.topic]
            if p.partition >= width:
                self._failure = more_partitions(p.topic, width)
                continue
            store = Store()
            logic = self._app.logic(name, p.partition, width, store)
            where = f"{p.topic} [{p.partition}]"
            partition = Partition(where, logic, store, width, self._transaction.transactional_id)
            changelog = (changelog_of(self._settings, name), p.partition)
            self._takeovers.begin((p.topic, p.partition), partition, changelog)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._watcher.rebalanced()
        try:
            self._commit()
        except (Lost, StateError) as error:
            self._failure = error
        self._give_up(consumer, partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        log.warning("partitions lost: this member was declared dead", partitions=len(partitions))
        self._watcher.rebalanced()
        lost = {(p.topic, p.partition) for p in partitions}
        for place in lost:
            self.active.pop(place, None)
        try:
            self._abort(MustAbort("its partitions were lost"))
        except Lost as error:
            self._failure = error
        self._give_up(consumer, partitions)

    def _give_up(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._owned -= len(partitions)
        for p in partitions:
            place = (p.topic, p.partition)
            self.active.pop(place, None)
            self.highs.pop(place, None)
            self._backpressure.forget(place)
            self._takeovers.drop(place)
        consumer.incremental_unassign(partitions)

    def _alive(self) -> None:
        self.moved_s = monotonic()

    def _appended(self, append_ms: int) -> None:
        self._anchored = True
        self._observe(append_ms)

    def _observe(self, append_ms: int) -> None:
        self._time.observe(append_ms, _monotonic_ms())


def _monotonic_ms() -> int:
    return int(monotonic() * 1000)
