"""The action runner as a process: wiring, start and end."""

import asyncio
import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Timer

import structlog
from confluent_kafka import KafkaException

from actions.decide import Limits
from actions.egress import egress_policy
from actions.intake import Intake
from actions.kafka_clients import consumer_config, producer_config
from actions.lanes import OVERALL
from actions.one_thread import OneThread
from actions.results import ResultLog
from actions.runner import Runner
from actions.schedule import Schedule
from actions.secrets import SecretStore
from actions.sender import Sender
from actions.source import EventSource, SourceFailed
from schemas.codec import Codec, RegistryError, RegistryUnavailable
from schemas.records import ActionResult
from schemas.registry import RegistrySource
from streams.http_endpoints import Endpoints
from streams.metrics import Metrics
from streams.telemetry import configure_logging
from topology.kafka_config import admin
from topology.settings import SettingError, Settings
from topology.topics import ACTION_RESULTS, AUTOMATION_EVENTS, EVENTS_DLQ

log = structlog.get_logger()

LEAVE_WITHIN_S = 9.5
REACH_S = 3.0
RETRY_S = 1.0
FAILED, MISUSED = 1, 2


def run(settings: Settings) -> int:
    """Deliver actions until SIGTERM or SIGINT; the process's exit code: 0, 1 = failed, 2 = wrong settings.

    For the main thread of a process of its own, which is to end when this returns: after a signal it leaves
    within 10 s, by force if it must. What that cuts off is not committed, and is delivered again.
    """
    configure_logging(settings)
    try:
        return asyncio.run(_serve(settings))
    except SettingError as error:
        log.error("wrong settings", problem=str(error))
        return MISUSED
    except (SourceFailed, RegistryError) as error:
        log.error("the action runner can't go on", problem=str(error))
    except KafkaException as error:
        log.error("the action runner can't go on", problem=error.args[0].str())
    return FAILED


async def _serve(settings: Settings) -> int:
    stopping = _stop_on_signals()
    # Name servers that don't answer hold threads: one for each request that may be under way.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(OVERALL, "names"))
    kafka = OneThread("events")
    metrics = Metrics()
    starting = _Probe()
    try:
        endpoints = Endpoints(settings.http_port, metrics.registry, starting.healthy, starting.ready)
    except OSError as error:
        raise SettingError(f"HTTP_PORT={settings.http_port}: {error.strerror}: give another one") from None
    endpoints.start()
    try:
        log.info("the action runner starts", http_port=endpoints.port, group=settings.actions_group)
        written = Codec(_registry(settings), settings.topic_prefix)
        if await _reached(settings, written, kafka, stopping):
            await _deliver(settings, written, kafka, stopping, metrics, starting)
        log.info("the action runner has left")
    finally:
        endpoints.stop()
    return 0


async def _deliver(
    settings: Settings,
    written: Codec,
    kafka: OneThread,
    stopping: asyncio.Event,
    metrics: Metrics,
    probe: "_Probe",
) -> None:
    """Make all parts, join them, and run them to the end."""
    topic = settings.topic
    # A codec is for one thread: this one for the consumer's, the other for the loop's.
    read = Codec(_registry(settings), settings.topic_prefix)
    results = ResultLog(producer_config(settings), written, topic(ACTION_RESULTS), topic(EVENTS_DLQ))
    source = EventSource(consumer_config(settings), topic(AUTOMATION_EVENTS), read)
    limits = Limits(Schedule(), settings.max_attempts, settings.action_max_age_s * 1000)
    secrets = SecretStore(settings.secrets_dir, settings.secret_env)
    async with Sender(egress_policy(settings.egress_allow)) as sender:
        runner = Runner(limits, sender.send, results, secrets, metrics)
        intake = Intake(source, kafka, runner, metrics, settings.commit_interval_ms / 1000)
        probe.intake = intake
        await intake.run(stopping)
        await kafka.call(results.close, 1.0)


async def _reached(settings: Settings, written: Codec, kafka: OneThread, stopping: asyncio.Event) -> bool:
    """Wait until Kafka and the registry are there; ``False`` if it is time to leave before that.

    Raises ``SettingError`` if a topic is missing.
    """
    while not stopping.is_set():
        try:
            missing = await kafka.call(_missing_topics, settings)
            if missing:
                raise SettingError(f"there is no topic {missing[0]}: run `automations topology apply`")
            await kafka.call(written.encode_result, _SAMPLE)
            return True
        except KafkaException as error:
            log.warning("Kafka can't be reached, waiting for it", reason=error.args[0].name())
        except RegistryUnavailable as error:
            log.warning("the schema registry can't be reached, waiting for it", reason=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), RETRY_S)
    return False


def _missing_topics(settings: Settings) -> list[str]:
    found = admin(settings).list_topics(timeout=REACH_S).topics
    needed = [settings.topic(name) for name in (AUTOMATION_EVENTS, ACTION_RESULTS, EVENTS_DLQ)]
    return [name for name in needed if name not in found]


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
    """What the endpoints answer before and after there is an intake."""

    intake: Intake | None = None

    def healthy(self) -> str | None:
        return None if self.intake is None else self.intake.unhealthy()

    def ready(self) -> str | None:
        return "Kafka has not been reached yet" if self.intake is None else self.intake.unready()


_SAMPLE = ActionResult("", "", "", "", "", "", "", 0, None, None, 0, 0)
"""Encoded once at the start, so that the schema's id is known before it is needed."""
