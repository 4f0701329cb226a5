"""How fast a backtest goes over a history, beside a loop that only consumes and decodes it.

``.venv/bin/python bench/bench_backtest.py --records 300000`` starts a Kafka, makes the workload of
``bench_consumer`` from a seed, and measures in alternating rounds. A round whose events are not the expected ones
gives no figure: the command ends with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from time import time
from typing import Any

from bench import expected, report, topics, workload
from bench.process import Usage, run_module
from topology.apply import apply
from topology.embedded import EmbeddedKafka
from topology.settings import Settings

BACKTEST, DECODE = "backtest", "consume + decode"
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
        print(f"written: bench/results/{report.save('backtest', found).name}")
    return 0


def _measure(bootstrap_servers: str, records: int, rounds: int, seed: int) -> dict[str, Any]:
    env = {
        "BOOTSTRAP_SERVERS": bootstrap_servers,
        "TOPIC_PREFIX": f"bench-{os.getpid()}-",
        "FLOW_RUN_STATE_PARTITIONS": "4",
        "AGENT_HEARTBEAT_PARTITIONS": "1",
        # The times in the workload are simulated, so they are trusted.
        "CLOCK_TOLERANCE_MS": str(2 * DAY_MS),
        "GRACE_MS": str(expected.GRACE_MS),
    }
    settings = Settings.from_env(env)
    apply(settings, lambda _: None)
    runs = round(records / workload.RECORDS_PER_RUN)
    total = topics.fill(settings, workload.states(runs, seed, int(time() * 1000)))
    wanted = expected.expected(topics.read_back(settings), workload.control_records(seed))
    _say(f"{total} records of {runs} runs; {len(wanted.sure)} events expected: {dict(wanted.kinds)}")
    usages: dict[str, list[Usage]] = {BACKTEST: [], DECODE: []}
    for number in range(1, rounds + 1):
        found = json.loads(run_module("bench.replay", str(seed), env=env))
        problem = wanted.problem(found["ids"])
        if problem is not None:
            raise SystemExit(f"round {number} of the backtest gives no figure: {problem}")
        usages[BACKTEST].append(Usage(**found["usage"]))
        usages[DECODE].append(Usage(**json.loads(run_module("bench.limits", "decode", env=env))))
        for name, measured in usages.items():
            last = measured[-1]
            _say(
                f"round {number}, {name}: {last.records / last.seconds / 1000:.0f} k records/s, "
                f"{last.records / last.cpu_seconds / 1000:.0f} k per CPU-s, {last.peak_rss_mb:.0f} MB"
            )
    return {
        "records": total,
        "runs": runs,
        "seed": seed,
        "events": dict(wanted.kinds),
        "contenders": report.figures(usages, DECODE),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
