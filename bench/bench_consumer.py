"""How fast one consumer process is, exactly once and with all semantics on, beside what is possible at most.

``.venv/bin/python bench/bench_consumer.py --records 300000`` starts a Kafka, makes the workload from a seed,
and measures in alternating rounds: the consumer; a loop that consumes and decodes; one that only consumes. A
round whose events are not the expected ones gives no figure: the command ends with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from time import time
from typing import Any

from bench import expected, report, topics, workload
from bench.expected import Expected
from bench.process import ConsumerProcess, Usage, run_module
from topology.apply import apply
from topology.embedded import EmbeddedKafka
from topology.settings import Settings

CONSUMER, DECODE, CONSUME = "consumer", "consume + decode", "consume"
DAY_MS = 86_400_000


def main() -> int:
    """Measures, prints a table, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000, help="about so many (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds (default: 3)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-save", action="store_true", help="write no file")
    chosen = parser.parse_args()
    with EmbeddedKafka(heap="512m", say=_say, optimise=True) as kafka:
        found = _measure(kafka.bootstrap_servers, chosen.records, chosen.rounds, chosen.seed)
    print(report.table(found["contenders"], DECODE))
    if not chosen.no_save:
        print(f"written: bench/results/{report.save('consumer', found).name}")
    return 0


def _measure(bootstrap_servers: str, records: int, rounds: int, seed: int) -> dict[str, Any]:
    env = _environment(bootstrap_servers)
    settings = Settings.from_env(env)
    apply(settings, _silent)
    controls = workload.control_records(seed)
    topics.write_automations(settings, controls)
    runs = round(records / workload.RECORDS_PER_RUN)
    total = topics.fill(settings, workload.states(runs, seed, int(time() * 1000)))
    wanted = expected.expected(topics.read_back(settings), controls)
    _say(f"{total} records of {runs} runs; {len(wanted.sure)} events expected: {dict(wanted.kinds)}")
    usages: dict[str, list[Usage]] = {CONSUMER: [], DECODE: [], CONSUME: []}
    for number in range(1, rounds + 1):
        usages[CONSUMER].append(_consumer_round(env, number, total, wanted))
        for name, what in ((DECODE, "decode"), (CONSUME, "consume")):
            usages[name].append(Usage(**json.loads(run_module("bench.limits", what, env=env))))
        for name, found in usages.items():
            last = found[-1]
            _say(
                f"round {number}, {name}: {last.records / last.seconds / 1000:.0f} k records/s, "
                f"{last.records / last.cpu_seconds / 1000:.0f} k per CPU-s, {last.peak_rss_mb:.0f} MB"
            )
    return {
        "records": total,
        "runs": runs,
        "seed": seed,
        "automations": workload.ON_FAILED + workload.ON_NOT_FINISHED + workload.ON_NOT_STARTED,
        "events": dict(wanted.kinds),
        "contenders": report.figures(usages, DECODE),
    }


def _consumer_round(env: dict[str, str], number: int, total: int, wanted: Expected) -> Usage:
    """One consumer of a group of its own, from the input's beginning to its end."""
    own = {**env, "CONSUMER_GROUP": f"consumer-{number}"}
    settings = Settings.from_env(own)
    apply(settings, _silent)
    since = topics.event_ends(settings)
    with tempfile.TemporaryDirectory() as folder:
        with ConsumerProcess(own, Path(folder, "consumer.log")) as consumer:
            usage = consumer.consume(total, timeout_s=60 + total / 5_000)
        problem = wanted.problem(topics.event_ids(settings, since))
    if problem is not None:
        raise SystemExit(f"round {number} of the consumer gives no figure: {problem}")
    return usage


def _environment(bootstrap_servers: str) -> dict[str, str]:
    """The settings of all rounds: the times in the workload are simulated, so they are trusted."""
    return {
        "BOOTSTRAP_SERVERS": bootstrap_servers,
        "TOPIC_PREFIX": f"bench-{os.getpid()}-",
        "FLOW_RUN_STATE_PARTITIONS": "4",
        "AGENT_HEARTBEAT_PARTITIONS": "1",
        "FIRST_START": "beginning",
        "CLOCK_TOLERANCE_MS": str(2 * DAY_MS),
        "GRACE_MS": str(expected.GRACE_MS),
        "LOG_LEVEL": "warning",
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    """What was done to topics is of no interest here."""


if __name__ == "__main__":
    sys.exit(main())
