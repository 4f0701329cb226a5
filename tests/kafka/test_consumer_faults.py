"""What a group of consumers survives, and what makes one refuse: on a real Kafka, with real processes."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined] # its typing leaves out what it re-exports
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from schemas.records import FlowRunState
from streams.topic_reader import watermarks
from tests.kafka.consumer_process import GRACE_MS, SESSION_MS, Fleet, consumers, until
from tests.kafka.consumer_world import (
    CODEC,
    EventReader,
    comparable,
    events_on,
    history_of,
    make_topics,
    now_ms,
    on_states,
    producer,
    put_control,
    put_states,
    reading_events,
    sla,
    state,
)
from tests.oracle.oracle import Rules, expected_events
from topology.kafka_config import admin
from topology.names import AUTOMATION_EVENTS, FLOW_RUN_STATE
from topology.settings import Settings
from topology.topics import changelog_of

pytestmark = pytest.mark.kafka

SLA_S = 3
PAST_S = SLA_S + GRACE_MS / 1000 + 1.5
"""After so many seconds a deadline of an automation of these tests is passed and fired."""


@pytest.fixture
def world(settings: Settings) -> Settings:
    """Topics, an automation on Failed, and one on runs that take longer than three seconds."""
    make_topics(settings)
    put_control(settings, [on_states("failed", "Failed"), *sla("slow", "NF", SLA_S)])
    return settings


@pytest.fixture
def fleet(world: Settings, tmp_path: Path) -> Iterator[Fleet]:
    with consumers(world, tmp_path) as fleet:
        yield fleet


@pytest.fixture
def reader(world: Settings) -> Iterator[EventReader]:
    with reading_events(world) as reader:
        yield reader


def fail(settings: Settings, first: int, count: int) -> None:
    """Runs fail at once, their numbers from ``first`` on."""
    put_states(settings, *(state(f"run-{n}", 1, "Failed") for n in range(first, first + count)))


def ids(reader: EventReader) -> list[str]:
    return sorted(event.flow_run_id or "" for event in reader.events)


def runs(first: int, count: int) -> list[str]:
    return sorted(f"run-{n}" for n in range(first, first + count))


def in_a_transaction(settings: Settings, reader: EventReader, first: int) -> int:
    """Runs fail until events lie on the topic that are not committed yet; the number of the next run.

    A consumer with a long commit interval then stands in the middle of a transaction.
    """
    topic, number = settings.topic(AUTOMATION_EVENTS), first
    while number < first + 500:
        seen, before = len(reader.values), _appended(settings, topic)
        fail(settings, number, 10)
        number += 10
        until(lambda before=before: _appended(settings, topic) >= before + 10, 20, "its events are appended")  # type: ignore[misc]
        time.sleep(0.3)
        if len(reader.values) < seen + 10:
            return number
    raise AssertionError("no transaction was open for long enough to be seen")


def _appended(settings: Settings, topic: str) -> int:
    return sum(high for _, high in watermarks(settings, topic).values())


def oracle_agrees(settings: Settings, later_ms: int = 0) -> None:
    """What a read_committed reader finds is what the oracle gives for what lies in the topics."""
    expected = expected_events(history_of(settings, later_ms), Rules(grace_ms=GRACE_MS))
    assert comparable(events_on(settings)) == expected


LONG_TRANSACTIONS = {"COMMIT_INTERVAL_MS": "2000", "TRANSACTION_TIMEOUT_MS": "60000"}


def test_a_consumer_killed_within_a_transaction_is_replaced_long_before_its_transaction_times_out(
    world: Settings, fleet: Fleet, reader: EventReader, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other member takes over when the session is over, and ends what the dead one left open."""
    first = fleet.start(**LONG_TRANSACTIONS).ready()
    fail(world, 0, 20)
    reader.until(20)
    count = in_a_transaction(world, reader, 20)
    fleet.start(**LONG_TRANSACTIONS)
    first.kill()
    killed_s = time.monotonic()
    fail(world, count, 20)
    reader.until(count + 20, 40)
    took_s = time.monotonic() - killed_s
    with capsys.disabled():
        print(f"\ntaken over {took_s:.1f} s after SIGKILL (session timeout {SESSION_MS / 1000:.0f} s)")
    assert took_s < SESSION_MS / 1000 + 9
    assert ids(reader) == runs(0, count + 20)
    oracle_agrees(world)


