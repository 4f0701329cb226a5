"""What tests of the action runner need around it: receivers, the process itself, and its topics."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, NamedTuple
from urllib.request import urlopen

from aiohttp import web
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from schemas.codec import Codec, Rejected
from schemas.records import FLOW_RUN_STATE_CHANGED, ActionResult, AutomationEvent
from topology.apply import apply
from topology.java import die_with_parent
from topology.settings import Settings
from topology.topics import ACTION_RESULTS, AUTOMATION_EVENTS, EVENTS_DLQ

ROOT = Path(__file__).parents[2]
CODEC = Codec()


class Received(NamedTuple):
    """A request that a receiver got."""

    path: str
    event_id: str
    at_s: float
    body: Any
    status: int = 200
    unix_s: float = 0.0


class Receiver:
    """A real HTTP server: answers each path as told, after ``delay_s``, and remembers what it got."""

    def __init__(self, delay_s: float = 0) -> None:
        self.delay_s = delay_s
        self._lock = Lock()
        self._up = Event()
        self._loop = asyncio.new_event_loop()
        self.received: list[Received] = []
        self.answers: dict[str, list[int]] = {}
        """By path: the statuses of the first answers; the usual one afterwards."""
        self.patience_s: list[int] = []
        """What its next answers of 429 ask for."""
        self.usual: Callable[[str], int] = lambda _: 200
        """What is answered to an event of this id."""
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._up.wait(10)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def event_ids(self, path: str) -> list[str]:
        with self._lock:
            return [one.event_id for one in self.received if one.path == path]

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    async def _answer(self, request: web.Request) -> web.Response:
        text, now_s = await request.text(), time.time()
        with self._lock:
            event_id = request.headers.get("X-PREFECT-EVENT-ID", "")
            left = self.answers.get(request.path)
            status = left.pop(0) if left else self.usual(event_id)
            self.received.append(Received(request.path, event_id, time.monotonic(), json.loads(text), status, now_s))
        await asyncio.sleep(self.delay_s)
        asked = {"Retry-After": str(self.patience_s.pop(0))} if status == 429 and self.patience_s else {}
        return web.Response(status=status, text="ok", headers=asked)

    def _serve(self) -> None:
        async def serve() -> None:
            self._stopping = asyncio.Event()
            app = web.Application()
            app.router.add_post("/{tail:.*}", self._answer)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = int(runner.addresses[0][1])
            self._up.set()
            await self._stopping.wait()
            await runner.cleanup()

        self._loop.run_until_complete(serve())
        self._loop.close()


@contextmanager
def receiving(delay_s: float = 0) -> Iterator[Receiver]:
    receiver = Receiver(delay_s)
    try:
        yield receiver
    finally:
        receiver.stop()


class RunnerProcess:
    """``python -m actions`` in a process of its own."""

    def __init__(self, settings: Settings, log: Path, *, factor: float | None = None, **env: str) -> None:
        self.log = log
        # With a factor it tries again that much sooner or later than users' does.
        module = ["actions"] if factor is None else ["tests.kafka.quick_runner", str(factor)]
        prefix = {"BOOTSTRAP_SERVERS": settings.bootstrap_servers, "TOPIC_PREFIX": settings.topic_prefix}
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SECRET")},
            **prefix,
            "ACTIONS_GROUP": settings.actions_group,
            "SESSION_TIMEOUT_MS": "6000",
            "HTTP_PORT": "0",
            "EGRESS_ALLOW": "127.0.0.0/8",
            **env,
        }
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=ROOT,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=die_with_parent(),  # noqa: PLW1509 - two system calls, loaded before the fork
            )
        self.pid = self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal such as SIGSTOP or SIGCONT."""
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def terminate(self) -> tuple[int, float]:
        """Ask it to leave; its exit code and how many seconds it took."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=30)
        return code, time.monotonic() - began

    def pause(self) -> None:
        """Stop it as it stands (SIGSTOP)."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def wait(self, timeout_s: float) -> int:
        return self._process.wait(timeout_s)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def get(self, path: str) -> str:
        """What its endpoint answers."""
        found = re.findall(r'"http_port": (\d+)', self.log.read_text())
        with urlopen(f"http://127.0.0.1:{found[-1]}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text


@contextmanager
def running(settings: Settings, log: Path, *, factor: float | None = None, **env: str) -> Iterator[RunnerProcess]:
    process = RunnerProcess(settings, log, factor=factor, **env)
    try:
        yield process
    finally:
        if process.running:
            process.kill()


def make_topics(settings: Settings) -> None:
    apply(settings, lambda _: None)


def webhook(action_id: str, url: str, **more: Any) -> dict[str, Any]:
    return {
        "id": action_id, "name": action_id, "action_type": "WebhookAction", "config": {"url": url, **more}
    }  # fmt: skip


def event(event_id: str, actions: list[dict[str, Any]], *, run: str = "run-1") -> AutomationEvent:
    now_ms = time.time_ns() // 1_000_000
    return AutomationEvent(
        id=event_id, event_name=FLOW_RUN_STATE_CHANGED, message=f"Run {run} failed", tenant_id="tenant",
        tenant_slug="acme", timestamp=now_ms, automation_id="automation", automation_name="failures",
        flow_id="flow", flow_name="etl", flow_group_id="group", flow_link=None, flow_run_id=run,
        flow_run_name=run, state="Failed", state_message=None, flow_run_link=None, flow_sla_config_id=None,
        kind=None, duration_seconds=None, agent_config_id=None, sla_min_healthy=None, healthy_agent_ids=None,
        unhealthy_agent_ids=None, detected_at=now_ms, actions=json.dumps(actions),
    )  # fmt: skip


def publish(settings: Settings, *events: AutomationEvent | bytes) -> None:
    """Put events, or bytes that are none, on the topic."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "partitioner": "murmur2_random"})
    for one in events:
        key, value = (b"x", one) if isinstance(one, bytes) else (one.flow_run_id, CODEC.encode_event(one))
        producer.produce(settings.topic(AUTOMATION_EVENTS), value, key)
    assert producer.flush(10) == 0


class Kept(NamedTuple):
    """A record as a topic has it."""

    key: bytes
    value: bytes
    headers: dict[str, str]
    partition: int = 0
    offset: int = 0
    log_ms: int = 0


def kept(settings: Settings, topic: str) -> list[Kept]:
    """All committed records that a topic has now."""
    consumer = Consumer(
        {"bootstrap.servers": settings.bootstrap_servers, "group.id": "reader", "enable.partition.eof": True}
    )
    name = settings.topic(topic)
    records = []
    try:
        numbers = list(consumer.list_topics(name, timeout=10).topics[name].partitions)
        consumer.assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in numbers])
        ends: set[int | None] = set()
        while len(ends) < len(numbers):
            message = consumer.poll(10)
            assert message is not None
            error = message.error()
            if error is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error
                ends.add(message.partition())
                continue
            headers = {key: (value or b"").decode() for key, value in message.headers() or []}  # type: ignore[union-attr,str-unpack]
            at = message.partition() or 0, message.offset() or 0, message.timestamp()[1]
            records.append(Kept(message.key() or b"", message.value() or b"", headers, *at))
    finally:
        consumer.close()
    return records


def results(settings: Settings) -> list[ActionResult]:
    found = []
    for record in kept(settings, ACTION_RESULTS):
        result = CODEC.decode_result(record.value)
        assert not isinstance(result, Rejected)
        found.append(result)
    return found


def by_delivery(found: list[ActionResult]) -> dict[str, list[ActionResult]]:
    grouped = defaultdict(list)
    for result in found:
        grouped[result.delivery_id].append(result)
    return grouped


def dead_letters(settings: Settings) -> list[Kept]:
    return kept(settings, EVENTS_DLQ)


def committed(settings: Settings) -> int:
    """The sum of the group's committed offsets; 0 also while a cluster that has just begun finds its coordinator."""
    consumer = Consumer({"bootstrap.servers": settings.bootstrap_servers, "group.id": settings.actions_group})
    name = settings.topic(AUTOMATION_EVENTS)
    numbers = range(settings.partitions_of(AUTOMATION_EVENTS))
    try:
        found = consumer.committed([TopicPartition(name, number) for number in numbers], timeout=10)
        return sum(max(0, one.offset) for one in found)
    except KafkaException as error:
        if error.args[0].code() not in (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS):
            raise
        return 0
    finally:
        consumer.close()


def until(holds: Callable[[], bool], timeout_s: float = 30, what: str = "it") -> None:
    """Wait until something holds; fail when it doesn't in time."""
    ends = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < ends, f"{what} did not come true within {timeout_s} s"
        time.sleep(0.05)
