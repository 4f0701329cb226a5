"""The consumer as a process: wiring, start and end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from time import monotonic

import structlog
from confluent_kafka import KafkaException

from consumer.app import ConsumerApp, options_of
from consumer.watch import Watch
from schemas.codec import Codec, RegistryError, SchemaSource
from schemas.control import InvalidControl
from schemas.records import AutomationEvent
from streams.errors import Denied, Lost, StateError
from streams.http_endpoints import Endpoints
from streams.loop import Loop
from streams.metrics import Metrics
from streams.telemetry import configure_logging
from streams.watchdog import Watchdog
from topology.access import AccessDenied
from topology.cluster import Cluster, TopologyError
from topology.names import AUTOMATIONS, INPUTS
from topology.rights import rights_of
from topology.settings import SettingError, Settings
from topology.topics import changelog_of

log = structlog.get_logger()

FAILED, MISUSED = 1, 2
READY_WITHIN_MS = 60_000
"""Ready is who is no further behind broker time than this."""
HEALTHY_WITHIN_S = 15.0
LOOK_EVERY_S = 1.0
REACH_S = 5.0
"""How long brokers have to answer at all when the topics are looked at."""
GAUGES_EVERY_S = 1.0
RETRY_S = 1.0
REGISTRY_S = 2
"""How long the Schema Registry has for an answer: the loop waits for it."""
LEAVE_WITHIN_S = 8.5


def run(settings: Settings, *, accept_gap: bool = False, loop: type[Loop] = Loop) -> int:
    """Runs ``loop`` until SIGTERM or SIGINT; the process's exit code: 0, 1 = failed, 2 = wrong settings or state.

    For the main thread of a process of its own. After a signal it leaves within 10 s.
    """
    configure_logging(settings)
    service = _Service(settings, accept_gap, loop)
    service.stop_on_signals()
    try:
        return service.serve()
    except Denied as error:
        needed = rights_of("consumer", settings)
        log.error("the consumer stops", problem=str(AccessDenied.told(error.error, needed)))
        return MISUSED
    except (SettingError, StateError) as error:
        log.error("the consumer can't start" if not service.loops else "the consumer stops", problem=str(error))
        return MISUSED
    except (TopologyError, KafkaException, Lost) as error:
        log.error("the consumer can't go on", problem=str(error))
    return FAILED


class _Service:
    """One consumer process: its endpoints, and one loop after another."""

    def __init__(self, settings: Settings, accept_gap: bool, loop: type[Loop]) -> None:
        self.loops = 0
        self._make_loop = loop
        self._settings = settings
        self._accept_gap = accept_gap
        self._stopping = threading.Event()
        self._metrics = Metrics()
        self._watch = Watch(self._metrics, settings.topic_prefix)
        self._loop: Loop | None = None
        self._moved_s = monotonic()
        self._named: dict[str, str] = {}

    def stop_on_signals(self) -> None:
        """Leaves on SIGTERM or SIGINT; what hangs then is cut off.

        A thread waits for them: a handler would run only once the main thread is back from the Kafka client.
        """
        signals = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)

        def wait() -> None:
            signal.sigwait(signals)
            self._stopping.set()
            cut_off = threading.Timer(LEAVE_WITHIN_S, os._exit, (FAILED,))
            cut_off.daemon = True
            cut_off.start()

        threading.Thread(target=wait, daemon=True).start()

    def serve(self) -> int:
        """Runs loops until asked to leave."""
        settings = self._settings
        try:
            endpoints = Endpoints(settings.http_port, self._metrics.registry, self._healthy, self._ready)
        except OSError as error:
            raise SettingError(f"HTTP_PORT={settings.http_port}: {error.strerror}: give another one") from None
        endpoints.start()
        threading.Thread(target=self._watch_for_hangs, daemon=True).start()
        log.info("the consumer starts", http_port=endpoints.port, group=settings.consumer_group)
        try:
            # Each time anew: rights may have been taken away, which clients tell in unlike words.
            while (widths := self._checked_topics()) is not None:
                self._one_loop(widths)
        finally:
            endpoints.stop()
        log.info("the consumer has left")
        return 0

    def _one_loop(self, widths: dict[str, int]) -> None:
        """Runs one set of clients until asked to leave, or until it is lost."""
        settings = self._settings
        registry = _registry(settings.schema_registry_url)
        codec = Codec(registry, settings.topic_prefix)
        # The id that events are written with is found before anything is decided.
        while not self._stopping.is_set():
            self._alive()
            try:
                codec.encode_event(_SAMPLE)
                break
            except RegistryError as error:
                log.warning("waiting for the Schema Registry", problem=str(error))
                self._stopping.wait(RETRY_S)
        app = ConsumerApp(options_of(settings), codec, registry is not None)
        loop = self._loop = self._make_loop(settings, app, widths, self._watch, self._accept_gap)
        self.loops += 1
        gauges_s = monotonic()
        try:
            loop.start()
            while not self._stopping.is_set():
                loop.turn()
                if monotonic() - gauges_s > GAUGES_EVERY_S:
                    gauges_s = monotonic()
                    self._watch.gauges(loop.now_ms() or 0, loop.active, loop.highs, len(app.invalid_controls))
                    self._name_invalid(app.invalid_controls)
            loop.close()
        except Lost as error:
            log.warning("starting over with new clients", problem=str(error))
            loop.abandon()
            self._alive()
            self._stopping.wait(RETRY_S)
        except StateError:
            loop.abandon()
            raise

    def _name_invalid(self, records: dict[str, InvalidControl]) -> None:
        """Logs the control records that are skipped, each once."""
        for key, record in records.items():
            if self._named.get(key) != record.problem:
                self._named[key] = record.problem
                log.warning("control record skipped", key=key, problem=record.problem)

    def _checked_topics(self) -> dict[str, int] | None:
        """Partition counts of the inputs, once the cluster answers. Raises what makes the consumer refuse."""

        def waits() -> bool:
            self._alive()
            return not self._stopping.wait(RETRY_S)

        if self._stopping.is_set():
            return None
        return checked(lambda: _widths(self._settings, self._alive), waits, self.loops > 0)

    def _alive(self) -> None:
        self._moved_s = monotonic()

    def _healthy(self) -> str | None:
        behind_s = monotonic() - self._last_moved_s()
        return None if behind_s < HEALTHY_WITHIN_S else f"the loop has not turned for {behind_s:.0f} s"

    def _last_moved_s(self) -> float:
        loop = self._loop
        return self._moved_s if loop is None else max(self._moved_s, loop.moved_s)

    def _ready(self) -> str | None:
        loop = self._loop
        if loop is None or not loop.assigned:
            return "no assignment yet"
        if loop.restoring:
            return f"{loop.restoring} partitions are being restored"
        now_ms = loop.now_ms()
        behind_ms = max((now_ms - p.progress_ms for p in list(loop.active.values())), default=0) if now_ms else 0
        return None if behind_ms < READY_WITHIN_MS else f"{behind_ms / 1000:.0f} s behind"

    def _watch_for_hangs(self) -> None:
        watchdog = Watchdog()
        while not self._stopping.wait(LOOK_EVERY_S):
            if watchdog.hangs(self._last_moved_s()):
                log.error("a call to the Kafka client hangs: ending, so that other members take over")
                os._exit(FAILED)


def _registry(url: str | None) -> SchemaSource | None:
    if url is None:
        return None
    # Its HTTP client takes a third of a start, and most have no registry.
    from schemas.registry import RegistrySource  # noqa: PLC0415

    return RegistrySource(url, REGISTRY_S)


class TopicMissing(SettingError):
    """A topic is not there, by what a broker knows."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no topic {name}: run `automations topology apply`")


