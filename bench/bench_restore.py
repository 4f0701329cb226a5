"""How fast a consumer's state is back after a restart, and what memory it takes, beside a bare loop.

``make bench BENCH=bench_restore`` starts a Kafka, writes the changelogs of so many unfinished runs, and measures in
alternating rounds, each in a process of its own: a loop that only consumes the changelogs and decodes each value;
and the consumer's own restore, until state is there and until every deadline is derived. A restore that has not
every run with a deadline gives no figure.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

from confluent_kafka import Producer

from bench import report, topics
from bench.process import run_module
from consumer.run_state import NO_TIME, Entry, RunState, run_key, state_mark
from schemas.codec import Codec
from schemas.control import Automation, ControlRecord, FlowSLAConfig
from schemas.records import FLOW_SLA_FAILED, STARTED_NOT_FINISHED, FlowRunState
from schemas.states import RUNS, WAITS
from streams.position import POSITION_KEY, Position
from topology.apply import apply
from topology.embedded import EmbeddedKafka
from topology.kafka_config import client_config
from topology.names import FLOW_RUN_STATE
from topology.settings import Settings
from topology.topics import changelog_of

PARTITIONS = 4
TENANT = "0b1c2d3e-4f50-4617-a8b9-c0d1e2f30415"
GROUP = "7a6b5c4d-3e2f-4a1b-8c9d-{:012d}"
GOAL = 2.0


def main() -> int:
    """Measures, prints the figures, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000, help="unfinished runs (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds (default: 3)")
    parser.add_argument("--no-save", action="store_true", help="write no file")
    chosen = parser.parse_args()
    with EmbeddedKafka(heap="512m", say=_say, optimise=True) as kafka:
        found = _measure(kafka.bootstrap_servers, chosen.runs, chosen.rounds)
    for name, one in found.items():
        if isinstance(one, dict):
            print(f"{name:48}" + " / ".join(f"{one[key]:8.2f}" for key in ("min", "median", "max")))
    if not chosen.no_save:
        print(f"written: bench/results/{report.save('restore', found).name}")
    return 0


def _measure(bootstrap_servers: str, runs: int, rounds: int) -> dict[str, Any]:
    env = {
        "BOOTSTRAP_SERVERS": bootstrap_servers,
        "TOPIC_PREFIX": f"bench-{os.getpid()}-",
        "FLOW_RUN_STATE_PARTITIONS": str(PARTITIONS),
        "AGENT_HEARTBEAT_PARTITIONS": "1",
        "LOG_LEVEL": "warning",
    }
    settings = Settings.from_env(env)
    apply(settings, _silent)
    topics.write_automations(settings, _automation())
    _fill(settings, runs)
    bare, restored = [], []
    for number in range(1, rounds + 1):
        bare.append(json.loads(run_module("bench.restoring", "bare", str(runs), env=env)))
        restored.append(json.loads(run_module("bench.restoring", "restore", str(runs), env=env)))
        _say(f"round {number}: bare {bare[-1]}, restore {restored[-1]}")
    found: dict[str, Any] = {"runs": runs, "goal": f"state there within {GOAL} times the bare loop's CPU time"}
    for key in ("seconds", "cpu_seconds"):
        found[f"bare loop, {key}"] = report.spread([one[key] for one in bare])
        found[f"restore until state is there, {key}"] = report.spread([one[f"state_{key}"] for one in restored])
        found[f"restore until ready, {key}"] = report.spread([one[f"ready_{key}"] for one in restored])
        for until in ("state", "ready"):
            ratios = [one[f"{until}_{key}"] / other[key] for one, other in zip(restored, bare, strict=True)]
            found[f"ratio of {key}, until {until}"] = report.spread(ratios)
    found["memory, bytes a run, key and value included"] = report.spread([one["bytes_per_run"] for one in restored])
    found["key and value alone, bytes a run"] = report.spread([one["payload"] for one in restored])
    return found


def _automation() -> list[ControlRecord]:
    """One on all runs that take longer than a day."""
    ids = {"tenant_id": TENANT}
    config = FlowSLAConfig.model_validate(
        {**ids, "id": "long", "kind": STARTED_NOT_FINISHED, "duration_seconds": 86_400, "flow_group_ids": None}
    )
    fields = {
        **ids, "id": "slow", "tenant_slug": "acme", "name": "slow", "action_ids": [],
        "event_type": FLOW_SLA_FAILED, "flow_sla_config_id": "long",
    }  # fmt: skip
    return [config, Automation.model_validate(fields)]


def _fill(settings: Settings, runs: int) -> None:
    """Writes the changelogs, each value by the product's own encoder, and last each partition's position."""
    producer = Producer(
        {
            **client_config(settings),
            "linger.ms": 50,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 262_144,
        }
    )
    topic, encode = changelog_of(settings, FLOW_RUN_STATE), Codec().encode_state
    now_ms = time.time_ns() // 1_000_000
    scheduled, running = state_mark("scheduled"), state_mark("running")
    for number in range(runs):
        run, at_ms = f"9d1e2f3a-5b6c-4d7e-8f90-{number:012d}", now_ms - number % 60_000
        body = encode(_state(number, run, at_ms))
        entries = (
            Entry(1, scheduled, WAITS, at_ms - 1_000, at_ms - 1_000, at_ms),
            Entry(2, running, RUNS, at_ms, at_ms, NO_TIME),
        )
        value = RunState(at_ms, entries, (), (), body).encode()
        while True:
            try:
                producer.produce(topic, value, run_key(TENANT, run), number % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.05)
    for partition in range(PARTITIONS):
        position = Position(0, now_ms, now_ms, 0, 0, PARTITIONS, "an-earlier-process")
        producer.produce(topic, position.encode(), POSITION_KEY, partition)
    if producer.flush(120):
        raise SystemExit("Kafka did not take the changelogs within two minutes")


def _state(number: int, run: str, at_ms: int) -> FlowRunState:
    return FlowRunState(
        TENANT, "acme", "5f0d7c1e-2a3b-4c5d-9e8f-0a1b2c3d4e5f", "etl-flow", GROUP.format(number % 500), run,
        f"brisk-heron-{number}", 2, "Running", None, at_ms, at_ms,
    )  # fmt: skip


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    """What was done to topics is of no interest here."""


if __name__ == "__main__":
    sys.exit(main())
