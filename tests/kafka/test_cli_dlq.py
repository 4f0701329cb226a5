"""What can be relied on when dead letters are listed and redriven on a real Kafka."""

import json
from collections.abc import Sequence
from threading import Barrier, Thread

import pytest
from confluent_kafka import Producer

from cli.dead_letters import DeadLetter, Wanted
from cli.errors import Refused
from cli.main import run
from cli.redrive import BATCH_LETTERS, redrive
from schemas.delivery_headers import REDRIVEN, DeliveryHeaders, decode_headers
from streams.topic_reader import Read, read_to_end
from tests.unit.dead_letter_records import WEBHOOK, event, headers_of, letter
from topology import apply as topics
from topology.names import EVENTS_DLQ, RETRY_1M, TOPICS
from topology.partitioner import partition_of
from topology.settings import Settings

pytestmark = pytest.mark.kafka


@pytest.fixture
def laid(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose topics are there, in the environment as well, for commands."""
    wide = settings.model_copy(update={"partitions": {**dict.fromkeys(TOPICS, 1), EVENTS_DLQ: 3, RETRY_1M: 3}})
    topics.apply(wide, lambda line: None)
    monkeypatch.setenv("BOOTSTRAP_SERVERS", wide.bootstrap_servers)
    monkeypatch.setenv("TOPIC_PREFIX", wide.topic_prefix)
    return wide


def die(settings: Settings, *records: Read) -> None:
    """Put dead letters on their topic, as the action runner does."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "partitioner": "murmur2_random"})
    for one in records:
        producer.produce(settings.topic(EVENTS_DLQ), one.value, one.key, headers=list(one.headers))
        producer.poll(0)
    assert producer.flush(15) == 0


def dead(event_id: str, run_id: str = "r1", reason: str = "http_404") -> Read:
    made = event(event_id, flow_run_id=run_id)
    return letter(made, headers_of(made, reason=reason))


def asked_again(settings: Settings) -> list[DeliveryHeaders]:
    """The headers of all that lies on the first retry topic."""
    found = [decode_headers(read.headers) for read in read_to_end(settings, settings.topic(RETRY_1M))]
    assert None not in found
    return [headers for headers in found if headers is not None]


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """Event ids that ``dlq list`` shows."""
    capsys.readouterr()
    assert run(["dlq", "list", "--json", *options]) == 0
    return sorted(json.loads(line)["event_id"] for line in capsys.readouterr().out.splitlines())


def test_redriving_twice_sends_once_with_the_event_as_it_was(
    laid: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    letters = [dead(f"e{number}", f"run-{number}") for number in range(20)]
    die(laid, *letters)
    assert run(["dlq", "redrive", "--all"]) == 0
    assert "20 redriven" in capsys.readouterr().out
    assert run(["dlq", "redrive", "--all"]) == 0
    assert "nothing to redrive" in capsys.readouterr().out
    sent = read_to_end(laid, laid.topic(RETRY_1M))
    assert {(read.key, read.value) for read in sent} == {(read.key, read.value) for read in letters}
    assert len(sent) == 20
    assert {headers.reason for headers in asked_again(laid)} == {REDRIVEN}
    assert {headers.attempt for headers in asked_again(laid)} == {0}
    for read in sent:
        assert read.partition == partition_of("murmur2", read.key or b"", 3)
    assert listed(capsys) == []


def test_what_dies_again_is_open_again(laid: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    die(laid, dead("e1"))
    assert run(["dlq", "redrive", "--all"]) == 0
    assert listed(capsys) == []
    die(laid, dead("e1", reason="timeout"))
    assert listed(capsys) == ["e1"]
    assert run(["dlq", "redrive", "--all"]) == 0
    assert len(asked_again(laid)) == 2


def test_a_filter_leaves_all_others_where_they_are(laid: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    hook = event("e2")
    die(laid, dead("e1"), letter(hook, headers_of(hook, WEBHOOK)), dead("e3"))
    assert listed(capsys, "--destination", "hooks.example.com", "--since", "1h") == ["e2"]
    assert run(["dlq", "redrive", "--destination", "hooks.example.com"]) == 0
    assert [headers.action_id for headers in asked_again(laid)] == [WEBHOOK["id"]]
    assert listed(capsys) == ["e1", "e3"]
    one = headers_of(event("e3")).delivery_id
    assert run(["dlq", "redrive", "--delivery", one]) == 0
    assert run(["dlq", "redrive", "--delivery", one]) == 1
    assert one in capsys.readouterr().err
    assert len(asked_again(laid)) == 2


def test_a_dry_run_shows_what_would_be_sent_and_writes_nothing(
    laid: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    die(laid, dead("e1"), dead("e2"))
    before = read_to_end(laid, laid.topic(EVENTS_DLQ))
    assert run(["dlq", "redrive", "--all", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "2 would be redriven (dry run: nothing was written)" in out
    assert headers_of(event("e1")).delivery_id in out
    assert read_to_end(laid, laid.topic(EVENTS_DLQ)) == before
    assert asked_again(laid) == []


def test_a_redrive_that_begins_in_the_middle_of_another_takes_over_and_none_is_sent_twice(laid: Settings) -> None:
    count = 2 * BATCH_LETTERS + 10
    die(laid, *(dead(f"e{number}", f"run-{number % 50}") for number in range(count)))
    told: list[int] = []

    def first_batch_is_written(batch: Sequence[DeadLetter]) -> None:
        told.append(len(batch))
        redrive(laid, Wanted(), lambda batch: told.append(len(batch)))

    with pytest.raises(Refused, match="another redrive began meanwhile"):
        redrive(laid, Wanted(), first_batch_is_written)
    assert sum(told) == count
    sent = [headers.delivery_id for headers in asked_again(laid)]
    assert len(sent) == len(set(sent)) == count


def test_two_redrives_at_the_same_moment_send_each_once(laid: Settings) -> None:
    die(laid, *(dead(f"e{number}", f"run-{number % 50}") for number in range(300)))
    start = Barrier(2)
    refused: list[str] = []

    def one() -> None:
        start.wait(10)
        try:
            redrive(laid, Wanted(), lambda batch: None)
        except Refused as error:
            refused.append(str(error))

    threads = [Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(refused) < 2
    sent = [headers.delivery_id for headers in asked_again(laid)]
    assert len(sent) == len(set(sent)) == 300


def test_what_cannot_be_read_is_counted_and_named_and_stays_where_it_is(
    laid: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    good = dead("e1")
    die(laid, good._replace(value=b"rubbish", headers=()), good)
    assert run(["dlq", "list"]) == 0
    shown = capsys.readouterr()
    assert "http_404" in shown.out
    assert "]@0: not readable: its headers are not those of a delivery" in shown.err
    assert "1 record can't be read" in shown.err
    assert run(["dlq", "redrive", "--all"]) == 0
    assert len(asked_again(laid)) == 1


def test_the_list_ends_with_totals_by_reason(laid: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    die(laid, dead("e1"), dead("e2"), dead("e3", reason="timeout"))
    assert run(["dlq", "list", "--automation", "failures"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + 4
    assert lines[3] == "3 open"
    assert [line.split() for line in lines[5:]] == [["http_404", "2"], ["timeout", "1"]]


def test_without_topics_the_commands_say_how_to_make_them(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--bootstrap-servers", settings.bootstrap_servers, "--topic-prefix", settings.topic_prefix]
    for arguments in (["list"], ["redrive", "--all"], ["redrive", "--all", "--dry-run"]):
        assert run(["dlq", *arguments, *where]) == 1
        assert "automations topology apply" in capsys.readouterr().err
