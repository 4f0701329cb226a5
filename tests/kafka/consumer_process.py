"""Consumer processes for tests: started, signalled, asked and ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from topology.settings import Settings

ROOT = Path(__file__).parents[2]
SESSION_MS, GRACE_MS = 6_000, 2_000


class ConsumerProcess:
    """``automations consumer`` in a process of its own, told everything by its environment."""

    def __init__(self, settings: Settings, log: Path, *args: str, **env: str) -> None:
        self.log = log
        variables = {
            **os.environ,
            "BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "TOPIC_PREFIX": settings.topic_prefix,
            "CONSUMER_GROUP": settings.consumer_group,
            "SESSION_TIMEOUT_MS": str(SESSION_MS),
            "GRACE_MS": str(GRACE_MS),
            "FIRST_START": "beginning",
            "HTTP_PORT": "0",
            **env,
        }
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli", "consumer", *args],
                cwd=ROOT,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

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

    def wait(self, timeout_s: float = 30) -> int:
        """Its exit code, once it has ended by itself."""
        return self._process.wait(timeout_s)

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        found = []
        for line in self.log.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:  # still being written, or no log line
                found.append({"event": line})
        return found

    def logged(self, event: str) -> bool:
        """Whether it has logged such an entry."""
        return any(line.get("event") == event for line in self.lines())

    @property
    def last_problem(self) -> str:
        """The problem that it named last."""
        problems = [str(line["problem"]) for line in self.lines() if "problem" in line]
        return problems[-1] if problems else ""

    def get(self, path: str) -> str:
        """What its endpoint answers."""
        with urlopen(self._address(path), timeout=2) as answer:
            text: str = answer.read().decode()
            return text

    def _address(self, path: str) -> str:
        """Of an endpoint; raises ``OSError`` while its port is not known."""
        port = next((line["http_port"] for line in self.lines() if "http_port" in line), None)
        if port is None:
            raise OSError("its port is not known yet")
        return f"http://127.0.0.1:{port}{path}"

    def is_ready(self) -> bool:
        """Whether ``/readyz`` says yes."""
        assert self.running, f"the consumer has ended: {self.log.read_text()[-2000:]}"
        try:
            self.get("/readyz")
        except OSError:
            return False
        return True

    def ready(self, timeout_s: float = 40) -> "ConsumerProcess":
        """Wait until it is."""
        until(self.is_ready, timeout_s, "the consumer is ready")
        return self

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(line.rpartition(" ")[2])
            for line in self.get("/metrics").splitlines()
            if line.partition("{")[0].partition(" ")[0] == name and all(part in line for part in wanted)
        )


class Fleet:
    """The consumer processes of a test; those still running are killed when it is over."""

    def __init__(self, settings: Settings, folder: Path, **env: str) -> None:
        self.processes: list[ConsumerProcess] = []
        self._settings, self._folder, self._env = settings, folder, env

    def start(self, *args: str, **env: str) -> ConsumerProcess:
        log = self._folder / f"consumer-{len(self.processes)}.log"
        process = ConsumerProcess(self._settings, log, *args, **{**self._env, **env})
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in self.processes:
            if process.running:
                process.kill()


@contextmanager
def consumers(settings: Settings, folder: Path, **env: str) -> Iterator[Fleet]:
    """A fleet, none started yet."""
    fleet = Fleet(settings, folder, **env)
    try:
        yield fleet
    finally:
        fleet.stop()


def until(self, count: int, timeout_s: float = 30) -> list[AutomationEvent]:
        """The events, once there are at least that many."""
        until(lambda: len(self.values) >= count, timeout_s, f"{count} events (there are {len(self.values)})")
        return self.events

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(10)


@contextmanager
def reading_events(settings: Settings) -> Iterator[EventReader]:
    reader = EventReader(settings)
    try:
        yield reader
    finally:
        reader.stop()


def decoded(value: bytes | None) -> AutomationEvent:
    event = CODEC.decode_event(value)
    assert not isinstance(event, Rejected), event
    return event


def make_topics(settings: Settings) -> None:
    apply(settings, lambda _: None)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def producer(settings: Settings, **more: Any) -> Producer:
    """One that places keys as Java's client does."""
    return Producer({**client_config(settings), "partitioner": "murmur2_random", "linger.ms": 5, **more})


