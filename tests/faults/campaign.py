"""A fault campaign: a load with known truth, a nemesis with a seed, and a checker with the last word.

``python -m tests.faults.campaign --minutes 20 --seed 7``; it exits with 1 if a promise was broken, and with 3 if
the campaign itself could not go on. Ctrl-C ends it and everything it started.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.faults import sabotage
from tests.faults.checker import (
    Violation,
    check_deliveries,
    check_events,
    check_positions,
    check_state,
    positions,
    truth,
)
from tests.faults.checker import check_dead_letters as check_letters
from tests.faults.cluster import Cluster, Fleets
from tests.faults.load import SETTLES_MS, Load
from tests.faults.nemesis import FAULTS, Nemesis, Stuck, World
from tests.faults.report import Report
from tests.kafka.actions_world import Receiver, receiving
from tests.kafka.actions_world import results as delivery_results
from tests.kafka.consumer_world import decoded, make_topics, reading_events
from tests.kafka.delivery_campaign import FINAL, Flaky
from tests.oracle.deliveries import Kill
from topology.embedded import EmbeddedKafkaError
from topology.names import ACTION_RESULTS, AUTOMATION_EVENTS, FLOW_RUN_STATE, TOPICS
from topology.settings import Settings

Say = Callable[[str], None]
ENDS_WITHIN_S = 600.0
TOUCH_RUNNERS = {"pause a runner", "kill a broker", "pause a broker", "disturb the network", "rolling restart"}
"""Faults during which a runner may lose what it had in flight."""
RUNNERS_LATE_S = 20.0
"""Recovery is told by the consumers; a runner may learn so much later that its partitions are another's."""
BROKE, BROKEN_OFF = 1, 3


class Plan(NamedTuple):
    """How long, how much, and what of."""

    seconds: float = 1_200
    seed: int = 1
    rate: float = 150
    """Records of runs a second; probes and heartbeats come on top."""
    partitions: int = 8
    consumers: int = 3
    runners: int = 2
    acting: float = 0.15
    """Of the automations, how many have actions."""
    kinds: Sequence[str] = tuple(FAULTS)
    module: Sequence[str] = ("cli", "consumer")


def run(plan: Plan, folder: Path, say: Say) -> Report:
    """Runs a campaign; its report. Everything that it starts has ended when it returns or raises."""
    report = Report(plan.seed, folder)
    began_s = time.monotonic()
    with ExitStack() as stack:
        world, receivers = _world(plan, folder, say, stack)
        nemesis = Nemesis(world, list(plan.kinds))
        world.fleets.start()
        world.load.start()
        stack.callback(world.load.abandon)
        try:
            world.await_recovery("the start")
            say("everything runs")
            nemesis.rampage(plan.seconds)
        except Stuck as stuck:
            report.violations.append(Violation("stuck", str(stuck)))
        report.faults = nemesis.done
        _judge(world, receivers, report)
    report.seconds = time.monotonic() - began_s
    return report


def _world(plan: Plan, folder: Path, say: Say, stack: ExitStack) -> tuple[World, list[Receiver]]:
    """A cluster with its topics, a load and fleets that are ready to start, and who receives deliveries."""
    cluster = stack.enter_context(Cluster(folder))
    widths = {FLOW_RUN_STATE: plan.partitions, AUTOMATION_EVENTS: 6, ACTION_RESULTS: 2}
    settings = Settings(
        bootstrap_servers=cluster.kafka.bootstrap_servers,
        partitions={**dict.fromkeys(TOPICS, 1), **widths},
        # What our own clients say of brokers that are gone is no news.
        kafka_config={"log_level": "0"},
    )
    make_topics(settings)
    rng = random.Random(f"nemesis {plan.seed}")
    receivers = [stack.enter_context(receiving(delay_s)) for delay_s in (0.005, 0.02, 0.05)]
    receivers[2].usual = Flaky(rng.random())
    load = Load(settings, plan.seed, plan.rate, [one.url("/hook") for one in receivers], plan.acting)
    fleets = Fleets(settings, cluster, plan.consumers, plan.runners, plan.module)
    stack.callback(fleets.kill)
    reader = stack.enter_context(reading_events(settings))
    return World(settings, cluster, fleets, load, reader, rng, say), receivers


