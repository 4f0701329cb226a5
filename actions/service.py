"""The action runner as a process: wiring, start and end."""

import asyncio
import contextlib
import gc
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Thread, Timer
from typing import NamedTuple

import structlog
from confluent_kafka import KafkaException

from actions.backlog import Backlog
from actions.channels.channel import Rate
from actions.clock import Clock
from actions.decide import Limits
from actions.intake import Intake
from actions.kafka_clients import consumer_config, producer_config
from actions.lanes import OVERALL, Lanes
from actions.ledger import Ledger
from actions.means import Means
from actions.mutes import Mutes
from actions.mutes_reader import MutesReader
from actions.one_thread import OneThread
from actions.order import ORDERED_MS
from actions.parked import Parked
from actions.parked_reader import ParkedReader
from actions.pulse import Pulse
from actions.runner import Runner
from actions.schedule import Schedule
from actions.secrets import SecretStore
from actions.services import services_of
from actions.source import EventSource, SourceFailed
from actions.telling import Telling
from actions.transport.transport import transport_of
from schemas.codec import Codec, RegistryError, RegistryUnavailable
from schemas.records import ActionResult
from schemas.registry import RegistrySource
from streams.errors import Denied, Lost, StateError
from streams.http_endpoints import Endpoints
from streams.metrics import DELIVERIES_IN_FLIGHT, DELIVERIES_PENDING, Metrics
from streams.telemetry import configure_logging, librdkafka_logger
from streams.transaction import end_predecessor
from streams.watchdog import Watchdog
from topology.access import AccessDenied
from topology.cluster import Cluster, TopologyError
from topology.rights import rights_of
from topology.settings import SettingError, Settings
from topology.topics import (
    AUTOMATION_EVENTS,
    AUTOMATION_TESTS,
    RETRY_1H,
    RETRY_1M,
    RETRY_10M,
)

log = structlog.get_logger()

LEAVE_WITHIN_S = 9.5
REACH_S = 3.0
RETRY_S = 1.0
LOST_S = 3.0
GARBAGE_AFTER = 20_000, 20, 20
"""So many new objects, and so many rounds, before the garbage collector looks for cycles."""
FAILED, MISUSED = 1, 2
READ = (AUTOMATION_EVENTS, AUTOMATION_TESTS, RETRY_1M, RETRY_10M, RETRY_1H)
"""The topics that deliveries come from."""


class Tuning(NamedTuple):
    """What is fixed for users and shortened by tests: when it is tried again."""

    schedule: Schedule = Schedule()


def run(settings: Settings, tuning: Tuning | None = None) -> int:
    """Deliver actions until SIGTERM or SIGINT; the process's exit code: 0, 1 = failed, 2 = wrong settings.

    For the main thread of a process of its own, which is to end when this returns: after a signal it leaves
    within 10 s, by force if it must. What that cuts off is not committed, and is delivered again.
    """
    configure_logging(settings)
    try:
        return asyncio.run(_serve(settings, tuning or Tuning()))
    except SettingError as error:
        log.error("wrong settings", problem=str(error))
        return MISUSED
    except Denied as error:
        needed = rights_of("actions", settings)
        log.error("the action runner stops", problem=str(AccessDenied.told(error.error, needed)))
        return MISUSED
    except StateError as error:
        log.error("the action runner stops", problem=str(error))
        return MISUSED
    except (SourceFailed, RegistryError) as error:
        log.error("the action runner can't go on", problem=str(error))
    except KafkaException as error:
        log.error("the action runner can't go on", problem=error.args[0].str())
    except Exception as error:
        # Its text may hold a secret.
        log.error("the action runner can't go on", problem=f"unexpected {type(error).__name__}")
    return FAILED


async def _serve(settings: Settings, tuning: Tuning) -> int:
    stopping = _stop_on_signals()
    secrets = SecretStore(settings.secrets_dir, settings.secret_env)
    # Files for TLS that can't be used are told before anything is waited for.
    sending = transport_of(settings, secrets)
    # Name servers that don't answer hold threads: one for each request that may be under way.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(OVERALL, "names"))
    kafka = OneThread("kafka")
    metrics = Metrics()
    starting = _Probe()
    try:
        endpoints = Endpoints(settings.http_port, metrics.registry, starting.healthy, starting.ready)
    except OSError as error:
        raise SettingError(f"HTTP_PORT={settings.http_port}: {error.strerror}: give another one") from None
    endpoints.start()
    mutes = Mutes()
    try:
        log.info("the action runner starts", http_port=endpoints.port, group=settings.actions_group)
        written = Codec(_registry(settings), settings.topic_prefix)
        if await _reached(settings, written, kafka, stopping):
            starting.reader = reader = MutesReader(settings, mutes)
            await _either(reader.caught_up, reader.failed, stopping)
            leaving = asyncio.create_task(_leave_with(reader, stopping))
            async with sending as transport:
                means = Means(transport.send, secrets, services_of(settings), mutes, Clock(), Pulse())
                means.pulse.start()
                _leave_alone_what_stays()
                while not stopping.is_set():
                    await _deliver(settings, tuning, written, stopping, metrics, means, starting, kafka)
                means.pulse.stop()
            leaving.cancel()
            reader.stop()
            if reader.denied is not None:
                raise Denied(reader.denied)
            if reader.failed.is_set():
                return FAILED
        log.info("the action runner has left")
    finally:
        endpoints.stop()
    return 0


