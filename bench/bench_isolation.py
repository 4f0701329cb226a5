"""What four sick destinations out of 200 cost the others, in one action runner.

``make bench BENCH=bench_isolation`` starts a Kafka and 200 receivers. Events come at a steady rate, a share of what
the runner did in a warm-up, to all destinations in turn; in pairs of rounds: in one, one destination never answers,
one answers after 5 s, one takes one request a second and answers 429 with ``Retry-After`` to all others, one fails
for 5 s and answers for 5 s by turns; in the other all are healthy. Measured is the time from an event's append to
its arrival, at the 196 that are healthy in both. A round whose sender was late is measured anew. One in which a
delivery has not exactly one final result gives no figure: the command ends with 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles
from time import monotonic, time
from typing import Any, NamedTuple

from bench import report
from bench.process import RunnerProcess, machine_idle_s
from bench.receivers import FLAPPING, LIMITED, SILENT, SLOW, Receivers
from bench.webhooks import Events, Results
from topology.apply import apply
from topology.embedded import EmbeddedKafka
from topology.settings import Settings

DESTINATIONS = 200
BEHAVIOURS = {0: SILENT, 50: SLOW, 100: LIMITED, 150: FLAPPING}
WARM_UP_EVENTS = 4_000
FIRST_EVENTS = 10 * DESTINATIONS
"""Before the others, at the same pace: connections are made and code is warm before anything is measured."""
LATE_MS = 20
"""A round whose 99th percentile of the sender's own lateness is above it is measured anew."""
MOST_TRIES = 3
SECONDS_IDLE = 2.0
"""After the last final result, so that one too many is seen."""
SICK, HEALTHY = "4 sick", "all healthy"


class Round(NamedTuple):
    """What was found: latencies of the 196 in ms, in order; results by status; what the whole round took.

    ``late_ms`` is the 99th percentile of how much later than due events were put. ``idle`` is the share of the
    machine's cores that nobody used while events came: with little, latencies tell of the machine.
    """

    latencies_ms: list[float]
    statuses: dict[str, int]
    repeated: int
    peak_rss_mb: float
    cpu_s: float
    seconds: float
    idle: float
    late_ms: float

    def percentile(self, percent: int) -> float:
        """In ms."""
        return quantiles(self.latencies_ms, n=100, method="inclusive")[percent - 1]


