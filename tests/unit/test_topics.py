"""Topics as data, and what is said about a topic that isn't as it should be."""

import pytest

from topology.findings import TopicFound, findings
from topology.settings import Settings
from topology.topics import FOREVER_MS, TopicSpec, changelog_of, topics

SETTINGS = Settings(bootstrap_servers="kafka:9092", topic_prefix="p-")


def spec_of(base: str, settings: Settings = SETTINGS, brokers: int = 3) -> TopicSpec:
    return next(spec for spec in topics(settings, brokers) if spec.base == base)


def as_specified(settings: Settings = SETTINGS, brokers: int = 3) -> dict[str, TopicFound]:
    """All topics, just as they are to be."""
    return {
        spec.name: TopicFound(spec.name, spec.partitions, spec.replication, dict(spec.config))
        for spec in topics(settings, brokers)
    }


def lines(found: dict[str, TopicFound], settings: Settings = SETTINGS, brokers: int = 3) -> list[str]:
    return [finding.line for spec in topics(settings, brokers) for finding in findings(settings, spec, found)]


def test_every_topic_of_the_reference_is_there_with_its_prefix() -> None:
    """Thirteen topics and a changelog for each input."""
    assert {spec.name for spec in topics(SETTINGS, 3)} == {
        "p-flow-run-state",
        "p-agent-heartbeat",
        "p-automations",
        "p-automation-events",
        "p-automation-catalog",
        "p-action-results",
        "p-automation-events-retry-1m",
        "p-automation-events-retry-10m",
        "p-automation-events-retry-1h",
        "p-automation-events-dlq",
        "p-automation-tests",
        "p-automation-secrets",
        "p-input-dlq",
        "p-automations-consumer-flow-run-state-changelog",
        "p-automations-consumer-agent-heartbeat-changelog",
    }


def test_usual_partitions_are_six_but_for_heartbeats_and_automations() -> None:
    """The automations have one order, and heartbeats are few."""
    partitions = {spec.base: spec.partitions for spec in topics(SETTINGS, 3)}
    assert partitions.pop("automations") == 1
    assert partitions.pop("agent-heartbeat") == 1
    assert partitions.pop("agent-heartbeat-changelog") == 1
    assert set(partitions.values()) == {6}


@pytest.mark.parametrize(("brokers", "replication"), [(1, 1), (2, 2), (3, 3), (5, 3)])
def test_replication_is_three_or_as_many_as_there_are_brokers(brokers: int, replication: int) -> None:
    """With three replicas, two have to have a record before it counts."""
    for spec in topics(SETTINGS, brokers):
        assert spec.replication == replication
        assert spec.config["min.insync.replicas"] == ("2" if replication == 3 else "1")


def test_records_are_kept_as_long_as_promised() -> None:
    """Inputs a week, events, results and dead letters 30 days, tests a day."""
    day = 86_400_000
    assert spec_of("flow-run-state").config["retention.ms"] == str(7 * day)
    assert spec_of("automation-events").config["retention.ms"] == str(30 * day)
    assert spec_of("automation-events-dlq").config["retention.ms"] == str(30 * day)
    assert spec_of("input-dlq").config["retention.ms"] == str(30 * day)
    assert spec_of("automation-tests").config["retention.ms"] == str(day)


def test_automations_keep_their_versions_as_long_as_the_longest_kept_input() -> None:
    """A record read late is still judged by the automations of its time."""
    settings = Settings(bootstrap_servers="k:1", retention_ms={"agent-heartbeat": 900_000_000})
    config = spec_of("automations", settings).config
    assert config["min.compaction.lag.ms"] == config["delete.retention.ms"] == "900000000"
    forever = Settings(bootstrap_servers="k:1", retention_ms={"flow-run-state": -1})
    assert spec_of("automations", forever).config["min.compaction.lag.ms"] == str(FOREVER_MS)


