"""How long partitions are silent when a consumer dies, and when one is restarted on purpose.

``make bench BENCH=bench_recovery`` starts a Kafka and lets a run fail every 10 ms. With the default settings it
measures, in several rounds: the time from SIGKILL of one of two consumers to the first event of each of its
partitions by the other; and the longest silence of a partition while a consumer is asked to leave and started
again, alone and beside another, with and without ``INSTANCE_ID``. Beside the restarts stands the process's own
start, from its beginning to its first log line. If an event is missing or comes twice there is no figure.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from bench import report, topics
from bench.process import ConsumerProcess
from bench.steady import SteadyRuns, on_failed
from topology.apply import apply
from topology.embedded import EmbeddedKafka
from topology.settings import Settings

PARTITIONS = 4
KILL_GOAL_S, RESTART_GOAL_S = 3.0, 1.5
STARTS, AT_WORK = "the consumer starts", "partition at work"


def main() -> int:
    """Measures, prints a table, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=5, help="rounds of SIGKILL (default: 5)")
    parser.add_argument("--restarts", type=int, default=5, help="restarts of each sort (default: 5)")
    parser.add_argument("--no-save", action="store_true", help="write no file")
    chosen = parser.parse_args()
    with EmbeddedKafka(heap="512m", say=_say) as kafka, tempfile.TemporaryDirectory() as folder:
        found = _measure(kafka.bootstrap_servers, Path(folder), chosen.kills, chosen.restarts)
    for name, one in found.items():
        print(f"{name:52}" + " / ".join(f"{one[key]:6.2f}" for key in ("min", "median", "max")) + f"   {one['goal']}")
    if not chosen.no_save:
        print(f"written: bench/results/{report.save('recovery', found).name}")
    return 0


