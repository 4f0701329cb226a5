"""What whoever looks after dead letters can rely on, without a Kafka."""

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.channels.channel import Services
from cli.dead_letters import OpenLetters, Wanted, letter_json, letter_parts, totals
from cli.main import run
from cli.moments import moment_ms
from cli.redrive import BATCH_BYTES, BATCH_LETTERS, batches, outgoing
from schemas.delivery_headers import REDRIVEN, decode_headers
from streams.topic_reader import Read
from tests.unit.dead_letter_records import CODEC, SLACK, WEBHOOK, event, headers_of, letter
from topology.settings import Settings

SETTINGS = Settings(bootstrap_servers="none:1", topic_prefix="p-")
NOW_MS = 1_782_907_200_000
"""2026-07-01T12:00:00Z"""


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOOTSTRAP_SERVERS", raising=False)


def taken(*reads: Read, wanted: Wanted | None = None, keep_records: bool = False) -> OpenLetters:
    found = OpenLetters(CODEC.decode_event, Services(), wanted or Wanted(), keep_records=keep_records)
    for read in reads:
        found.take(read)
    return found


def ids_of(found: OpenLetters) -> list[str]:
    return [one.event_id for one in found.letters()]


@given(st.lists(st.tuples(st.sampled_from(["e1", "e2", "e3"]), st.booleans()), max_size=20))
def test_a_delivery_is_open_exactly_if_its_last_record_says_that_it_died(history: list[tuple[str, bool]]) -> None:
    offsets = count()
    reads = [
        letter(event(name), headers_of(event(name), reason="http_404" if died else REDRIVEN), next(offsets))
        for name, died in history
    ]
    last = dict(history)
    assert set(ids_of(taken(*reads))) == {name for name, died in last.items() if died}


@given(st.permutations([0, 1, 2]))
def test_partitions_may_be_read_in_any_order(order: list[int]) -> None:
    """After the topic was given partitions, a delivery's records lie in several: append times tell their order."""
    one = event("e1")
    reads = [
        letter(one, headers_of(one), offset=70, partition=2, time_ms=1_000),
        letter(one, headers_of(one, reason=REDRIVEN), offset=3, partition=0, time_ms=2_000),
        letter(event("e2"), headers_of(event("e2")), offset=4, partition=1, time_ms=1_500),
    ]
    assert ids_of(taken(*(reads[place] for place in order))) == ["e2"]


def test_two_actions_of_one_event_are_two_deliveries() -> None:
    one = event("e1")
    found = taken(letter(one, headers_of(one, SLACK), 0), letter(one, headers_of(one, WEBHOOK), 1))
    assert [(x.action_name, x.action_type, x.destination) for x in found.letters()] == [
        ("page", "SlackNotificationAction", "SLACK"),
        ("call", "WebhookAction", "hooks.example.com"),
    ]


@pytest.mark.parametrize(
    ("wanted", "matched"),
    [
        (Wanted(), ["e1", "e2", "e3"]),
        (Wanted(automation="failures"), ["e1", "e2"]),
        (Wanted(automation="au2"), ["e3"]),
        (Wanted(automation="fail"), []),
        (Wanted(action_type="WebhookAction"), ["e2"]),
        (Wanted(destination="HOOKS.example.com"), ["e2"]),
        (Wanted(destination="SLACK"), ["e1", "e3"]),
        (Wanted(since_ms=2_000), ["e2", "e3"]),
        (Wanted(until_ms=2_000), ["e1"]),
        (Wanted(tenant="t2"), ["e3"]),
        (Wanted(tenant="acme"), ["e1", "e2"]),
        (Wanted(delivery_ids=frozenset((headers_of(event("e2"), WEBHOOK).delivery_id, "none"))), ["e2"]),
        (Wanted(tenant="acme", destination="SLACK"), ["e1"]),
    ],
)
def test_filters_narrow_down_and_go_together(wanted: Wanted, matched: list[str]) -> None:
    other = event("e3", tenant_id="t2", tenant_slug="other", automation_id="au2", automation_name="crashes")
    reads = [
        letter(event("e1"), headers_of(event("e1")), 0, time_ms=1_000),
        letter(event("e2"), headers_of(event("e2"), WEBHOOK), 1, time_ms=2_000),
        letter(other, headers_of(other), 2, time_ms=3_000),
    ]
    assert ids_of(taken(*reads, wanted=wanted)) == matched


