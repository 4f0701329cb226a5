"""A process of the restore's measurement: ``python -m bench.restoring bare|restore RUNS``, set by the environment.

Prints one JSON object: seconds and CPU seconds from the start of reading, and what memory that took.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from consumer.app import ConsumerApp, Options
from consumer.run_state import decode
from consumer.runs import Runs
from consumer.watch import Watch
from streams.clients import table_reader
from streams.loop import Loop
from streams.metrics import Metrics
from streams.position import POSITION_KEY
from streams.telemetry import configure_logging
from streams.topic_reader import watermarks
from topology.names import AGENT_HEARTBEAT, FLOW_RUN_STATE
from topology.settings import Settings
from topology.topics import changelog_of

BATCH = 5_000


def bare(settings: Settings, runs: int) -> dict[str, float]:
    """Consumes the changelogs and decodes each run, with the restore's own client configuration."""
    topic = changelog_of(settings, FLOW_RUN_STATE)
    partitions = [TopicPartition(topic, number, low) for number, (low, _) in watermarks(settings, topic).items()]
    consumer = Consumer({**table_reader(settings), "enable.partition.eof": False})
    consumer.assign(partitions)
    began_s, began_cpu_s, count = perf_counter(), _cpu_s(), 0
    while count < runs:
        for message in consumer.consume(BATCH, 0.1):
            value = message.value()
            if message.key() != POSITION_KEY and value is not None:
                decode(value)
                count += 1
    found = {"seconds": perf_counter() - began_s, "cpu_seconds": _cpu_s() - began_cpu_s}
    consumer.close()
    return found


def restore(settings: Settings, runs: int) -> dict[str, float]:
    """The loop itself, from joining the group until every run has its deadline."""
    consumer = Consumer({"bootstrap.servers": settings.bootstrap_servers, "group.id": settings.consumer_group})
    places = [TopicPartition(settings.topic(FLOW_RUN_STATE), number, 0) for number in range(_width(settings))]
    if all(found.offset < 0 for found in consumer.committed(places, 10)):
        consumer.commit(offsets=places, asynchronous=False)
    consumer.close()
    app = ConsumerApp(Options(topic_prefix=settings.topic_prefix))
    widths = {settings.topic(FLOW_RUN_STATE): _width(settings), settings.topic(AGENT_HEARTBEAT): 1}
    loop = Loop(settings, app, widths, Watch(Metrics(), settings.topic_prefix))
    before = _rss()
    began_s, began_cpu_s = perf_counter(), _cpu_s()
    loop.start()
    found: dict[str, float] = {}
    longest_s = 0.0
    while not loop.assigned or loop.restoring:
        turned_s = perf_counter()
        loop.turn()
        longest_s = max(longest_s, perf_counter() - turned_s)
        if "state_seconds" not in found and len(loop.active) == sum(widths.values()):
            found |= {"state_seconds": perf_counter() - began_s, "state_cpu_seconds": _cpu_s() - began_cpu_s}
    found |= {"ready_seconds": perf_counter() - began_s, "ready_cpu_seconds": _cpu_s() - began_cpu_s}
    found["longest_turn_ms"] = longest_s * 1000
    logics = [partition.logic for partition in loop.active.values()]
    armed = sum(logic.armed_timers for logic in logics if isinstance(logic, Runs))
    active = sum(logic.active_runs for logic in logics if isinstance(logic, Runs))
    if (armed, active) != (runs, runs):
        raise SystemExit(f"of {runs} runs {active} are there, {armed} with a deadline")
    found["bytes_per_run"] = (_rss() - before) / runs
    data = [partition.store.data for partition in loop.active.values()]
    found["payload"] = sum(len(key) + len(value) for one in data for key, value in one.items()) / runs
    loop.close()
    return found


def _width(settings: Settings) -> int:
    return settings.partitions_of(FLOW_RUN_STATE)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _rss() -> int:
    """Bytes resident now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(what: str, runs: int) -> None:
    """Measures one of the two."""
    settings = Settings.from_env(os.environ)
    configure_logging(settings)
    found: dict[str, Any] = (bare if what == "bare" else restore)(settings, runs)
    print(json.dumps({key: round(value, 3) for key, value in found.items()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
