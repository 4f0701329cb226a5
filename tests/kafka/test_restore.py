"""How long a consumer with much state takes to be back, and what memory it needs."""

import time
from pathlib import Path

import pytest

from tests.kafka.consumer_process import ConsumerProcess, consumers, until
from tests.kafka.consumer_world import (
    CODEC,
    make_topics,
    producer,
    put_control,
    put_states,
    reading_events,
    sla,
    state,
)
from topology.names import FLOW_RUN_STATE
from topology.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RUNS = 100_000
RESTORED_WITHIN_S = 60


def start_runs(settings: Settings) -> None:
    """That many runs are scheduled and begin, and go on."""
    sender = producer(settings, **{"linger.ms": 20, "queue.buffering.max.messages": 3 * RUNS})
    topic = settings.topic(FLOW_RUN_STATE)
    for number in range(RUNS):
        run = f"0b9c6f2a-0000-4000-8000-{number:012}"
        for version, name in enumerate(("Scheduled", "Running"), start=1):
            record = state(run, version, name, flow_group_id=f"group-{number % 500}", state_message="all is well")
            sender.produce(topic, CODEC.encode_state(record), run.encode())
        sender.poll(0)
    assert sender.flush(60) == 0


def has_all(process: ConsumerProcess) -> bool:
    """Whether it knows of every run, each with a deadline ahead."""
    assert process.running
    try:
        found = [process.metric(name) for name in ("automations_active_runs", "automations_armed_timers")]
    except OSError:
        return False
    return found == [RUNS, RUNS]


def resident_mib(process: ConsumerProcess, field: str = "VmRSS") -> float:
    """Memory of a process: now, or with ``VmHWM`` the most that it ever had."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


@pytest.mark.timeout(280)
def test_a_hundred_thousand_unfinished_runs_are_restored(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A restart brings every run back with its deadline, and the runs go on as if nothing had been."""
    make_topics(settings)
    put_control(settings, sla("hours", "NF", 3_600))
    with consumers(settings, tmp_path) as fleet, reading_events(settings) as reader:
        first = fleet.start()
        empty_mib = resident_mib(first.ready())
        start_runs(settings)
        until(lambda: has_all(first), 120, "the runs are there")
        before_mib = resident_mib(first)
        assert first.terminate()[0] == 0
        began_s = time.monotonic()
        second = fleet.start().ready(RESTORED_WITHIN_S)
        ready_s = time.monotonic() - began_s
        until(lambda: has_all(second), 60, "the runs are there again")
        restored_s = second.metric("automations_restore_seconds_sum")
        now_mib, most_mib = resident_mib(second), resident_mib(second, "VmHWM")
        put_control(settings, sla("seconds", "NF", 1))
        put_states(settings, state("new", 1, "Running"))
        assert [event.flow_run_id for event in reader.until(1)] == ["new"]
        assert second.terminate()[0] == 0
    with capsys.disabled():
        print(f"\n{RUNS} unfinished runs: ready {ready_s:.1f} s after the start, restoring {restored_s:.1f} s summed")
        print(f"over 3 partitions; {now_mib:.0f} MiB resident, {most_mib:.0f} at most; {empty_mib:.0f} without runs,")
        print(f"{before_mib:.0f} in the process that read them")
