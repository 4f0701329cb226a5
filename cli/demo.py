"""The demo: a real Kafka, a fleet that misbehaves, both services, and whether each notification came once.

The journey is in ``_Demo.run``, top to bottom. Whatever ends it, its processes end with it.
"""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from threading import Event, Thread

from cli.codecs import codec_for
from cli.control_changes import apply_manifest
from cli.demo_manifest import PLACES, SHAPE, SLACK_SECRET, manifest
from cli.demo_receiver import WEBHOOK, Receiver
from cli.demo_report import KindReport, Notification, compare
from cli.demo_services import Service
from cli.errors import Refused
from cli.fleet_producer import FleetProducer
from cli.options import settings_from
from cli.screen import Screen
from cli.simulation import KINDS
from cli.simulator import Fleet, RunWindow
from cli.tail_lines import one_line
from topology import apply as topics
from topology.cluster import Cluster
from topology.embedded import EmbeddedKafka
from topology.settings import Settings

READY_S = 40
"""How long a service may take to be ready."""
DOWN_S = 2
"""How long the consumer stays dead."""
PATIENCE_S = 15
"""How long, after the last deadline, a notification may still take before it counts as missing."""
DOUBLES_S = 3
"""How long, after the last notification, doubles are waited for."""


def run(screen: Screen, duration_s: int, bootstrap_servers: str | None, seed: int) -> bool:
    """Run the demo. Returns whether what was notified is what was injected, each once.

    Raises ``Refused`` when a service ends by itself or does not get ready, and what Kafka raises.
    """
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    with ExitStack() as stack:
        return _Demo(screen, duration_s, seed, stack).run(bootstrap_servers)