def _judge(world: World, receivers: Sequence[Receiver], report: Report) -> None:
    """Ends the load, waits until nothing is due any more, and holds what is there against what must be."""
    settings, fleets = world.settings, world.fleets
    world.say("the load ends")
    world.load.stop()
    report.lost_sends = world.load.failed
    known = truth(settings, SETTLES_MS)
    report.records, report.dead_letters = known.records, len(known.dead_letters)
    world.say(f"{known.records} records, {len(known.events)} events expected; waiting until no deadline is left")
    if not report.violations:
        report.violations += _settle(world, known.history.end_ms)
    report.violations += [Violation("refused", line) for line in fleets.refusals]
    unfinished = bool(report.violations)
    if not unfinished:
        _await_deliveries(world)
        report.violations += [Violation("leaving", line) for line in fleets.leave()]
        report.violations += [*check_positions(settings), *check_state(settings, known)]
        report.violations += check_letters(settings, known)
        found, report.deliveries = check_deliveries(settings, receivers, _shaken(world, report), known)
        report.violations += found
    fleets.kill()
    found, report.events = check_events(settings, known)
    # What did not get to its end lacks much; that it did not is said already.
    report.violations += [one for one in found if not (unfinished and one.check == "missed")]
    report.exits, report.peak_kb = fleets.exits, fleets.peak_kb


def _shaken(world: World, report: Report) -> list[Kill]:
    """When runners may have lost what they had in flight."""
    touched = [done for done in report.faults if done.kind in TOUCH_RUNNERS]
    return [*world.runner_kills, *(Kill(done.began_s, done.recovered_s + RUNNERS_LATE_S) for done in touched)]


def _settle(world: World, end_ms: int) -> list[Violation]:
    """Waits until the committed progress of every input partition has passed the last deadline."""
    gives_up_s = time.monotonic() + ENDS_WITHIN_S
    while True:
        found = positions(world.settings)
        behind = {
            place: position.progress_ms if position else None
            for place, position in found.items()
            if position is None or position.progress_ms <= end_ms
        }
        if not behind or world.fleets.refusals:
            return []
        if time.monotonic() > gives_up_s:
            return [Violation("stuck", f"progress does not pass {end_ms}: {behind}")]
        world.wait(2)


def _await_deliveries(world: World) -> None:
    """Waits until each delivery of the events there are has ended; what has not in long is for the checker to name."""
    events = {event.id: event for event in map(decoded, world.reader.values)}
    due = sum(len(json.loads(event.actions)) for event in events.values())
    gives_up_s = time.monotonic() + ENDS_WITHIN_S
    while time.monotonic() < gives_up_s:
        ended = {one.delivery_id for one in delivery_results(world.settings) if one.status in FINAL}
        if len(ended) >= due:
            return
        world.wait(2)


def main(argv: list[str] | None = None) -> int:
    """Run a campaign and print its report. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="how long faults are made (default: 20)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--rate", type=float, default=150, help="records of runs a second (default: 150)")
    parser.add_argument("--sabotage", choices=sorted(sabotage.KINDS), help="with a consumer that is broken on purpose")
    parser.add_argument("--fault", action="append", choices=sorted(FAULTS), help="of this kind only; may be repeated")
    parser.add_argument("--keep", type=Path, help="keep logs and data in this folder")
    chosen = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="flow-automations-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(chosen.minutes * 60, chosen.seed, chosen.rate)
    if chosen.sabotage:
        plan = sabotage.plan(plan, chosen.sabotage)
    if chosen.fault:
        plan = plan._replace(kinds=chosen.fault)
    zero_s = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - zero_s:7.1f} {line}", flush=True)

    say(f"seed {plan.seed}, logs in {folder}")
    try:
        report = run(plan, folder, say)
    except EmbeddedKafkaError as error:
        print(f"the campaign could not go on: {error}; logs in {folder}")
        return BROKEN_OFF
    except KeyboardInterrupt:
        print("broken off")
        return BROKEN_OFF
    print("\n".join(report.lines()))
    if not report.failed and chosen.keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    return BROKE if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