def main() -> int:
    """Measures, prints a table, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000, help="in each round (default: 50,000)")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of rounds (default: 5)")
    parser.add_argument("--rate", type=float, help="events a second (default: --share of the warm-up's)")
    parser.add_argument("--share", type=float, default=0.6, help="of what the runner can do (default: 0.6)")
    parser.add_argument("--max-age", type=int, default=60, help="ACTION_MAX_AGE_S of the runner (default: 60)")
    parser.add_argument("--no-save", action="store_true", help="write no file")
    chosen = parser.parse_args()
    with EmbeddedKafka(heap="512m", say=_say, optimise=True) as kafka, Receivers(DESTINATIONS) as receivers:
        env = _environment(kafka.bootstrap_servers, chosen.max_age)
        most = _most(env, receivers)
        rate = chosen.rate or chosen.share * most
        _say(f"warm-up: {most:.0f} deliveries/s; {chosen.events} events at {rate:.0f}/s in each round")
        # The brokers' Java is slow in its first minute, which would count against who comes first.
        unheeded = {**env, "TOPIC_PREFIX": f"bench-{os.getpid()}-0-0"}
        _say(
            f"a round that doesn't count: {_line(_on_time(unheeded, receivers, {}, min(chosen.events, 20_000), rate))}"
        )
        rounds: dict[str, list[Round]] = {SICK: [], HEALTHY: []}
        for number in range(1, chosen.pairs + 1):
            for name, done in rounds.items():
                behaviours = BEHAVIOURS if name == SICK else {}
                own = {**env, "TOPIC_PREFIX": f"bench-{os.getpid()}-{number}-{len(behaviours)}"}
                done.append(_on_time(own, receivers, behaviours, chosen.events, rate))
                _say(f"pair {number}, {name}: {_line(done[-1])}")
    ratios = [s.percentile(99) / h.percentile(99) for s, h in zip(rounds[SICK], rounds[HEALTHY], strict=True)]
    found = {
        "events": chosen.events,
        "events_per_second": rate,
        "warm_up_per_second": most,
        "max_age_s": chosen.max_age,
        "rounds": {name: [_figures(one) for one in of] for name, of in rounds.items()},
        "p99_ratios": ratios,
        "p99_ratio": median(ratios),
    }
    print(_table(rounds))
    print(f"p99, 4 sick to all healthy: median of {len(ratios)} pairs {median(ratios):.2f}, goal 1.5")
    print(f"peak RSS: {max(one.peak_rss_mb for of in rounds.values() for one in of):.0f} MB, goal 300")
    if not chosen.no_save:
        print(f"written: bench/results/{report.save('isolation', found).name}")
    return 0


def _most(env: dict[str, str], receivers: Receivers) -> float:
    """Deliveries a second of a backlog, all healthy."""
    # The last of a backlog may be older than what the rounds allow.
    env = {**env, "TOPIC_PREFIX": f"bench-{os.getpid()}-0-", "ACTION_MAX_AGE_S": "86400"}
    settings = Settings.from_env(env)
    apply(settings, _silent)
    Events(settings, receivers.urls).preload(WARM_UP_EVENTS, "warm-up")
    with (
        tempfile.TemporaryDirectory() as folder,
        Results(settings) as results,
        RunnerProcess(env, Path(folder, "actions.log")) as runner,
    ):
        _ended(runner, results, WARM_UP_EVENTS, 120)
    times_us = sorted(arrival.at_us for arrival in receivers.take())
    # The last ones go one by one, and some may have had to come again.
    times_us = times_us[: WARM_UP_EVENTS * 9 // 10]
    return len(times_us) / (times_us[-1] - times_us[0]) * 1e6


def _on_time(env: dict[str, str], receivers: Receivers, behaviours: dict[int, str], events: int, rate: float) -> Round:
    """A round whose sender was not late."""
    for number in range(1, MOST_TRIES + 1):
        own = {**env, "TOPIC_PREFIX": f"{env['TOPIC_PREFIX']}-{number}-"}
        one = _round(own, receivers, behaviours, events, rate)
        if one.late_ms <= LATE_MS:
            return one
        _say(f"the sender was late, p99 {one.late_ms:.0f} ms, this round doesn't count: {_line(one)}")
    raise SystemExit("the sender is late again and again: the machine is too busy, or the rate too high")


def _round(env: dict[str, str], receivers: Receivers, behaviours: dict[int, str], events: int, rate: float) -> Round:
    """One runner of topics of its own, until all of its deliveries have ended."""
    settings = Settings.from_env(env)
    apply(settings, _silent)
    source = Events(settings, receivers.urls)
    with (
        tempfile.TemporaryDirectory() as folder,
        Results(settings) as results,
        RunnerProcess(env, Path(folder, "actions.log")) as runner,
    ):
        receivers.behave({})
        runner.wait_ready()
        source.steadily(FIRST_EVENTS, "first", rate)
        _ended(runner, results, FIRST_EVENTS, 60)
        receivers.take()
        receivers.behave(behaviours)
        began_s, began_cpu_s = time(), runner.cpu_s()
        idle_s = machine_idle_s()
        sent = source.steadily(events, "event", rate)
        idle = (machine_idle_s() - idle_s) / (time() - began_s) / (os.cpu_count() or 1)
        _ended(runner, results, FIRST_EVENTS + events, 2 * settings.action_max_age_s + 120)
        found_s, found_cpu_s, rss_mb = time() - began_s, runner.cpu_s() - began_cpu_s, runner.peak_rss_mb()
        results.read(SECONDS_IDLE)
    finals = [count for event_id, count in results.finals.items() if event_id in sent.appended_ms]
    if len(finals) != events or set(finals) != {1}:
        raise SystemExit(f"the round gives no figure: {sum(finals)} final results of {len(finals)} of {events} events")
    arrived_us: dict[str, int] = {}
    repeated = 0
    for arrival in receivers.take():
        if arrival.place not in BEHAVIOURS:
            repeated += arrival.event_id in arrived_us
            arrived_us.setdefault(arrival.event_id, arrival.at_us)
    # Those that never came would be missing among the slowest.
    wanted = sum(number % DESTINATIONS not in BEHAVIOURS for number in range(events))
    if len(arrived_us) != wanted:
        raise SystemExit(f"the round gives no figure: {len(arrived_us)} of {wanted} came to the healthy destinations")
    latencies_ms = sorted(at_us / 1000 - sent.appended_ms[event_id] for event_id, at_us in arrived_us.items())
    late_ms = quantiles(sent.late_ms, n=100, method="inclusive")[98]
    return Round(latencies_ms, dict(results.statuses), repeated, rss_mb, found_cpu_s, found_s, idle, late_ms)


def _ended(runner: RunnerProcess, results: Results, count: int, timeout_s: float) -> None:
    """Waits until so many events have a final result."""
    give_up_s = monotonic() + timeout_s
    while len(results.finals) < count:
        results.read(0.2)
        if not runner.running or monotonic() > give_up_s:
            raise SystemExit(
                f"{len(results.finals)} of {count} deliveries ended within {timeout_s:.0f} s: {runner.last_words()}"
            )


def _environment(bootstrap_servers: str, max_age_s: int) -> dict[str, str]:
    return {
        "BOOTSTRAP_SERVERS": bootstrap_servers,
        "EGRESS_ALLOW": "127.0.0.0/8",
        "ACTION_MAX_AGE_S": str(max_age_s),
        "TOPIC_PREFIX": "",
    }


def _figures(one: Round) -> dict[str, Any]:
    return {
        "p50_ms": one.percentile(50),
        "p99_ms": one.percentile(99),
        "max_ms": one.latencies_ms[-1],
        "peak_rss_mb": one.peak_rss_mb,
        "cpu_seconds": one.cpu_s,
        "seconds": one.seconds,
        "idle_share": one.idle,
        "sender_late_p99_ms": one.late_ms,
        "results": one.statuses,
        "repeated": one.repeated,
    }


def _line(one: Round) -> str:
    return (
        f"p50 {one.percentile(50):.0f} ms, p99 {one.percentile(99):.0f} ms, at most {one.latencies_ms[-1]:.0f} ms, "
        f"sender late by {one.late_ms:.0f} ms at p99, {one.peak_rss_mb:.0f} MB, "
        f"{one.cpu_s:.0f} CPU-s, machine {one.idle:.0%} idle, "
        f"ended after {one.seconds:.0f} s, {one.statuses}" + (f", {one.repeated} REPEATED" if one.repeated else "")
    )


def _table(rounds: dict[str, list[Round]]) -> str:
    lines = [f"{'':14}{'p50, ms':>22}{'p99, ms':>22}{'peak RSS, MB':>22}   min / median / max"]
    for name, of in rounds.items():
        columns = (
            [one.percentile(50) for one in of],
            [one.percentile(99) for one in of],
            [one.peak_rss_mb for one in of],
        )
        cells = [" / ".join(f"{value:.0f}" for value in report.spread(column).values()) for column in columns]
        lines.append(f"{name:14}" + "".join(f"{cell:>22}" for cell in cells))
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    """What was done to topics is of no interest here."""


if __name__ == "__main__":
    sys.exit(main())