class _Demo:
    def __init__(self, screen: Screen, duration_s: int, seed: int, stack: ExitStack) -> None:
        self._screen = screen
        self._duration_s = duration_s
        self._seed = seed
        self._stack = stack
        self._logs = Path(mkdtemp(prefix="automations-demo-"))
        self._services: list[Service] = []

    def run(self, given_servers: str | None) -> bool:
        """The whole journey."""
        servers = given_servers or self._kafka()
        receiver = self._receiver()
        env = _environment(servers, receiver.port, shared=given_servers is not None)
        settings = settings_from(env={**os.environ, **env})
        self._topics(settings, remove=given_servers is not None)
        consumer, actions = (self._service(name, env) for name in ("consumer", "actions"))
        self._ready(consumer, actions)
        applied = apply_manifest(settings, manifest(receiver.port))
        self._say(f"applied {sum(change.is_written for change in applied)} control records: now they are in force")
        fleet, producer, stop = self._fleet(settings)
        self._sleep_until(fleet.window.first_ms + int(self._duration_s * 400))
        self._crash(consumer)
        self._say("the fleet starts no more runs soon; every deadline is waited for")
        self._sleep_until(fleet.window.last_ms + SHAPE.drain_ms)
        reports = self._await_agreement(fleet, receiver)
        stop.set()
        agree = self._summary(reports, receiver.received(), producer)
        if agree:
            # Only a demo that failed has logs that somebody will read.
            self._stack.callback(rmtree, self._logs, ignore_errors=True)
        return agree

    def _kafka(self) -> str:
        self._say("starting a real Apache Kafka (the first time, its jars are fetched: about half a minute)")
        kafka = self._stack.enter_context(EmbeddedKafka(say=lambda line: self._screen.line(f"  {line}", "quiet")))
        self._say(f"Kafka is up at {kafka.bootstrap_servers}")
        return kafka.bootstrap_servers

    def _receiver(self) -> Receiver:
        receiver = Receiver(self._show)
        receiver.start()
        self._stack.callback(receiver.stop)
        self._say(f"a receiver listens on 127.0.0.1:{receiver.port}, as /webhook and as /slack")
        return receiver

    def _topics(self, settings: Settings, remove: bool) -> None:
        made: list[str] = []
        topics.apply(settings, made.append)
        self._say(f"topology apply: {len(made)} steps, such as: {made[0]}" if made else "topology apply: all there")
        if remove:
            self._stack.callback(_remove_topics, settings)

    def _service(self, name: str, env: dict[str, str]) -> Service:
        service = Service(name, env, self._logs / f"{name}.log")
        self._services.append(service)
        self._stack.callback(service.stop)
        service.start()
        self._say(f"started {service.title}, process {service.pid} (log: {service.log})")
        return service

    def _ready(self, *services: Service) -> None:
        for service in services:
            began = time.monotonic()
            service.wait_ready(READY_S)
            self._say(f"{service.title} is ready after {time.monotonic() - began:.1f} s")

    def _fleet(self, settings: Settings) -> tuple[Fleet, FleetProducer, Event]:
        first_ms = int(time.time() * 1000)
        last_ms = first_ms + self._duration_s * 1000 - SHAPE.drain_ms
        # Agents beat on until the very end: a fleet that just stops would be a fleet that is lost.
        end_ms = last_ms + 3_600_000
        fleet = Fleet(SHAPE, self._seed, RunWindow(first_ms, last_ms, end_ms))
        producer, stop = FleetProducer(settings, codec_for(settings)), Event()
        thread = Thread(target=producer.produce, args=(fleet.emissions(), stop), name="fleet", daemon=True)
        thread.start()
        self._stack.callback(thread.join, 20)
        self._stack.callback(stop.set)
        seconds = (last_ms - first_ms) / 1000
        self._say(
            f"the fleet starts: {SHAPE.runs_per_second:g} runs a second for {seconds:.0f} s; "
            f"late after {SHAPE.late_ms / 1000:g} s, stuck after {SHAPE.stuck_ms / 1000:g} s, "
            f"agents unhealthy after {SHAPE.unhealthy_ms / 1000:g} s"
        )
        return fleet, producer, stop

    def _crash(self, consumer: Service) -> None:
        self._screen.line(f"*** kill -9 {consumer.pid}: the consumer crashes; runs go on ***", "note")
        consumer.kill()
        self._sleep_until(int(time.time() * 1000) + DOWN_S * 1000, without=consumer)
        consumer.start()
        self._screen.line(f"*** the consumer starts again, process {consumer.pid} ***", "note")
        self._ready(consumer)

    def _await_agreement(self, fleet: Fleet, receiver: Receiver) -> list[KindReport]:
        """Wait until nothing is missing, or patience ends; then a little longer, for doubles."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and any(r.missing for r in compare(fleet.truth, receiver.received(), PLACES)):
            self._check_services(None)
            time.sleep(0.2)
        time.sleep(DOUBLES_S)
        return compare(fleet.truth, receiver.received(), PLACES)

    def _summary(
        self, reports: Sequence[KindReport], received: Sequence[Notification], producer: FleetProducer
    ) -> bool:
        rows = [
            (r.kind, r.place, str(r.injected), str(r.notified), str(len(r.missing)), str(len(r.doubled)),
             str(len(r.false)))
            for r in reports
        ]  # fmt: skip
        columns = ("what", "to", "injected", "notified", "missing", "doubled", "false")
        self._screen.table("Injected and notified", columns, rows)
        for report in reports:
            for label, lines in (
                ("missing", report.missing),
                ("doubled", report.doubled),
                ("false", report.false),
            ):
                for line in lines:
                    self._screen.line(f"{label} at {report.place}: {line}", "bad")
        if producer.failed:
            self._screen.line(f"the fleet could not deliver all of its records: {producer.failed}", "bad")
        agree = all(report.agrees for report in reports) and not producer.failed
        injected = sum({r.kind: r.injected for r in reports}.values())
        if agree:
            self._screen.line(
                f"They agree: {producer.delivered} records produced, {injected} things went wrong, "
                f"{len(received)} notifications, each once. "
                "None false, none missed, though the consumer was killed.",
                "good",
            )
        else:
            self._screen.line(f"They do not agree. The services' logs: {self._logs}", "bad")
        return agree

    def _show(self, notification: Notification, text: str) -> None:
        width = max(len(kind) for kind in KINDS)
        style = "bad" if notification.place == WEBHOOK else "note"
        self._screen.parts(
            (time.strftime("%H:%M:%S"), "quiet"),
            (f"{notification.place:7}", "title"),
            (f"{notification.kind:{width}}", style),
            (one_line(text)[:150], ""),
        )

    def _sleep_until(self, time_ms: int, without: Service | None = None) -> None:
        while (left_s := time_ms / 1000 - time.time()) > 0:
            self._check_services(without)
            time.sleep(min(left_s, 0.2))

    def _check_services(self, without: Service | None) -> None:
        for service in self._services:
            if service is not without and (why := service.ended()) is not None:
                raise Refused(f"{why} (log: {service.log})")

    def _say(self, text: str) -> None:
        self._screen.line(f"· {text}", "quiet")


def _environment(servers: str, receiver_port: int, *, shared: bool) -> dict[str, str]:
    """The demo's settings. On a Kafka that others use it keeps to names of its own."""
    prefix = f"demo-{os.getpid()}-{int(time.time())}-" if shared else ""
    return {
        "BOOTSTRAP_SERVERS": servers,
        "TOPIC_PREFIX": os.environ.get("TOPIC_PREFIX", "") + prefix,
        "CONSUMER_GROUP": f"{prefix}automations-consumer",
        "ACTIONS_GROUP": f"{prefix}automations-actions",
        "FLOW_RUN_STATE_PARTITIONS": "4",
        "GRACE_MS": "2000",
        "CLOCK_TOLERANCE_MS": "1000",
        "INSTANCE_ID": "demo",
        "SESSION_TIMEOUT_MS": "6000",
        "UI_BASE_URL": "https://flows.example.com",
        "EGRESS_ALLOW": "127.0.0.1/32",
        f"SECRET_{SLACK_SECRET}": f"http://127.0.0.1:{receiver_port}/slack",
        "HTTP_PORT": "0",
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "info",
        "SCHEMA_REGISTRY_URL": "",
    }


def _remove_topics(settings: Settings) -> None:
    """Take the demo's topics off a Kafka that was there before it; best effort, as the demo is over."""
    client = Cluster(settings).client
    names = [name for name in client.list_topics(timeout=10).topics if name.startswith(settings.topic_prefix)]
    for future in client.delete_topics(names, operation_timeout=10).values():
        future.exception(15)