def put(settings: Settings, topic: str, *records: tuple[bytes | None, bytes | None]) -> None:
    """Put records (key, value) on a topic and wait until they are there."""
    sender = producer(settings)
    for key, value in records:
        sender.produce(settings.topic(topic), value, key, on_delivery=_arrived)
    assert sender.flush(20) == 0


def _arrived(error: Any, message: Any) -> None:
    """A delivery report that must be good."""
    del message
    assert error is None, error


def state(run: str, version: int, name: str, **fields: Any) -> FlowRunState:
    """A state of a run that it enters now, unless told."""
    base = FlowRunState(
        tenant_id="t", tenant_slug="t-slug", flow_id="flow", flow_name="etl", flow_group_id="g",
        flow_run_id=run, flow_run_name=f"run {run}", version=version, state=name, state_message=None,
        timestamp=now_ms(),
    )  # fmt: skip
    return base._replace(**fields)


def put_states(settings: Settings, *states: FlowRunState) -> None:
    put(settings, FLOW_RUN_STATE, *((one.flow_run_id.encode(), CODEC.encode_state(one)) for one in states))


def put_heartbeats(settings: Settings, *beats: AgentHeartbeat) -> None:
    put(
        settings,
        AGENT_HEARTBEAT,
        *((one.agent_config_id.encode(), CODEC.encode_heartbeat(one)) for one in beats),
    )


ControlEntry = tuple[str, Json | None]
"""Key and value of a control record; without a value it is a tombstone."""


def automation(automation_id: str, event_type: str, **fields: Any) -> ControlEntry:
    """An automation of tenant ``t``, enabled unless told."""
    value = {
        "id": automation_id, "tenant_id": "t", "tenant_slug": "t-slug", "name": automation_id, "enabled": True,
        "event_type": event_type, "action_ids": [], "created": "2026-01-01T00:00:00Z",
        "updated": "2026-01-01T00:00:00Z", "revision": 1, **fields,
    }  # fmt: skip
    return f"automation:{automation_id}", value


def on_states(automation_id: str, *states: str, **fields: Any) -> ControlEntry:
    return automation(automation_id, "FlowRunStateChangedEvent", **{"states": list(states), **fields})


def sla(
    automation_id: str, kind: str, seconds: int, groups: list[str] | None = None, **fields: Any
) -> list[ControlEntry]:
    """A flow SLA with its config; ``kind`` is ``NS`` or ``NF``."""
    long = {"NS": "SCHEDULED_NOT_STARTED", "NF": "STARTED_NOT_FINISHED"}[kind]
    config_id = f"{automation_id}-sla"
    config = {
        "id": config_id, "tenant_id": fields.get("tenant_id", "t"), "kind": long,
        "duration_seconds": seconds, "flow_group_ids": groups,
    }  # fmt: skip
    made = automation(automation_id, "FlowSLAFailedEvent", **{"flow_sla_config_id": config_id, **fields})
    return [(f"flow_sla_config:{config_id}", config), made]


def put_control(settings: Settings, entries: Iterable[ControlEntry]) -> None:
    put(
        settings,
        AUTOMATIONS,
        *((key.encode(), None if value is None else json.dumps(value).encode()) for key, value in entries),
    )


