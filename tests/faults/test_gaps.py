"""Topics and offsets lost or made anew: the consumer ends with a word that names what is missing, or accepts it."""

import time
from pathlib import Path
from urllib.error import HTTPError

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # its typing leaves out what it re-exports
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from schemas.records import AutomationEvent
from streams.topic_reader import watermarks
from tests.faults.lives import GRACE_MS, SETTLED_MS, SLA_S
from tests.faults.victims import START_S, Case, case
from tests.kafka.consumer_process import ConsumerProcess, until
from tests.kafka.consumer_world import (
    CODEC,
    comparable,
    history_of,
    make_topics,
    on_states,
    producer,
    put_control,
    put_states,
    sla,
    state,
)
from tests.oracle.oracle import Rules, expected_events
from topology.kafka_config import admin
from topology.names import AUTOMATIONS, FLOW_RUN_STATE
from topology.settings import Settings
from topology.topics import changelog_of

pytestmark = pytest.mark.kafka

CONTROL = [on_states("failed", "Failed"), *sla("slow", "NF", SLA_S)]
STOPS_WITHIN_S = 60


def read_some(world: Case) -> None:
    """Twenty runs fail and one is stuck; a consumer has told of those that failed."""
    put_states(world.settings, *(state(f"old-{n}", 1, "Failed") for n in range(20)))
    world.reader.until(20, 60)


def delete_and_make(settings: Settings, topic: str) -> None:
    """Deletes a topic and makes it anew as it was."""
    client = admin(settings)
    client.delete_topics([topic])[topic].result(20)

    def is_gone() -> bool:
        try:
            client.describe_topics(TopicCollection([topic]))[topic].result(20)
        except KafkaException:
            return True
        return False

    until(is_gone, 20, "the topic is gone")
    make_topics(settings)


def refused(world: Case, *named: str) -> None:
    """A consumer that is started ends with exit code 2, and names all this."""
    process = world.fleet.start()
    assert process.wait(STOPS_WITHIN_S) == 2, process.log.read_text()
    for words in named:
        assert words in process.last_problem


def tells_of_all_that_is_there(world: Case, before: list[AutomationEvent]) -> None:
    """After what was told before, exactly what the records that lie in the input now give."""
    history = history_of(world.settings, SETTLED_MS)
    expected = expected_events(history, Rules(grace_ms=GRACE_MS))
    world.reader.until(len(before) + len(expected), 60)
    until(lambda: time.time() * 1000 > history.end_ms + 500, 30, "the last deadline has passed")
    assert comparable(world.reader.events[len(before) :]) == expected


@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    ("running", "count"),
    [
        (True, 60),
        pytest.param(False, 60, marks=pytest.mark.slow),
        pytest.param(True, 5, marks=pytest.mark.slow),
        pytest.param(False, 5, marks=pytest.mark.slow),
        pytest.param(True, 0, marks=pytest.mark.slow),
    ],
)
def test_an_input_made_anew_stops_the_consumer_and_is_read_from_its_beginning_once_accepted(
    settings: Settings, tmp_path: Path, running: bool, count: int
) -> None:
    """Under the running consumer or while it is down, with more records than were read or with fewer."""
    with case(settings, tmp_path, CONTROL, runs=1, agents=1) as world:
        first = world.fleet.start().ready(START_S)
        read_some(world)
        put_states(world.settings, state("waits", 1, "Running"))
        topic = world.settings.topic(FLOW_RUN_STATE)
        if not running:
            assert first.terminate()[0] == 0
        before = len(world.reader.values)
        delete_and_make(world.settings, topic)
        put_states(world.settings, *(state(f"new-{n}", 1, "Failed") for n in range(count)))
        if running:
            assert first.wait(STOPS_WITHIN_S) == 2, first.log.read_text()
            assert topic in first.last_problem
            assert "--accept-gap" in first.last_problem
        refused(world, topic, "made anew", "--accept-gap")
        going_on = world.fleet.start("--accept-gap").ready(START_S)
        put_states(world.settings, state("last", 1, "Failed"), state("stuck", 1, "Running"))
        names = [*(f"new-{n}" for n in range(count)), "last", "stuck"]
        until(lambda: ids(world) >= set(names), 60, "all that lies in the new topic is told")
        tells_of_all_that_is_there(world, world.reader.events[:before])
        # Accepted once, it is over.
        assert going_on.terminate()[0] == 0
        assert world.fleet.start().ready(START_S).terminate()[0] == 0


def ids(world: Case) -> set[str | None]:
    return {event.flow_run_id for event in world.reader.events}


