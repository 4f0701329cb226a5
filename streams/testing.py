"""The test driver: the loop's partitions, logic and transactions over in-memory topics, with a settable clock.

The clock is the brokers': an append takes it as its log time. Processes read when they are told to, as far as
they are told to; they can crash, restart and hand partitions over. What the Kafka loop adds is only how
records come and go, so a scenario of three days that runs here in milliseconds holds there.
"""

from __future__ import annotations

from collections.abc import Callable

from streams.app import App, Place
from streams.control_topic import ControlTopic
from streams.partition import Output, Partition, Unread
from streams.position import POSITION_KEY, resume_at
from streams.store import Store


class _Log:
    """One partition in memory: its records, its changelog, the group's committed offset."""

    def __init__(self) -> None:
        self.records: list[Unread] = []
        self.changelog: dict[bytes, bytes] = {}
        self.committed: int | None = None

    def append(self, log_ms: int, key: bytes | None, value: bytes | None) -> None:
        self.records.append(Unread(len(self.records), log_ms, key, value))


class Process:
    """One process of the group: reads the control topic itself, and the partitions that it owns."""

    def __init__(self, driver: Driver) -> None:
        self.app = driver.make_app()
        self.partitions: dict[Place, Partition] = {}
        self._driver = driver
        self._control = ControlTopic(self.app.control)
        self._pending: list[Output] = []

    def own(self, place: Place) -> None:
        """Takes a partition over: restores its state, resumes at its position."""
        driver, log = self._driver, self._driver.logs[place]
        self._read_control(len(driver.control.records))
        store = Store()
        partitions = driver.inputs[place[0]]
        logic = self.app.logic(*place, partitions, store)
        partition = Partition(f"{place[0]} [{place[1]}]", logic, store, partitions, owner="driver")
        for key, value in log.changelog.items():
            partition.restore(key, value)
        high = len(log.records)
        resume = resume_at(partition.where, log.committed, partition.position, 0, high, driver.accept_gap)
        started_ms = 0 if driver.first_start == "beginning" else driver.clock_ms
        partition.resume(resume.offset, started_ms, resume.gap)
        self.partitions[place] = partition
        self.commit()

    def poll(self, records: int | None = None, control: int | None = None, confirm: bool = True) -> None:
        """Reads at most so many records of each partition and of the control topic, and works on them.

        ``confirm`` asks the brokers for the ends, so that progress moves on where all is read.
        """
        driver = self._driver
        self._read_control(control)
        if confirm:
            self._control.confirm_end(len(driver.control.records), driver.clock_ms)
        for place, partition in self.partitions.items():
            log = driver.logs[place]
            start = partition.read_end
            stop = len(log.records) if records is None else start + records
            for record in log.records[start:stop]:
                partition.offer(record)
            if confirm:
                partition.confirm_end(len(log.records), driver.clock_ms)
            while not partition.work(self._control.progress_ms, driver.clock_ms):
                self._collect(partition)
            self._collect(partition)

    def commit(self) -> None:
        """Commits the open transaction: outputs, changelogs, positions, offsets."""
        for place, partition in self.partitions.items():
            log = self._driver.logs[place]
            self._collect(partition)
            if partition.noted:
                continue
            for key, value in partition.store.drain().items():
                if value is None:
                    log.changelog.pop(key, None)
                else:
                    log.changelog[key] = value
            position = partition.note()
            log.changelog[POSITION_KEY] = position.encode()
            log.committed = position.offset
            partition.committed(position)
        self._driver.committed.extend(self._pending)
        self._pending = []

    def abort(self) -> None:
        """Aborts the open transaction, as a rebalance or a broker may demand; work starts over from it."""
        self._pending = []
        for partition in self.partitions.values():
            partition.rollback()

    def _read_control(self, most: int | None) -> None:
        records = self._driver.control.records
        stop = len(records) if most is None else self._control.offset + most
        for record in records[self._control.offset : stop]:
            self._control.offer(record)

    def _collect(self, partition: Partition) -> None:
        self._pending.extend(partition.logic.out)
        partition.logic.out.clear()


class Driver:
    """Topics in memory and a clock. ``inputs`` gives each input topic's partition count.

    ``first_start`` is ``now`` or ``beginning``. All times in ms.
    """

    def __init__(self, make_app: Callable[[], App], inputs: dict[str, int], first_start: str = "beginning") -> None:
        self.make_app = make_app
        self.inputs = inputs
        self.first_start = first_start
        self.accept_gap = False
        self.clock_ms = 0
        self.control = _Log()
        self.logs = {(topic, p): _Log() for topic, count in inputs.items() for p in range(count)}
        self.committed: list[Output] = []
        """What a read_committed reader of the output topics has seen."""

    def append(self, place: Place, key: bytes | None, value: bytes | None) -> None:
        """Appends to an input partition, now."""
        self.logs[place].append(self.clock_ms, key, value)

    def append_control(self, key: bytes, value: bytes | None) -> None:
        """Appends to the control topic, now."""
        self.control.append(self.clock_ms, key, value)

    def start(self, places: list[Place] | None = None) -> Process:
        """Starts a process that owns some partitions, by default all."""
        process = Process(self)
        for place in self.logs if places is None else places:
            process.own(place)
        return process