def test_a_paused_consumer_that_wakes_up_commits_nothing_and_goes_on(
    world: Settings, fleet: Fleet, reader: EventReader
) -> None:
    """It was declared dead: the others have its work, its own open transaction comes to nothing."""
    sleeper = fleet.start(**LONG_TRANSACTIONS).ready()
    count = in_a_transaction(world, reader, 0)
    sleeper.signal(signal.SIGSTOP)
    other = fleet.start(**LONG_TRANSACTIONS)
    try:
        fail(world, count, 50)
        reader.until(count + 50, 40)
    finally:
        sleeper.signal(signal.SIGCONT)
    fail(world, count + 50, 50)
    reader.until(count + 100)
    # It comes back: with the other one gone it does all the work.
    assert other.terminate()[0] == 0
    fail(world, count + 100, 50)
    reader.until(count + 150, 60)
    assert sleeper.running
    assert ids(reader) == runs(0, count + 150)
    oracle_agrees(world)


def test_a_consumer_at_work_leaves_within_ten_seconds_of_sigterm(
    world: Settings, fleet: Fleet, reader: EventReader
) -> None:
    """It commits what it has done and leaves the group; the next one goes on where it stopped."""
    first = fleet.start().ready()
    fail(world, 0, 3_000)
    code, seconds = first.terminate()
    assert code == 0
    assert seconds < 10
    assert first.logged("the consumer has left")
    began_s = time.monotonic()
    fleet.start().ready()
    reader.until(3_000)
    assert time.monotonic() - began_s < SESSION_MS / 1000 + 3, "it had left, so nobody waits for its session"
    assert ids(reader) == runs(0, 3_000)


def test_a_deadline_missed_while_no_consumer_runs_fires_once_afterwards(
    world: Settings, fleet: Fleet, reader: EventReader
) -> None:
    """State survives: what was armed before is judged afterwards, and a finish in time is believed."""
    first = fleet.start().ready()
    put_states(world, state("late", 1, "Running"), state("fine", 1, "Running"), state("other", 1, "Failed"))
    finish = state("fine", 2, "Success")
    reader.until(1)
    assert first.terminate()[0] == 0
    put_states(world, finish)
    time.sleep(PAST_S)
    fleet.start().ready()
    reader.until(2)
    again = fleet.start().ready()
    time.sleep(1)
    assert again.running
    assert ids(reader) == ["late", "other"]
    put_states(world, state("late", 2, "Failed"))
    reader.until(3)
    oracle_agrees(world, later_ms=GRACE_MS)


def test_a_deleted_group_ends_the_consumer_until_the_gap_is_accepted(
    world: Settings, fleet: Fleet, reader: EventReader
) -> None:
    """It names what is missing and the way on; then what was armed before fires by proof only."""
    first = fleet.start().ready()
    put_states(world, state("silent", 1, "Running"), state("proved", 1, "Running"), state("a", 1, "Failed"))
    reader.until(1)
    assert first.terminate()[0] == 0
    client = admin(world)
    client.delete_consumer_groups([world.consumer_group])[world.consumer_group].result(20)
    refusing = fleet.start()
    assert refusing.wait(40) == 2
    assert "no committed offset" in refusing.last_problem
    assert "--accept-gap" in refusing.last_problem
    assert world.topic("") in refusing.last_problem
    going_on = fleet.start("--accept-gap").ready()
    put_states(world, state("after", 1, "Running"))
    time.sleep(PAST_S)
    put_states(world, state("proved", 2, "Success"))
    reader.until(3)
    assert ids(reader) == ["a", "after", "proved"]
    assert going_on.terminate()[0] == 0
    # Accepted once, it is over.
    fleet.start().ready()
    put_states(world, state("b", 1, "Failed"))
    reader.until(4)
    assert ids(reader) == ["a", "after", "b", "proved"]


def refusal(fleet: Fleet) -> str:
    """Why a consumer ends with exit code 2."""
    process = fleet.start()
    assert process.wait(30) == 2, process.log.read_text()
    return process.last_problem


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"r1:trun", b"\x02 a run"), (b"position", b'{"format":2,"offset":0}')],
    ids=["run", "position"],
)
def test_a_changelog_of_a_newer_version_is_refused(
    world: Settings, fleet: Fleet, reader: EventReader, key: bytes, value: bytes
) -> None:
    """An older build that was put back does not guess: it stops and names the remedy."""
    first = fleet.start().ready()
    fail(world, 0, 20)
    reader.until(20)
    assert first.terminate()[0] == 0
    sender = producer(world)
    sender.produce(changelog_of(world, FLOW_RUN_STATE), value, key, 0)
    assert sender.flush(20) == 0
    assert "written by a newer version of this program: run that version" in refusal(fleet)


