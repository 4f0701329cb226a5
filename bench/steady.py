"""A steady stream of runs that fail, and when their events arrive: what a fault does shows as a silence."""

from __future__ import annotations

import time
from itertools import pairwise
from threading import Event, Thread
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.codec import Codec
from schemas.control import Automation, ControlRecord
from schemas.records import FLOW_RUN_STATE_CHANGED, AutomationEvent, FlowRunState
from streams.topic_reader import watermarks
from topology.kafka_config import client_config
from topology.names import AUTOMATION_EVENTS, FLOW_RUN_STATE
from topology.partitioner import LIBRDKAFKA_PARTITIONERS, partition_of
from topology.settings import Settings

TENANT = "0b1c2d3e-4f50-4617-a8b9-c0d1e2f30415"
EVERY_S = 0.01


def on_failed() -> list[ControlRecord]:
    """The automation that each run of the stream fires once."""
    fields = {
        "id": "3e4f5061-7283-4495-a6b7-c8d9eaf00112", "tenant_id": TENANT, "tenant_slug": "acme", "name": "failures",
        "action_ids": [], "event_type": FLOW_RUN_STATE_CHANGED, "states": ["Failed"],
    }  # fmt: skip
    return [Automation.model_validate(fields)]


class Arrival(NamedTuple):
    """An event as a reader of committed data got it: when (monotonic), and the input partition it came of."""

    at_s: float
    partition: int


class SteadyRuns:
    """A run fails every 10 ms, in any of the partitions; a context manager."""

    def __init__(self, settings: Settings) -> None:
        self.sent = 0
        self.arrivals: list[Arrival] = []
        self.ids: set[str] = set()
        self.repeated = 0
        self._settings = settings
        self._stopping, self._silent = Event(), Event()
        self._threads = [Thread(target=work, daemon=True) for work in (self._send, self._read)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)

    def finish(self) -> None:
        """Sends no more."""
        self._silent.set()
        self._threads[0].join(10)

    def problem(self, timeout_s: float = 30) -> str | None:
        """After `finish`: what is wrong with what arrived; None if each run fired exactly once."""
        give_up_s = time.monotonic() + timeout_s
        while len(self.ids) < self.sent and time.monotonic() < give_up_s:
            time.sleep(0.1)
        if len(self.ids) != self.sent or self.repeated:
            return f"of {self.sent} runs {len(self.ids)} fired, {self.repeated} events came twice"
        return None

    def first_after(self, instant_s: float, partition: int) -> float | None:
        """When the first event of an input partition arrived after an instant."""
        for at_s, found in list(self.arrivals):
            if found == partition and at_s > instant_s:
                return at_s
        return None

    def silence(self, partition: int, from_s: float, to_s: float) -> float:
        """The longest time without an event of an input partition that overlaps the given time."""
        times = [at_s for at_s, found in list(self.arrivals) if found == partition]
        gaps = [(after - before) for before, after in pairwise(times) if after > from_s and before < to_s]
        return max(gaps, default=0.0)

    def _send(self) -> None:
        settings = self._settings
        encode = Codec().encode_state
        producer = Producer(
            {
                **client_config(settings),
                "linger.ms": 1,
                "partitioner": LIBRDKAFKA_PARTITIONERS[settings.partitioner],
            }
        )
        topic, began_s = settings.topic(FLOW_RUN_STATE), time.monotonic()
        while not self._silent.is_set():
            run = f"9d1e2f3a-5b6c-4d7e-8f90-{self.sent:012d}"
            record = FlowRunState(
                TENANT, "acme", "5f0d7c1e-2a3b-4c5d-9e8f-0a1b2c3d4e5f", "etl", "7a6b5c4d-3e2f-4a1b-8c9d-0e1f2a3b4c5d",
                run, "amber-fox", 1, "Failed", "it failed", time.time_ns() // 1_000_000,
            )  # fmt: skip
            producer.produce(topic, encode(record), run.encode())
            producer.poll(0)
            self.sent += 1
            self._silent.wait(max(0.0, began_s + self.sent * EVERY_S - time.monotonic()))
        producer.flush(10)

    def _read(self) -> None:
        settings, decode = self._settings, Codec().decode_event
        topic, count = settings.topic(AUTOMATION_EVENTS), settings.partitions_of(FLOW_RUN_STATE)
        consumer = Consumer(
            {
                **client_config(settings),
                "group.id": "unused",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 20,
                "fetch.queue.backoff.ms": 5,
            }
        )
        consumer.assign([TopicPartition(topic, p, end) for p, (_, end) in watermarks(settings, topic).items()])
        while not self._stopping.is_set():
            messages = consumer.consume(1_000, 0.05)
            at_s = time.monotonic()
            for message in messages:
                if message.error() is None:
                    event = decode(message.value())
                    assert isinstance(event, AutomationEvent)
                    self.repeated += event.id in self.ids
                    self.ids.add(event.id)
                    run = (event.flow_run_id or "").encode()
                    self.arrivals.append(Arrival(at_s, partition_of(settings.partitioner, run, count)))
        consumer.close()