def test_the_last_record_decides_before_any_filter() -> None:
    """An earlier record that would match never shows a delivery that has been redriven since."""
    one = event("e1")
    reads = (
        letter(one, headers_of(one), 0, time_ms=1_000),
        letter(one, headers_of(one, reason=REDRIVEN), 1, time_ms=9_000),
    )
    assert ids_of(taken(*reads, wanted=Wanted(until_ms=5_000))) == []


def test_what_cannot_be_read_is_named_by_its_place_and_stops_nothing() -> None:
    one = event("e1")
    good = letter(one, headers_of(one), 5)
    reads = [
        good._replace(offset=1, headers=()),
        good._replace(offset=2, value=b"rubbish", headers=letter(event("e2"), headers_of(event("e2"))).headers),
        letter(event("e3", actions="no json"), headers_of(event("e3")), 3),
        letter(event("e4"), headers_of(event("e4"), action_id="gone"), 4),
        good,
    ]
    found = taken(*reads)
    assert ids_of(found) == ["e1"]
    assert [one.offset for one in found.passed()] == [1, 2, 3, 4]
    assert "headers" in found.passed()[0].problem
    assert "bad_magic" in found.passed()[1].problem


@pytest.mark.parametrize("config", [{}, {"url": "https://["}, {"url": 7}, {"url": "https://x:99999999/"}])
def test_a_config_that_makes_no_sense_hides_no_letter(config: dict[str, Any]) -> None:
    action = {**WEBHOOK, "config": config}
    one = event("e1", actions=json.dumps([action]))
    assert ids_of(taken(letter(one, headers_of(one, action)))) == ["e1"]


def test_a_line_tells_when_which_where_and_why_and_no_text_can_break_it() -> None:
    one = event("e1", automation_name="late\n\x1b[31mfake")
    read = letter(one, headers_of(one, WEBHOOK, reason="http_404: gone\n"), time_ms=1_700_000_000_123)
    [found] = taken(read).letters()
    line = " ".join(text for text, _ in letter_parts(found))
    assert line.startswith(f"2023-11-14T22:13:20.123Z {found.headers.delivery_id} late")
    assert "call (WebhookAction) to hooks.example.com http_404: gone  HTTP 404 12 attempts" in line
    assert line.isprintable()


def test_neither_path_nor_password_of_an_address_is_shown() -> None:
    one = event("e1")
    [found] = taken(letter(one, headers_of(one, WEBHOOK))).letters()
    shown = json.dumps(letter_json(found)) + str(letter_parts(found))
    assert "pw" not in shown
    assert "abc" not in shown


def test_json_has_what_programs_select_by() -> None:
    one = event("e1")
    [found] = taken(letter(one, headers_of(one, recipients_left=(0, 2), redriven_at_ms=0), 7, 3)).letters()
    fields = letter_json(found)
    assert fields["delivery_id"] == headers_of(one).delivery_id
    assert fields["recipients_left"] == [0, 2]
    assert fields["redriven_at"] == "1970-01-01T00:00:00.000Z"
    assert (fields["partition"], fields["offset"], fields["attempts"]) == (3, 7, 12)


def test_totals_count_by_reason_the_most_frequent_first() -> None:
    reasons = ["timeout", "http_404", "http_404", ""]
    events = [event(f"e{number}") for number in range(4)]
    reads = [
        letter(one, headers_of(one, reason=reason), at)
        for at, (one, reason) in enumerate(zip(events, reasons, strict=True))
    ]
    assert totals(taken(*reads).letters()) == [("http_404", 2), ("timeout", 1), ("unknown", 1)]