def widen(settings: Settings, topic: str) -> None:
    """Gives a topic of two partitions a third."""
    client = admin(settings)
    client.create_partitions([NewPartitions(topic, 3)])[topic].result(20)
    until(lambda: len(watermarks(settings, topic)) == 3, 20, "the partition is there")


def test_an_input_with_more_partitions_than_its_changelog_is_refused(world: Settings, fleet: Fleet) -> None:
    topic = world.topic(FLOW_RUN_STATE)
    widen(world, topic)
    problem = refusal(fleet)
    assert f"topic {topic} has 3 partitions" in problem
    assert "has 2" in problem


def test_changed_partitions_are_seen_by_the_state_even_if_the_changelog_grew_too(
    world: Settings, fleet: Fleet, reader: EventReader
) -> None:
    """Keys have moved to other partitions, away from their state: that can't go on."""
    first = fleet.start().ready()
    fail(world, 0, 20)
    reader.until(20)
    assert first.terminate()[0] == 0
    for topic in (world.topic(FLOW_RUN_STATE), changelog_of(world, FLOW_RUN_STATE)):
        widen(world, topic)
    assert "fixed for life" in refusal(fleet)


def test_an_input_whose_times_are_the_producers_is_refused(world: Settings, fleet: Fleet) -> None:
    topic = world.topic(FLOW_RUN_STATE)
    create_time = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[create_time])
    client = admin(world)
    client.incremental_alter_configs([resource])[resource].result(20)
    assert f"topic {topic} is not LogAppendTime" in refusal(fleet)


def test_missing_topics_are_refused_with_the_command_that_makes_them(settings: Settings, tmp_path: Path) -> None:
    with consumers(settings, tmp_path) as fleet:
        problem = refusal(fleet)
    assert f"there is no topic {settings.topic('')}" in problem
    assert "`automations topology apply`" in problem


def test_an_open_transaction_of_a_producer_raises_no_false_alarm(
    world: Settings, fleet: Fleet, reader: EventReader
) -> None:
    """A finish that is sent in time but committed late was there in time; who really is late fires then."""
    fleet.start().ready()
    sender = producer(world, **{"transactional.id": f"{world.topic_prefix}backend"})
    sender.init_transactions(20)
    put_states(world, state("finishes", 1, "Running"), state("stuck", 1, "Running"))
    # One for each partition: wherever "stuck" lies, its partition waits.
    sender.begin_transaction()
    send(sender, world, state("finishes", 2, "Success"))
    opened_ms = now_ms()
    time.sleep(PAST_S)
    put_states(world, state("elsewhere", 1, "Failed"), *(state(f"run-{n}", 1, "Failed") for n in range(20)))
    time.sleep(1)
    assert "finishes" not in ids(reader)
    sender.commit_transaction(20)
    reader.until(22)
    assert now_ms() - opened_ms > PAST_S * 1000
    assert ids(reader) == sorted([*runs(0, 20), "elsewhere", "stuck"])
    oracle_agrees(world)


def test_an_aborted_transaction_of_a_producer_hides_no_miss(world: Settings, fleet: Fleet, reader: EventReader) -> None:
    """What it held was never sent: the deadline it would have met is missed, once it is over."""
    fleet.start().ready()
    sender = producer(world, **{"transactional.id": f"{world.topic_prefix}backend"})
    sender.init_transactions(20)
    put_states(world, state("finishes", 1, "Running"))
    sender.begin_transaction()
    send(sender, world, state("finishes", 2, "Success"))
    time.sleep(PAST_S)
    assert reader.events == []
    sender.abort_transaction(20)
    assert [event.event_name for event in reader.until(1)] == ["FlowSLAFailedEvent"]


def send(sender: Producer, settings: Settings, record: FlowRunState) -> None:
    """Sends a record within the producer's transaction, and sees it appended."""
    sender.produce(settings.topic(FLOW_RUN_STATE), CODEC.encode_state(record), record.flow_run_id.encode())
    assert sender.flush(20) == 0
