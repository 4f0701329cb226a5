"""A runner with receivers, topics and a clock in memory."""

import asyncio
from collections.abc import Callable

from pydantic import SecretStr

from actions.backlog import Backlog
from actions.channels.channel import Services
from actions.clock import Clock
from actions.decide import Limits
from actions.delivery import Source, Unreadable
from actions.exchange import Mail, Reply, Step
from actions.lanes import Lanes
from actions.ledger import Ledger
from actions.means import Means
from actions.mutes import Mutes
from actions.offsets import Resumed
from actions.outbox import Entry, Record
from actions.parked import Knowledge, Parked
from actions.pulse import Pulse
from actions.runner import Runner
from actions.schedule import Schedule
from actions.secrets import SecretStore
from actions.telling import Telling
from schemas.codec import Codec, Rejected
from schemas.delivery_headers import DeliveryHeaders, decode_headers
from schemas.records import ActionResult, AutomationEvent
from streams.app import Place
from streams.metrics import Metrics
from tests.unit.actions_events import EVENT
from topology.topics import (
    ACTION_RESULTS,
    AUTOMATION_EVENTS,
    AUTOMATION_TESTS,
    EVENTS_DLQ,
    RETRY_1H,
    RETRY_1M,
    RETRY_10M,
)

DAY_MS = 86_400_000
QUICK = Schedule().scaled(0.001)
"""A thousand times as fast; what waits for more than 10 ms leaves through a retry topic."""
RETRIES = (RETRY_1M, RETRY_10M, RETRY_1H)
PLACES: tuple[Place, ...] = tuple((topic, 0) for topic in (AUTOMATION_EVENTS, AUTOMATION_TESTS, *RETRIES))


class SetClock(Clock):
    """A clock that stands where it is set."""

    def __init__(self) -> None:
        super().__init__()
        self.at_ms = EVENT.detected_at + 5
        self.sure = True

    @property
    def confirmed(self) -> bool:
        return self.sure

    def now_ms(self) -> int:
        return self.at_ms


class Book(Ledger):
    """What would be written; ``commit`` writes it. There is ``room`` for so many entries."""

    def __init__(self, backlog: Backlog) -> None:
        self.backlog = backlog
        self.is_behind = False
        self.room = 1_000_000
        self.entries: list[Entry] = []
        self.written: list[Record] = []

    @property
    def behind(self) -> bool:
        return self.is_behind

    def add(self, entry: Entry) -> None:
        self.room -= 1
        if self.room < 0:
            raise RuntimeError("a secret text")
        self.entries.append(entry)

    async def commit(self) -> bool:
        entries, self.entries = [one for one in self.entries if self.backlog.holds(one.delivery.source)], []
        for entry in entries:
            if entry.ends is not None:
                (self.backlog.ended if entry.ends else self.backlog.tried)(entry.delivery)
            self.written += entry.records
        return True


class World:
    """``reply`` answers each step. While ``answering`` is not set, answers wait for it."""

    def __init__(self, reply: Callable[[Step], Reply], schedule: Schedule = QUICK, **named: str) -> None:
        self.reply = reply
        self.sent: list[str] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.clock = SetClock()
        self.mutes = Mutes()
        self.codec = Codec()
        self.backlog = Backlog()
        self.backlog.assign(dict.fromkeys(PLACES, Resumed()))
        self.book = Book(self.backlog)
        self.lanes = Lanes()
        self.secrets = {name: SecretStr(value) for name, value in named.items()}
        self.pulse = Pulse()
        self.pulse.start()
        secrets = SecretStore(None, self.secrets)
        means = Means(self.send, secrets, Services(), self.mutes, self.clock, self.pulse, lambda: 0.5)
        self.parked = Parked()
        limits = Limits(schedule, 12, DAY_MS)
        telling = Telling(Metrics())
        self.runner = Runner(limits, means, self.codec, self.lanes, self.backlog, self.book, telling, self.parked)
        self._next_offset = 0

    async def send(self, step: Step, timeout_ms: int | None) -> Reply:
        self.sent.append("mail" if isinstance(step, Mail) else step.url)
        await self.answering.wait()
        return self.reply(step)

    def admit(
        self,
        event: AutomationEvent | None,
        topic: str = AUTOMATION_EVENTS,
        headers: DeliveryHeaders | None = None,
    ) -> Unreadable | None:
        """The next record of a topic's first partition, appended now."""
        self._next_offset += 1
        generation = self.backlog.generation((topic, 0))
        assert generation is not None
        source = Source(topic, 0, self._next_offset, b"k", b"v", self.clock.at_ms, generation)
        return self.runner.admit(source, event, headers)

    def come_back(self, event: AutomationEvent, record: Record) -> None:
        """A retry record is read again."""
        assert self.admit(event, record.topic, decode_headers(record.headers)) is None

    async def settle(self, *, turning: bool = True) -> None:
        """Until all that was read has ended or waits in the waiting room."""
        async with asyncio.timeout(5):
            while True:
                await self.book.commit()
                if turning:
                    self.turn()
                if self.backlog.open([topic for topic, _ in PLACES])[0] == 0:
                    return
                await asyncio.sleep(0.001)

    def turn(self) -> None:
        """What is due is taken up; the brokers know of nobody who was put off elsewhere."""
        self.parked.learn(Knowledge(self.parked.begin(), [], {}))
        self.runner.turn()

    async def sends(self, count: int) -> None:
        """Until so many requests were made."""
        async with asyncio.timeout(5):
            while len(self.sent) < count:  # noqa: ASYNC110 - the runner has no event for it
                await asyncio.sleep(0.001)

    @property
    def results(self) -> list[ActionResult]:
        """The results written."""
        decoded = [self.codec.decode_result(one.value) for one in self.book.written if one.topic == ACTION_RESULTS]
        return [one for one in decoded if not isinstance(one, Rejected)]

    @property
    def ends(self) -> list[tuple[str, int, str | None]]:
        """The results' status, attempt and reason."""
        return [(one.status, one.attempt, one.error) for one in self.results]

    def headers(self, *topics: str) -> list[DeliveryHeaders]:
        """The headers of the records written to these topics."""
        found = [decode_headers(one.headers) for one in self.book.written if one.topic in topics]
        return [one for one in found if one is not None]

    @property
    def dead(self) -> list[DeliveryHeaders]:
        return self.headers(EVENTS_DLQ)

    @property
    def retries(self) -> list[Record]:
        return [one for one in self.book.written if one.topic in RETRIES]
