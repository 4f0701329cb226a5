"""The rights that services and commands need: what a platform team may rely on when it grants them."""

import shlex

import pytest

from cli.main import run
from topology.rights import ROLES, Right, Role, rights_of
from topology.settings import Settings
from topology.topics import topics

SETTINGS = Settings(bootstrap_servers="kafka:9092", topic_prefix="p-", consumer_group="c", actions_group="a")


@pytest.mark.parametrize("role", ROLES)
def test_no_right_reaches_beyond_the_topics_groups_and_transactions_of_the_settings(role: Role) -> None:
    names = {spec.name for spec in topics(SETTINGS, 1)}
    for right in rights_of(role, SETTINGS):
        match right.resource:
            case "Topic":
                assert right.name in names
                assert not right.prefixed
            case "Group":
                assert right.name in ("c", "a")
            case "TransactionalId":
                assert right.name.startswith("p-")
                assert right.name.endswith("-") == right.prefixed


@pytest.mark.parametrize("role", ["events tail", "results tail", "dlq list", "export", "test-action", "topology check"])
def test_who_only_looks_may_change_nothing(role: Role) -> None:
    assert {right.operation for right in rights_of(role, SETTINGS)} <= {"Read", "Describe", "DescribeConfigs"}


def test_rights_are_printed_for_the_settings_of_the_environment_without_a_kafka(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOPIC_PREFIX", "p-")
    monkeypatch.setenv("CONSUMER_GROUP", "c")
    assert run(["topology", "rights", "--for", "consumer"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "consumer"
    assert "  Write on TransactionalId (prefixed): p-c-" in lines
    assert "  Read on Group: c" in lines


def test_rights_are_printed_as_commands_that_grant_each_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--for", "consumer", "--principal", "User:it's me", "--format", "kafka-acls"]
    where = ["--bootstrap-servers", "kafka:9092", "--topic-prefix", "p-"]
    assert run(["topology", "rights", *arguments, *where]) == 0
    granted = set()
    kinds = {"--topic": "Topic", "--group": "Group", "--transactional-id": "TransactionalId"}
    for line in capsys.readouterr().out.splitlines():
        words = shlex.split(line)
        assert words[:3] == ["kafka-acls.sh", "--bootstrap-server", "kafka:9092"]
        assert words[words.index("--allow-principal") + 1] == "User:it's me"
        (option,) = [word for word in words if word in kinds]
        name, pattern = words[words.index(option) + 1], words[words.index("--resource-pattern-type") + 1]
        for at, word in enumerate(words):
            if word == "--operation":
                granted.add((kinds[option], name, words[at + 1], pattern == "prefixed"))
    expected = rights_of("consumer", Settings(bootstrap_servers="kafka:9092", topic_prefix="p-"))
    assert granted == {tuple(right) for right in expected}


def test_an_unknown_service_or_command_is_refused_with_those_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["topology", "rights", "--for", "consumers"]) == 2
    assert "there are topology apply, topology check, consumer" in capsys.readouterr().err


def test_a_right_is_named_in_words() -> None:
    assert str(Right("TransactionalId", "p-c-", "Write", prefixed=True)) == "Write on TransactionalId p-c- (prefixed)"