def _measure(bootstrap_servers: str, folder: Path, kills: int, restarts: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if kills:
        world = _World(bootstrap_servers, folder / "kills")
        with world.runs:
            above, whole = _kills(world, kills)
        found["from SIGKILL to the other's first event, s"] = {**report.spread(whole), "goal": ""}
        goal = f"median below {KILL_GOAL_S}"
        found["the same above the session timeout, s"] = {**report.spread(above), "goal": goal}
    for beside, name in ((0, "alone"), (1, "beside another")):
        for static in (True, False):
            if not restarts:
                continue
            how = f"{name}, {'INSTANCE_ID' if static else 'no INSTANCE_ID'}"
            world = _World(bootstrap_servers, folder / how.replace(" ", "-").replace(",", ""))
            with world.runs:
                silences, starts, above = _restarts(world, restarts, beside, static)
            found[f"silence of a restart, {how}, s"] = {**report.spread(silences), "goal": ""}
            found["    the process's own start, s"] = {**report.spread(starts), "goal": ""}
            found[f"    the silence beyond it, {how}, s"] = {
                **report.spread(above),
                "goal": f"at most {RESTART_GOAL_S}",
            }
    return found


class _World:
    """Topics of their own, the stream of runs on them, and the processes."""

    def __init__(self, bootstrap_servers: str, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.env = {
            "BOOTSTRAP_SERVERS": bootstrap_servers,
            "TOPIC_PREFIX": f"bench-{os.getpid()}-{folder.name}-",
            "FLOW_RUN_STATE_PARTITIONS": str(PARTITIONS),
            "AGENT_HEARTBEAT_PARTITIONS": "2",
            "FIRST_START": "beginning",
            # As an installed program: what was compiled is kept, wherever Python is told not to.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(folder.parent / "compiled"),
        }
        settings = Settings.from_env(self.env)
        self.session_s = settings.session_timeout_ms / 1000
        apply(settings, _silent)
        topics.write_automations(settings, on_failed())
        self.runs = SteadyRuns(settings)
        self._started = 0

    def start(self, instance_id: str = "") -> ConsumerProcess:
        self._started += 1
        return ConsumerProcess({**self.env, "INSTANCE_ID": instance_id}, self.folder / f"consumer-{self._started}.log")

    def steady(self, processes: list[ConsumerProcess]) -> None:
        """Waits until all partitions are at work and fresh, for two seconds on end, each process with some."""
        since_s = monotonic()
        give_up_s = since_s + 60
        while monotonic() - since_s < 2:
            sleep(0.05)
            now_s = monotonic()
            if now_s > give_up_s:
                raise SystemExit(f"the consumers don't come to rest: {processes[0].last_words()}")
            fresh = all((self.runs.first_after(now_s - 0.5, p) is not None) for p in range(PARTITIONS))
            owned = [len(_owned(process)) for process in processes]
            if not fresh or sum(owned) != PARTITIONS or min(owned) == 0:
                since_s = now_s

    def check(self) -> None:
        self.runs.finish()
        problem = self.runs.problem()
        if problem is not None:
            raise SystemExit(f"no figure: {problem}")


def _owned(process: ConsumerProcess) -> set[int]:
    """The partitions of flow-run-state that a process has now."""
    return {int(p) for p in process.labels("automations_lag_records", 'topic="flow-run-state"', "partition")}


def _kills(world: _World, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds above the session timeout, and in all; of each round the partition that waited longest."""
    whole = []
    survivor, victim = world.start(), world.start()
    with survivor:
        for number in range(1, rounds + 1):
            world.steady([survivor, victim])
            partitions = _owned(victim)
            # At any time between two heartbeats.
            sleep(number * 0.61803 % 1 * 2.5)
            victim.kill()
            killed_s = monotonic()
            took = [_waited(world, partition, killed_s) for partition in partitions]
            whole.append(max(took))
            _say(f"kill {number}: " + ", ".join(f"{one:.2f} s" for one in sorted(took)))
            _say_steps(survivor, killed_s)
            victim = world.start()
        with victim:
            world.check()
    return [one - world.session_s for one in whole], whole


def _waited(world: _World, partition: int, killed_s: float) -> float:
    """Nothing that comes later than a second after the kill can be the dead one's."""
    while (first_s := world.runs.first_after(killed_s + 1, partition)) is None:
        if monotonic() - killed_s > 60:
            raise SystemExit(f"partition {partition} has been silent for a minute")
        sleep(0.02)
    return first_s - killed_s


def _restarts(world: _World, rounds: int, beside: int, static: bool) -> tuple[list[float], list[float], list[float]]:
    """Silences, the starts of the process, and how much longer each silence was."""
    silences, starts = [], []
    others = [world.start(f"other-{number}" if static else "") for number in range(beside)]
    process = world.start("restarted" if static else "")
    try:
        for number in range(1, rounds + 1):
            world.steady([process, *others])
            asked_s = monotonic()
            process.leave()
            left_s = monotonic()
            process = world.start("restarted" if static else "")
            started_s = process.logged_after_s(STARTS)
            world.steady([process, *others])
            silence = max(world.runs.silence(p, asked_s, monotonic() - 2) for p in range(PARTITIONS))
            silences.append(silence)
            starts.append(started_s)
            _say(
                f"restart {number}: silent {silence:.2f} s; left in {left_s - asked_s:.2f}, started in {started_s:.2f}"
            )
            _say_steps(process, left_s)
    finally:
        for one in (process, *others):
            one.leave()
        world.runs.finish()
    with world.start() as last:
        world.check()
        assert last.running
    return silences, starts, [silence - start for silence, start in zip(silences, starts, strict=True)]


def _say_steps(process: ConsumerProcess, since_s: float) -> None:
    """What the process logged since, for whoever looks for where the time goes."""
    for at_s, line in process.log_lines():
        if at_s > since_s and os.environ.get("STEPS"):
            _say(f"    {at_s - since_s:6.2f}  {line}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    """What was done to topics is of no interest here."""


if __name__ == "__main__":
    sys.exit(main())