def test_a_changelog_is_named_after_its_group_and_divided_as_its_input() -> None:
    """Another group has another changelog."""
    settings = Settings(
        bootstrap_servers="k:1", topic_prefix="p-", consumer_group="mine", partitions={"flow-run-state": 64}
    )
    assert changelog_of(settings, "flow-run-state") == "p-mine-flow-run-state-changelog"
    changelog = spec_of("flow-run-state-changelog", settings)
    assert changelog.partitions == 64
    assert changelog.config["cleanup.policy"] == "compact"
    assert changelog.config["message.timestamp.type"] == "LogAppendTime"


def test_nothing_is_said_when_all_is_well() -> None:
    """Also when topics keep more than they must."""
    found = as_specified()
    events = found["p-automation-events"]
    found["p-automation-events"] = events._replace(config={**events.config, "retention.ms": "-1"})
    assert lines(found) == []


def test_a_missing_topic_is_named() -> None:
    """And what makes it."""
    found = as_specified()
    del found["p-input-dlq"]
    assert lines(found) == ["p-input-dlq is missing: run `automations topology apply`"]


def test_a_wrong_partition_count_of_an_input_says_that_it_is_fixed_and_what_to_set() -> None:
    """Both numbers are there; nobody is told to change the topic."""
    found = as_specified()
    found["p-flow-run-state"] = found["p-flow-run-state"]._replace(partitions=3)
    found["p-automations-consumer-flow-run-state-changelog"] = found[
        "p-automations-consumer-flow-run-state-changelog"
    ]._replace(partitions=3)
    assert lines(found) == [
        "p-flow-run-state has 3 partitions, not 6: an input's partition count is fixed for life: "
        "set FLOW_RUN_STATE_PARTITIONS=3"
    ]


def test_an_input_that_was_widened_is_told_against_its_changelog() -> None:
    """Keys have moved then: state and records no longer meet."""
    found = as_specified()
    found["p-flow-run-state"] = found["p-flow-run-state"]._replace(partitions=12)
    told = lines(found)
    assert any(
        line.startswith(
            "p-automations-consumer-flow-run-state-changelog has 6 partitions, but its input p-flow-run-state has 12"
        )
        for line in told
    )


@pytest.mark.parametrize(
    ("base", "name", "value", "told"),
    [
        ("flow-run-state", "message.timestamp.type", "CreateTime", "not LogAppendTime"),
        ("agent-heartbeat", "cleanup.policy", "compact", "not delete"),
        ("automations", "cleanup.policy", "delete", "not compact"),
        ("automations", "min.compaction.lag.ms", "0", "not at least 604800000"),
        ("automations", "delete.retention.ms", "86400000", "not at least 604800000"),
        ("flow-run-state", "retention.ms", "3600000", "FLOW_RUN_STATE_RETENTION_MS promises that long"),
        ("automation-events", "retention.ms", "3600000", "not at least 2592000000"),
        ("flow-run-state-changelog", "cleanup.policy", "delete", "not compact"),
    ],
)
def test_wrong_configuration_is_told_with_both_values_and_can_be_mended(
    base: str, name: str, value: str, told: str
) -> None:
    """What it is, what it has to be, why, and the command that mends it."""
    found = as_specified()
    spec = spec_of(base)
    topic = found[spec.name]
    found[spec.name] = topic._replace(config={**topic.config, name: value})
    (finding,) = findings(SETTINGS, spec, found)
    assert finding.line.startswith(f"{spec.name} has {name}={value}, ")
    assert told in finding.line
    assert finding.line.endswith("run `automations topology apply`")
    assert set(finding.mend) == {name}


def test_automations_follow_what_the_inputs_really_keep() -> None:
    """Someone made an input keep a year: the automations have to as well."""
    found = as_specified()
    topic = found["p-flow-run-state"]
    found["p-flow-run-state"] = topic._replace(config={**topic.config, "retention.ms": "31536000000"})
    told = lines(found)
    assert len(told) == 2
    assert all("not at least 31536000000" in line for line in told)


def test_fewer_replicas_than_wanted_are_told() -> None:
    """A person decides: move the topic, or accept it."""
    found = as_specified()
    found["p-automations"] = found["p-automations"]._replace(replication=1)
    (line,) = lines(found)
    assert line.startswith("p-automations has 1 replica, not 3")