def test_a_redrive_keeps_the_event_byte_for_byte_and_counts_attempts_and_age_anew() -> None:
    one = event("e1")
    read = letter(one, headers_of(one, recipients_left=(1,), redriven_at_ms=3))
    again, taken_back = outgoing(SETTINGS, taken(read, keep_records=True).letters(), NOW_MS)
    assert (again.topic, taken_back.topic) == ("p-automation-events-retry-1m", "p-automation-events-dlq")
    for record in (again, taken_back):
        assert (record.key, record.value) == (read.key, read.value)
        headers = decode_headers(record.headers)
        assert headers is not None
        assert headers.delivery_id == headers_of(one).delivery_id
        assert (headers.attempt, headers.reason) == (0, REDRIVEN)
        assert (headers.recipients_left, headers.redriven_at_ms) == ((1,), NOW_MS)
    assert dict(again.headers)["not-before-ms"] == str(NOW_MS).encode()
    assert "http-status" not in dict(again.headers)


def test_a_redrive_by_a_host_whose_clock_is_behind_is_not_expired_at_once() -> None:
    read = letter(event("e1"), headers_of(event("e1")), time_ms=NOW_MS)
    for record in outgoing(SETTINGS, taken(read, keep_records=True).letters(), NOW_MS - 3 * 86_400_000):
        headers = decode_headers(record.headers)
        assert headers is not None
        assert headers.redriven_at_ms == NOW_MS + 1


@given(st.lists(st.integers(0, BATCH_BYTES + 1), max_size=8), st.integers(0, 2 * BATCH_LETTERS + 1))
def test_batches_hold_all_letters_in_order_and_fit_in_a_transaction(large: list[int], small: int) -> None:
    # One value for all sizes: only its length counts.
    whole = memoryview(bytes(BATCH_BYTES + 1))
    [found] = taken(letter(event("e1"), headers_of(event("e1")))).letters()
    letters = [
        found._replace(offset=at, record=Read(0, at, b"", whole[:size], 0))  # type: ignore[arg-type]
        for at, size in enumerate([*large, *[1] * small])
    ]
    made = list(batches(letters))
    assert [one for batch in made for one in batch] == letters
    for batch in made:
        assert 0 < len(batch) <= BATCH_LETTERS
        assert len(batch) == 1 or sum(len(one.record.value or b"") for one in batch if one.record) <= BATCH_BYTES


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("2026-07-01T10:00:00Z", NOW_MS - 7_200_000),
        ("2026-07-01T12:00:00+02:00", NOW_MS - 7_200_000),
        ("2h", NOW_MS - 7_200_000),
        ("1h30m", NOW_MS - 5_400_000),
        ("45s", NOW_MS - 45_000),
        ("7d", NOW_MS - 7 * 86_400_000),
    ],
)
def test_a_moment_is_a_time_or_how_long_ago(text: str, at_ms: int) -> None:
    assert moment_ms(text, NOW_MS) == at_ms


@pytest.mark.parametrize("text", ["", "2", "h", "2 hours", "-2h", "yesterday", "2026-07-01", "2026-13-01T00:00:00Z"])
def test_what_is_no_moment_is_told_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="such as 30m, 2h or 7d"):
        moment_ms(text, NOW_MS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["list"], "BOOTSTRAP_SERVERS is not set"),
        (["redrive", "--bootstrap-servers", "none:1"], "--all"),
        (["redrive", "--dry-run", "--bootstrap-servers", "none:1"], "--all"),
        (["redrive", "--all", "--tenant", "t", "--bootstrap-servers", "none:1"], "leave out --all"),
        (["list", "--since", "soon", "--bootstrap-servers", "none:1"], "--since 'soon'"),
        (["list", "--since", "1h", "--until", "2h", "--bootstrap-servers", "none:1"], "--since is not before --until"),
        (["list", "--action-type", "Webhook", "--bootstrap-servers", "none:1"], "WebhookAction"),
        (["redrive", "everything"], "unexpected extra argument"),
    ],
)
def test_wrong_use_is_exit_code_2_and_says_what_to_do(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["dlq", *arguments]) == 2
    assert told in capsys.readouterr().err
