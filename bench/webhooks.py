"""The workload of the action runner: events with one webhook each, and the results that came of them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition

from schemas.codec import Codec
from schemas.records import FLOW_RUN_STATE_CHANGED, ActionResult, AutomationEvent
from streams.topic_reader import partitions_of
from topology.kafka_config import client_config
from topology.partitioner import LIBRDKAFKA_PARTITIONERS
from topology.settings import Settings
from topology.topics import ACTION_RESULTS, AUTOMATION_EVENTS

ON_RETRY = "retrying"


def event(number: int, url: str, prefix: str) -> AutomationEvent:
    """An event of the present about a run of its own, such as the consumer writes, with a webhook to ``url``."""
    now_ms = time.time_ns() // 1_000_000
    run = f"9d1e2f3a-5b6c-4d7e-8f90-{number:012d}"
    flow, group = "5f0d7c1e-2a3b-4c5d-9e8f-0a1b2c3d4e5f", "7a6b5c4d-3e2f-4a1b-8c9d-0e1f2a3b4c5d"
    base = "https://flows.example.com/acme"
    action = {"id": "1c2d3e4f-call-back", "name": "call back", "action_type": "WebhookAction", "config": {"url": url}}
    return AutomationEvent(
        id=f"{prefix}-{number}", event_name=FLOW_RUN_STATE_CHANGED,
        message=f"Run amber-fox of flow etl-flow-042 entered state Failed at {now_ms}.",
        tenant_id="0b1c2d3e-4f50-4617-a8b9-c0d1e2f30415", tenant_slug="acme", timestamp=now_ms,
        automation_id="3e4f5061-7283-4495-a6b7-c8d9eaf00112", automation_name="failures", flow_id=flow,
        flow_name="etl-flow-042", flow_group_id=group, flow_link=f"{base}/flow/{flow}", flow_run_id=run,
        flow_run_name="amber-fox", state="Failed", state_message="Task 'load' raised ValueError: no such table",
        flow_run_link=f"{base}/flow-run/{run}", flow_sla_config_id=None, kind=None, duration_seconds=None,
        agent_config_id=None, sla_min_healthy=None, healthy_agent_ids=None, unhealthy_agent_ids=None,
        detected_at=now_ms, actions=json.dumps([action]),
    )  # fmt: skip


class Sent(NamedTuple):
    """When each event was appended, by its id (ms since 1970), and how much later than due each was put (ms)."""

    appended_ms: dict[str, int]
    late_ms: list[float]


class Events:
    """Puts events on the topic, to the given addresses in turn."""

    def __init__(self, settings: Settings, urls: Sequence[str]) -> None:
        self._topic = settings.topic(AUTOMATION_EVENTS)
        self._urls = urls
        self._encode = Codec().encode_event
        self._producer = Producer(
            {
                **client_config(settings),
                "linger.ms": 5,
                "compression.type": "lz4",
                "partitioner": LIBRDKAFKA_PARTITIONERS[settings.partitioner],
            }
        )

    def preload(self, count: int, prefix: str) -> None:
        """Puts so many there at once."""
        for number in range(count):
            self._put(number, prefix)
        self._flush()

    def steadily(self, count: int, prefix: str, per_second: float) -> Sent:
        """Puts so many there at an even pace."""
        sent = Sent({}, [])
        began_s = time.monotonic()
        number = 0
        while number < count:
            now_s = time.monotonic()
            if now_s < began_s + number / per_second:
                self._producer.poll(0.002)
                continue
            sent.late_ms.append((now_s - began_s - number / per_second) * 1000)
            self._put(number, prefix, sent.appended_ms)
            number += 1
        self._flush()
        return sent

    def _put(self, number: int, prefix: str, appended_ms: dict[str, int] | None = None) -> None:
        one = event(number, self._urls[number % len(self._urls)], prefix)

        def delivered(error: Any, message: Any) -> None:
            if appended_ms is not None and error is None:
                appended_ms[one.id] = message.timestamp()[1]

        while True:
            try:
                self._producer.produce(self._topic, self._encode(one), one.flow_run_id, on_delivery=delivered)
                return
            except BufferError:
                self._producer.poll(0.05)

    def _flush(self) -> None:
        if self._producer.flush(60):
            raise SystemExit("Kafka did not take the events within a minute")


class Results:
    """Reads the committed results as they come. A context manager."""

    def __init__(self, settings: Settings) -> None:
        self._decode = Codec().decode_result
        self._consumer = Consumer(
            {
                **client_config(settings),
                "group.id": "bench-results",  # required by the client; no group is joined, no offset committed
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        topic = settings.topic(ACTION_RESULTS)
        self._consumer.assign(
            [TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions_of(self._consumer, topic)]
        )
        self.statuses: Counter[str] = Counter()
        """How many results there are of each status, those of attempts that another followed included."""
        self.finals: Counter[str] = Counter()
        """How many final results each event has: one, or something is wrong."""

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read(self, timeout_s: float) -> None:
        """Takes what has come, waiting for the first."""
        for result in self._read(timeout_s):
            self.statuses[result.status] += 1
            if result.status != ON_RETRY:
                self.finals[result.event_id] += 1

    def _read(self, timeout_s: float) -> Iterator[ActionResult]:
        first = self._consumer.poll(timeout_s)
        messages = [] if first is None else [first, *self._consumer.consume(2_000, 0)]
        for message in messages:
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            result = self._decode(message.value())
            assert isinstance(result, ActionResult), result
            yield result