def checked(look: Callable[[], dict[str, int]], waits: Callable[[], bool], were_there: bool) -> dict[str, int] | None:
    """What ``look`` finds, once the cluster answers; None when ``waits`` tells to leave.

    A broker that has just been restarted may not know a topic yet: where all ``were_there`` before, one has to be
    missing twice. Raises what makes the consumer refuse.
    """
    missing = 0 if were_there else 1
    while True:
        try:
            return look()
        except TopicMissing as error:
            missing += 1
            if missing > 1:
                raise
            log.warning("looking again for a topic", problem=str(error))
        except TopologyError as error:
            log.warning("waiting for Kafka", problem=str(error))
        if not waits():
            return None


def _widths(settings: Settings, on_wait: Callable[[], None]) -> dict[str, int]:
    """Partition counts of the inputs. Raises ``SettingError`` where a topic is not fit to be trusted.

    ``on_wait`` is told that a question is answered: each may take long.
    """
    changelogs = {settings.topic(name): changelog_of(settings, name) for name in INPUTS}
    names = [*changelogs, settings.topic(AUTOMATIONS), *changelogs.values()]
    cluster = Cluster(settings, REACH_S)
    on_wait()
    missing = cluster.missing(rights_of("consumer", settings))
    on_wait()
    if missing:
        raise TopicMissing(missing[0])
    found = cluster.find(names)
    on_wait()
    for name in names:
        if name not in found:
            raise TopicMissing(name)
        if found[name].config.get("message.timestamp.type") != "LogAppendTime":
            raise SettingError(
                f"topic {name} is not LogAppendTime: its times would be the producers' clocks. "
                "Run `automations topology apply`"
            )
    for name, changelog in changelogs.items():
        policy = found[changelog].config.get("cleanup.policy", "")
        if "delete" in policy:
            raise SettingError(
                f"changelog {changelog} has cleanup.policy={policy}: it would forget state. "
                "Run `automations topology apply`"
            )
        if found[name].partitions != found[changelog].partitions:
            raise SettingError(
                f"topic {name} has {found[name].partitions} partitions, its changelog {changelog} has "
                f"{found[changelog].partitions}: an input's partition count is fixed for life"
            )
    return {name: found[name].partitions for name in changelogs}


_SAMPLE = AutomationEvent._make(("", "", "", "", "", 0, "", "", *[None] * 16, 0, "[]"))
