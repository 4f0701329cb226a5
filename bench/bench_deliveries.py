"""How many webhooks a second one action runner delivers, beside a loop that only posts them.

``make bench BENCH=bench_deliveries`` starts a Kafka and receivers, and measures in alternating rounds, in two
settings (many destinations; one): the runner, from a backlog of events to committed results; and an aiohttp loop
with as many requests at once, of the same body and headers, to the same receivers. Both are measured by their own
CPU time, which is what the goal is about, and by the clock, which has the broker and the receivers in it where they
share the cores. A round in which a delivery has not exactly one final result, ``succeeded``, gives
no figure: the command ends with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from typing import Any, NamedTuple

from bench import report
from bench.process import RunnerProcess, Usage, run_module
from bench.receivers import Receivers
from bench.webhooks import Events, Results
from topology.apply import apply
from topology.embedded import EmbeddedKafka
from topology.settings import Settings

RUNNER, PLAIN = "runner", "plain aiohttp"
GOAL = 0.5
SECONDS_IDLE = 1.0
"""After the last final result, so that one too many is seen."""


class Setting(NamedTuple):
    """So many destinations, each with so many requests at once."""

    destinations: int
    each: int

    @property
    def name(self) -> str:
        return f"{self.destinations} destination{'s' * (self.destinations > 1)}, {self.each} at once to each"


SETTINGS = (Setting(50, 8), Setting(1, 64))


def main() -> int:
    """Measures, prints tables, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000, help="in each round (default: 20,000)")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default: 5)")
    parser.add_argument("--only", type=int, choices=[one.destinations for one in SETTINGS], help="of one setting")
    parser.add_argument("--log-level", default="info", help="the runner's LOG_LEVEL (default: info)")
    parser.add_argument("--no-save", action="store_true", help="write no file")
    chosen = parser.parse_args()
    found: dict[str, Any] = {"events": chosen.events, "log_level": chosen.log_level}
    with EmbeddedKafka(heap="512m", say=_say, optimise=True) as kafka:
        for setting in SETTINGS:
            if chosen.only in (None, setting.destinations):
                env = _environment(kafka.bootstrap_servers, setting, chosen.log_level)
                found[setting.name] = _measure(env, setting, chosen.events, chosen.rounds)
    for name, one in found.items():
        if isinstance(one, dict):
            print(f"\n{name}\n{report.table(one['contenders'], PLAIN, 'webhooks', 1)}")
            for what, ratio in one["ratios_of_pairs"].items():
                print(f"webhooks per {what}, runner to plain: median of the pairs {ratio:.2f}, goal {GOAL}")
    if not chosen.no_save:
        print(f"written: bench/results/{report.save('deliveries', found).name}")
    return 0


def _measure(env: dict[str, str], setting: Setting, events: int, rounds: int) -> dict[str, Any]:
    usages: dict[str, list[Usage]] = {RUNNER: [], PLAIN: []}
    with Receivers(setting.destinations) as receivers:
        for number in range(1, rounds + 1):
            own = {**env, "TOPIC_PREFIX": f"bench-{os.getpid()}-{setting.destinations}-{number}-"}
            usages[PLAIN].append(_plain_round(receivers, setting, events))
            usages[RUNNER].append(_runner_round(own, receivers, events))
            for name, found in usages.items():
                last = found[-1]
                _say(
                    f"round {number}, {name}: {last.records / last.seconds:.0f}/s, "
                    f"{last.records / last.cpu_seconds:.0f} per CPU-s, {last.peak_rss_mb:.0f} MB"
                )
    pairs = list(zip(usages[RUNNER], usages[PLAIN], strict=True))
    ratios = {
        # Broker and receivers have their time on other cores, if there are such.
        "CPU-second": median(plain.cpu_seconds / runner.cpu_seconds for runner, plain in pairs),
        "second": median(plain.seconds / runner.seconds for runner, plain in pairs),
    }
    return {"ratios_of_pairs": ratios, "contenders": report.figures(usages, PLAIN)}


def _plain_round(receivers: Receivers, setting: Setting, events: int) -> Usage:
    printed = run_module("bench.plain_posts", str(events), str(setting.each), env={}, stdin=json.dumps(receivers.urls))
    if len(receivers.take()) != events:
        raise SystemExit("the plain loop's requests have not all come: it gives no figure")
    return Usage(**json.loads(printed))


def _runner_round(env: dict[str, str], receivers: Receivers, events: int) -> Usage:
    """From the request that comes first to the last; CPU to the last committed result."""
    settings = Settings.from_env(env)
    apply(settings, _silent)
    Events(settings, receivers.urls).preload(events, "event")
    give_up_s = monotonic() + 60 + events / 100
    with (
        tempfile.TemporaryDirectory() as folder,
        Results(settings) as results,
        RunnerProcess(env, Path(folder, "actions.log")) as runner,
    ):
        before_cpu_s = 0.0
        while receivers.count() == 0:
            before_cpu_s = runner.cpu_s()
            _alive(runner, give_up_s)
            sleep(0.02)
        while receivers.count() < events:
            _alive(runner, give_up_s)
            sleep(0.1)
        while results.finals.total() < events:
            _alive(runner, give_up_s)
            results.read(0.05)
        cpu_s = runner.cpu_s() - before_cpu_s
        rss_mb = runner.peak_rss_mb()
        parked = runner.counted("automations_deliveries_parked_total")
        if parked:
            _say(f"{parked} had to wait in a retry topic: their destinations were taken for busy")
        results.read(SECONDS_IDLE)
    arrivals = receivers.take()
    times_us = [arrival.at_us for arrival in arrivals]
    if (
        len(arrivals) != events
        or set(results.finals.values()) != {1}
        or dict(results.statuses) != {"succeeded": events}
    ):
        raise SystemExit(
            f"the round gives no figure: of {events} events came {len(arrivals)} requests, "
            f"{results.finals.total()} final results of {len(results.finals)} events: {dict(results.statuses)}"
        )
    return Usage(events, (max(times_us) - min(times_us)) / 1e6, cpu_s, rss_mb)


def _alive(runner: RunnerProcess, give_up_s: float) -> None:
    if not runner.running or monotonic() > give_up_s:
        raise SystemExit(f"the action runner does not deliver: {runner.last_words()}")


def _environment(bootstrap_servers: str, setting: Setting, log_level: str) -> dict[str, str]:
    return {
        "BOOTSTRAP_SERVERS": bootstrap_servers,
        "DESTINATION_CONCURRENCY": str(setting.each),
        "EGRESS_ALLOW": "127.0.0.0/8",
        "LOG_LEVEL": log_level,
        "TOPIC_PREFIX": "",
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    """What was done to topics is of no interest here."""


if __name__ == "__main__":
    sys.exit(main())