def _leave_alone_what_stays() -> None:
    """Keep the garbage collector from looking through modules and queued events again and again.

    At Python's own pace that takes a fifth of the process's time, and stops all deliveries meanwhile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_AFTER)


async def _leave_with(reader: MutesReader, stopping: asyncio.Event) -> None:
    """Without knowing which automations are off, nothing may be sent."""
    await reader.failed.wait()
    stopping.set()


async def _deliver(
    settings: Settings,
    tuning: Tuning,
    written: Codec,
    stopping: asyncio.Event,
    metrics: Metrics,
    means: Means,
    probe: "_Probe",
    kafka: OneThread,
) -> None:
    """Make one set of clients and what works with them, and run it until asked to leave, or until it is lost."""
    # A codec is for one thread: this one for the consumer's, the other for the loop's.
    read = Codec(_registry(settings), settings.topic_prefix)
    config = producer_config(settings)
    topics = {name: settings.topic(name) for name in READ}
    source = EventSource(
        consumer_config(settings), topics, read, lambda owner: end_predecessor(config, owner, librdkafka_logger())
    )
    backlog = Backlog()
    ledger = Ledger(config, means.clock.appended, source, backlog, metrics, settings.topic)
    lanes = Lanes(each=settings.destination_concurrency, rate=_rate(settings))
    limits = Limits(tuning.schedule, settings.max_attempts, settings.action_max_age_s * 1000)
    parked = Parked()
    runner = Runner(limits, means, written, lanes, backlog, ledger, Telling(metrics), parked)
    metrics[DELIVERIES_PENDING].set_function(lambda: backlog.open(READ)[0])
    metrics[DELIVERIES_IN_FLIGHT].set_function(lambda: lanes.out)
    interval_s = settings.commit_interval_ms / 1000
    probe.intake = Intake(source, runner, backlog, ledger, means.clock, metrics, interval_s, parked)
    probe.ledger = ledger
    reader = ParkedReader(settings, parked, tuning.schedule.topics_within(ORDERED_MS), runner.learn)
    try:
        await ledger.open()
        await probe.intake.run(stopping)
    except Lost as error:
        log.warning("starting over with new clients", problem=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), LOST_S)
        # Rights may have been taken away, which clients tell in unlike words.
        await _reached(settings, written, kafka, stopping)
    finally:
        reader.stop()
        with contextlib.suppress(RuntimeError):  # closed before
            source.close()
        probe.intake.close()
        ledger.close()


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _reached(settings: Settings, written: Codec, kafka: OneThread, stopping: asyncio.Event) -> bool:
    """Wait until Kafka and the registry are there; ``False`` if it is time to leave before that.

    Raises ``SettingError`` if a topic is missing, or a right.
    """
    while not stopping.is_set():
        try:
            missing = await kafka.call(_missing_topics, settings)
            if missing:
                raise SettingError(f"there is no topic {missing[0]}: run `automations topology apply`")
            await kafka.call(written.encode_result, _SAMPLE)
            return True
        except TopologyError as error:
            log.warning("Kafka can't be reached, waiting for it", problem=str(error))
        except RegistryUnavailable as error:
            log.warning("the schema registry can't be reached, waiting for it", reason=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), RETRY_S)
    return False


def _missing_topics(settings: Settings) -> list[str]:
    return Cluster(settings, REACH_S).missing(rights_of("actions", settings))


def _rate(settings: Settings) -> Rate | None:
    """``DESTINATION_RATE``; a second's worth may go at once."""
    rate = settings.destination_rate
    return Rate(rate, max(1, round(rate))) if rate else None


def _registry(settings: Settings) -> RegistrySource | None:
    url = settings.schema_registry_url
    return None if url is None else RegistrySource(url)


def _stop_on_signals() -> asyncio.Event:
    stopping = asyncio.Event()

    def stop() -> None:
        if not stopping.is_set():
            log.info("leaving")
            stopping.set()
            # Whatever hangs then, a broker or a name server, does not hold the process.
            force = Timer(LEAVE_WITHIN_S, os._exit, (FAILED,))
            force.daemon = True
            force.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return stopping


class _Probe:
    """What the endpoints answer before and after there is an intake. It also ends a process that hangs."""

    intake: Intake | None = None
    ledger: Ledger | None = None
    reader: MutesReader | None = None

    def __init__(self) -> None:
        Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        watchdog = Watchdog()
        while True:
            time.sleep(1)
            if watchdog.hangs(None if self.ledger is None else self.ledger.busy_since_s):
                log.error("a call to the Kafka client hangs: ending, so that other members take over")
                os._exit(FAILED)

    def healthy(self) -> str | None:
        return None if self.intake is None else self.intake.unhealthy()

    def ready(self) -> str | None:
        if self.intake is None:
            return "Kafka has not been reached yet"
        if self.reader is not None and self.reader.problem is not None:
            return f"the control topic can't be read: {self.reader.problem}"
        return self.intake.unready()


_SAMPLE = ActionResult("", "", "", "", "", "", "", 0, None, None, 0, 0)
"""Encoded once at the start, so that the schema's id is known before it is needed."""
