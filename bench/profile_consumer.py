"""Where a record's time goes in the consumer, without Kafka: microseconds per record by stage.

Runs the consumer's own logic over the workload in memory, four partitions in turn, draining as the loop does.
Stages are timed by wrapping their functions and counting each one's own time, less what the wrapper costs; so
they add up to a little less or more than the whole, which is measured in a run without wrappers.
``--functions`` adds the profiler's list of the costliest functions.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import sys
from collections import defaultdict
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

from confluent_kafka import Producer

from bench import workload
from consumer import run_state, runs
from consumer.app import ConsumerApp, Options
from consumer.deadlines import Deadlines
from consumer.events import Events
from consumer.run_state import RunState
from consumer.runs import Runs
from consumer.timing import Timing
from schemas.codec import Codec
from schemas.control import to_json
from streams.partition import Partition, Unread
from streams.store import Store
from topology.names import FLOW_RUN_STATE
from topology.partitioner import murmur2_partition

PARTITIONS, BATCH, COMMIT_EVERY = 4, 2_000, 6_000
END_MS = 1_760_000_000_000
LOG_MS_PER_RECORD = 50
"""Records that are appended in one millisecond: a backlog that was written quickly."""

STAGES: list[tuple[str, Any, str]] = [
    ("decode", Codec, "decode_state"),
    ("intake checks", runs, "wrong_partition"),
    ("intake checks", runs, "too_late"),
    ("state: decode", run_state, "decode"),
    ("state: encode", RunState, "encode"),
    ("merge", Runs, "_merge"),
    ("judge: armed", runs, "armed"),
    ("judge", Runs, "_judge"),
    ("state changes", Runs, "_fire_state_change"),
    ("events", Runs, "_emit"),
    ("events", Events, "sla_failed"),
    ("events", Events, "state_changed"),
    ("index, retention", Runs, "_index"),
    ("store", Store, "put"),
    ("store", Store, "get"),
    ("deadlines", Deadlines, "set"),
    ("tick", Runs, "tick"),
    ("take: the rest", Runs, "_take"),
    ("apply: the rest", Runs, "apply"),
    ("partition", Partition, "work"),
]


class Stages:
    """Own time and calls by stage, of the functions that it wraps until `unwrap`."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: defaultdict[str, int] = defaultdict(int)
        self._inner_s = [0.0]
        self._wrapped: list[tuple[Any, str, Any]] = []

    def wrap(self, stage: str, owner: Any, name: str) -> None:
        """Times ``owner.name`` as part of ``stage``."""
        original = getattr(owner, name)
        seconds, calls, inner = self.seconds, self.calls, self._inner_s

        def timed(*args: Any, **kwargs: Any) -> Any:
            inner.append(0.0)
            began = perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                spent = perf_counter() - began
                seconds[stage] += spent - inner.pop()
                inner[-1] += spent
                calls[stage] += 1

        self._wrapped.append((owner, name, original))
        setattr(owner, name, timed)

    def unwrap(self) -> None:
        """Puts the functions back."""
        for owner, name, original in reversed(self._wrapped):
            setattr(owner, name, original)