class Place(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


class DeadLetter(NamedTuple):
    """A record of input-dlq, as it lies there."""

    key: bytes | None
    value: bytes | None
    headers: dict[str, str]

    @property
    def origin(self) -> Place:
        headers = self.headers
        return Place(headers["origin-topic"], int(headers["origin-partition"]), int(headers["origin-offset"]))


def put_at(settings: Settings, topic: str, partition: int, *records: tuple[bytes | None, bytes | None]) -> list[Place]:
    """Puts records in a partition of one's choice, and says where they lie."""
    sender, found = producer(settings, **{"message.max.bytes": 4 * 1024 * 1024}), []

    def landed(error: Any, message: Any) -> None:
        assert error is None, error
        found.append(Place(message.topic(), message.partition(), message.offset()))

    for key, value in records:
        sender.produce(settings.topic(topic), value, key, partition, on_delivery=landed)
    assert sender.flush(20) == 0
    return found


def dead_letters(settings: Settings) -> list[DeadLetter]:
    """What input-dlq has now, for a read_committed reader."""
    name = settings.topic(INPUT_DLQ)
    records = topic_records(settings, INPUT_DLQ)
    config = {**client_config(settings), "group.id": "unused", "auto.offset.reset": "earliest"}
    consumer = Consumer({**config, "enable.auto.commit": False})
    found: list[DeadLetter] = []
    try:
        consumer.assign([TopicPartition(name, number, 0) for number in partitions_of(consumer, name)])
        while len(found) < len(records):
            message = consumer.poll(10)
            assert message is not None, f"{len(found)} of {len(records)} dead letters"
            assert message.error() is None
            pairs: Any = message.headers() or []
            headers = {header: value.decode() for header, value in pairs}
            found.append(DeadLetter(message.key(), message.value(), headers))
    finally:
        consumer.close()
    return found


def topic_records(settings: Settings, topic: str) -> list[Read]:
    """Every committed record of a topic, named without its prefix."""
    return read_to_end(settings, settings.topic(topic))


def events_on(settings: Settings) -> list[AutomationEvent]:
    """The events that a read_committed reader finds."""
    return [decoded(record.value) for record in topic_records(settings, AUTOMATION_EVENTS)]


def comparable(events: Iterable[AutomationEvent]) -> list[Json]:
    """Events as the oracle gives them, doubles left in; ``detected_at`` is held to be after the fact."""
    made = []
    for event in events:
        fields = event._asdict()
        detected_at = fields.pop("detected_at")
        assert event.event_name == "FlowRunStateChangedEvent" or detected_at > event.timestamp
        fields["actions"] = json.loads(fields["actions"])
        made.append(fields)
    return sorted(made, key=lambda fields: (fields["timestamp"], fields["id"]))


def history_of(settings: Settings, later_ms: int = 0) -> History:
    """What lies in the topics, with the brokers' log times; its end is ``later_ms`` after the last record."""
    states = topic_records(settings, FLOW_RUN_STATE)
    beats = topic_records(settings, AGENT_HEARTBEAT)
    control = [
        Control(one.time_ms, (one.key or b"").decode(), json.loads(one.value) if one.value else None)
        for one in topic_records(settings, AUTOMATIONS)
    ]
    last_ms = max([*(one.time_ms for one in (*states, *beats)), *(one.log_ms for one in control)])
    return History(
        control,
        _by_partition(states, CODEC.decode_state),
        _by_partition(beats, CODEC.decode_heartbeat),
        last_ms + later_ms,
    )


def _by_partition(records: list[Read], decode: Callable[[bytes | None], Any]) -> dict[int, list[Appended]]:
    found: dict[int, list[Appended]] = {}
    for record in records:
        value = decode(record.value)
        if not isinstance(value, Rejected):
            found.setdefault(record.partition, []).append(Appended(record.time_ms, value._asdict()))
    return found


def until(holds: Callable[[], bool], timeout_s: float = 30, what: str = "it") -> None:
    """Wait until something holds; fail when it doesn't in time."""
    ends = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < ends, f"{what} did not come true within {timeout_s} s"
        time.sleep(0.05)