@pytest.mark.timeout(280)
@pytest.mark.slow
@pytest.mark.parametrize("running", [True, False])
def test_a_changelog_made_anew_stops_the_consumer(settings: Settings, tmp_path: Path, running: bool) -> None:
    """What was written to it since then looks whole, and is not: the runs of before are missing."""
    with case(settings, tmp_path, CONTROL, runs=1, agents=1) as world:
        first = world.fleet.start().ready(START_S)
        read_some(world)
        changelog = changelog_of(world.settings, FLOW_RUN_STATE)
        if not running:
            assert first.terminate()[0] == 0
        delete_and_make(world.settings, changelog)
        if running:
            put_states(world.settings, state("meanwhile", 1, "Failed"))
            assert first.wait(STOPS_WITHIN_S) == 2, first.log.read_text()
            assert changelog in first.last_problem
        refused(world, "changelog", "--accept-gap", world.settings.topic(FLOW_RUN_STATE))
        world.fleet.start("--accept-gap").ready(START_S)
        put_states(world.settings, state("last", 1, "Failed"))
        until(lambda: "last" in ids(world), 60, "it goes on")


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_automations_made_anew_under_the_consumer_stop_it(settings: Settings, tmp_path: Path) -> None:
    """Those that it knows are nowhere any more: the next one would judge by others."""
    with case(settings, tmp_path, CONTROL, runs=1, agents=1) as world:
        first = world.fleet.start().ready(START_S)
        read_some(world)
        topic = world.settings.topic(AUTOMATIONS)
        delete_and_make(world.settings, topic)
        assert first.wait(STOPS_WITHIN_S) == 2, first.log.read_text()
        assert topic in first.last_problem
        put_control(world.settings, CONTROL)
        world.fleet.start().ready(START_S)
        put_states(world.settings, state("last", 1, "Failed"))
        until(lambda: "last" in ids(world), 60, "it goes on")


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_offsets_reset_state_deleted_and_records_deleted_unread_are_each_named(
    settings: Settings, tmp_path: Path
) -> None:
    """One after the other in the same group; each is refused, and what was lost for good has to be accepted."""
    with case(settings, tmp_path, CONTROL, runs=1, agents=1) as world:
        settings = world.settings
        first = world.fleet.start().ready(START_S)
        read_some(world)
        assert first.terminate()[0] == 0
        topic, changelog = settings.topic(FLOW_RUN_STATE), changelog_of(settings, FLOW_RUN_STATE)
        set_offset(settings, topic, 5)
        refused(world, f"{topic} [0]", "offset 20", "committed offset is 5", "not written together")
        set_offset(settings, topic, 20)
        put_states(settings, *(state(f"unread-{n}", 1, "Failed") for n in range(10)))
        delete_records(settings, topic, 25)
        refused(world, f"{topic} [0]", "offsets 20 to 24 are gone", "--accept-gap")
        going_on = world.fleet.start("--accept-gap").ready(START_S)
        until(lambda: {f"unread-{n}" for n in range(5, 10)} <= ids(world), 60, "it goes on with what is there")
        assert len(world.reader.values) == 25
        assert going_on.terminate()[0] == 0
        policy(settings, changelog, "compact,delete")
        delete_records(settings, changelog, watermarks(settings, changelog)[0][1] - 2)
        refused(world, changelog, "cleanup.policy", "topology apply")
        policy(settings, changelog, "compact")
        refused(world, f"{topic} [0]", changelog, "were deleted", "--accept-gap")
        # Accepted once, it is over.
        assert world.fleet.start("--accept-gap").ready(START_S).terminate()[0] == 0
        assert world.fleet.start().ready(START_S).terminate()[0] == 0


def set_offset(settings: Settings, topic: str, offset: int) -> None:
    group = ConsumerGroupTopicPartitions(settings.consumer_group, [TopicPartition(topic, 0, offset)])
    client = admin(settings)
    client.alter_consumer_group_offsets([group])[settings.consumer_group].result(20)


def delete_records(settings: Settings, topic: str, offset: int) -> None:
    client = admin(settings)
    place = TopicPartition(topic, 0, offset)
    client.delete_records([place])[place].result(20)


def policy(settings: Settings, topic: str, value: str) -> None:
    entry = ConfigEntry("cleanup.policy", value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    client = admin(settings)
    client.incremental_alter_configs([resource])[resource].result(20)


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_what_others_left_in_a_changelog_is_waited_for_and_never_taken_for_state(
    settings: Settings, tmp_path: Path
) -> None:
    """Aborted transactions count for nothing; while one is open its end isn't known, so the restore waits."""
    with case(settings, tmp_path, CONTROL, runs=1, agents=1) as world:
        settings = world.settings
        first = world.fleet.start().ready(START_S)
        read_some(world)
        assert first.terminate()[0] == 0
        changelog = changelog_of(settings, FLOW_RUN_STATE)
        value = CODEC.encode_state(state("foreign", 1, "Running"))
        foreign = producer(settings, **{"transactional.id": f"{settings.topic_prefix}foreign"})
        foreign.init_transactions(20)
        for _ in range(3):
            foreign.begin_transaction()
            foreign.produce(changelog, value, b"r1:tforeign", 0)
            foreign.flush(20)
            foreign.abort_transaction(20)
        foreign.begin_transaction()
        foreign.produce(changelog, value, b"r1:tforeign", 0)
        assert foreign.flush(20) == 0
        second = world.fleet.start()
        until(lambda: restoring(second), 60, "it restores")
        time.sleep(3)
        assert restoring(second)
        foreign.abort_transaction(20)
        second.ready(60)
        put_states(settings, state("last", 1, "Failed"))
        world.reader.until(21, 60)
        assert second.metric("automations_active_runs") == 0


def restoring(process: ConsumerProcess) -> bool:
    """Whether it says that it is not ready because it restores."""
    try:
        process.get("/readyz")
    except HTTPError as error:
        return "being restored" in error.read().decode()
    except OSError:
        pass
    return False