def main() -> int:
    """Prints the stages and the whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=30_000, help="about so many (default: 30,000)")
    parser.add_argument("--repeats", type=int, default=5, help="the best of so many counts (default: 5)")
    parser.add_argument("--functions", action="store_true", help="the profiler's list as well")
    chosen = parser.parse_args()
    records = _records(round(chosen.records / workload.RECORDS_PER_RUN))
    count = sum(map(len, records))
    whole = [_run(records) for _ in range(chosen.repeats)]
    _, changes, outputs = whole[0]
    found = [_by_stage(records) for _ in range(chosen.repeats)]
    best = {stage: min(one[stage][0] for one in found) for stage in found[0]}
    print(f"{count} records, {outputs} events and catalog records; microseconds per record")
    for stage, us in sorted(best.items(), key=lambda row: -row[1]):
        print(f"  {stage:20}{us:8.2f}   {found[0][stage][1]:5.2f} calls")
    print(f"  {'sum of the stages':20}{sum(best.values()):8.2f}")
    print(f"  {'whole, no wrappers':20}{min(us for us, _, _ in whole):8.2f}")
    print(f"  {'produce (a change)':20}{_produce_us(changes):8.2f}   beside it, {len(changes) / count:.2f} calls")
    if chosen.functions:
        profile = cProfile.Profile()
        profile.runcall(_run, records)
        pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(25)
    return 0


def _by_stage(records: list[list[Unread]]) -> dict[str, tuple[float, float]]:
    """Microseconds and calls per record, by stage."""
    stages = Stages()
    for stage, owner, name in STAGES:
        stages.wrap(stage, owner, name)
    _run(records)
    stages.unwrap()
    wrapper_us, count = _wrapper_us(), sum(map(len, records))
    return {
        stage: ((1e6 * seconds - wrapper_us * stages.calls[stage]) / count, stages.calls[stage] / count)
        for stage, seconds in stages.seconds.items()
    }


def _records(runs_count: int) -> list[list[Unread]]:
    """The workload by partition, as a broker would give it."""
    encode = Codec().encode_state
    partitions: list[list[Unread]] = [[] for _ in range(PARTITIONS)]
    for number, state in enumerate(workload.states(runs_count, 1, END_MS)):
        key = state.flow_run_id.encode()
        records = partitions[murmur2_partition(key, PARTITIONS)]
        log_ms = END_MS + number // LOG_MS_PER_RECORD
        records.append(Unread(len(records), log_ms, key, encode(state)))
    return partitions


def _run(records: list[list[Unread]]) -> tuple[float, list[tuple[bytes, bytes | None]], int]:
    """CPU microseconds per record; the changelog records and the number of outputs that came of it."""
    timing = Timing(clock_tolerance_ms=2 * 86_400_000)
    app = ConsumerApp(Options(timing))
    for offset, control in enumerate(workload.control_records(1)):
        app.control(Unread(offset, 1, f"{control.RECORD_KIND}:{control.id}".encode(), to_json(control)))
    partitions = []
    for number in range(PARTITIONS):
        store = Store()
        logic = app.logic(FLOW_RUN_STATE, number, PARTITIONS, store)
        partitions.append(Partition(str(number), logic, store, PARTITIONS, "profile"))
        partitions[-1].resume(0, 0, False)
    changes: list[tuple[bytes, bytes | None]] = []
    outputs = 0
    control_ms = 2 * END_MS
    gc.collect()
    began = process_time()
    for start in range(0, max(map(len, records)), BATCH):
        for partition, all_of_it in zip(partitions, records, strict=True):
            for record in all_of_it[start : start + BATCH]:
                partition.offer(record)
            while not partition.work(control_ms, END_MS):
                pass
            outputs += len(partition.logic.out)
            partition.logic.out.clear()
            changes += partition.store.drain().items()
            if start % COMMIT_EVERY == 0:
                partition.committed(partition.note())
    spent = process_time() - began
    return 1e6 * spent / sum(map(len, records)), changes, outputs


def _wrapper_us() -> float:
    """What timing a function costs beside the function: the part that counts as its own time."""
    stages = Stages()

    class Nothing:
        def call(self, _: int) -> None:
            """Does nothing."""

    stages.wrap("nothing", Nothing, "call")
    call: Callable[[int], None] = Nothing().call
    for number in range(100_000):
        call(number)
    return 1e6 * stages.seconds["nothing"] / 100_000


def _produce_us(changes: list[tuple[bytes, bytes | None]]) -> float:
    """Microseconds of one ``produce`` call, into the queue of a producer that reaches no broker."""
    producer = Producer({"bootstrap.servers": "127.0.0.1:1", "queue.buffering.max.messages": 1_000_000, "log_level": 0})
    best_us = float("inf")
    for start in range(0, len(changes) - 1_000, 1_000):
        began = perf_counter()
        for key, value in changes[start : start + 1_000]:
            producer.produce("changelog", value, key, 0, on_delivery=None, headers=[])
        best_us = min(best_us, 1e3 * (perf_counter() - began))
    producer.purge()
    return best_us


if __name__ == "__main__":
    sys.exit(main())
