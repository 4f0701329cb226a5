"""Topics that have their old name and are others: told by the ids beside a position."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from confluent_kafka.admin import AdminClient

from streams.errors import StateError
from streams.topic_ids import NO_ID, TopicIds, changed, header

TOPICS = ["runs", "runs-changelog"]
A, B, C = ("a" * 22, "b" * 22, "c" * 22)


def test_topics_that_are_what_they_were_fit() -> None:
    assert changed(TOPICS, header(f"{A} {B}"), f"{A} {B}") is None


@pytest.mark.parametrize(("now", "named"), [(f"{C} {B}", "runs"), (f"{A} {C}", "runs-changelog"), (f"{C} {C}", "runs")])
def test_a_topic_made_anew_is_named_the_input_first(now: str, named: str) -> None:
    assert changed(TOPICS, header(f"{A} {B}"), now) == named


@pytest.mark.parametrize("headers", [None, [], [("another", b"x y")], [("topic-ids", None)]])
def test_a_position_of_an_older_build_has_no_ids_and_fits_any_topic(
    headers: Sequence[tuple[str, bytes | None]] | None,
) -> None:
    assert changed(TOPICS, headers, f"{A} {B}") is None


@pytest.mark.parametrize(("was", "now"), [(NO_ID, A), (A, NO_ID)])
def test_a_broker_that_knows_no_ids_proves_nothing(was: str, now: str) -> None:
    """As in an upgrade from one that is too old for them."""
    assert changed(TOPICS, header(f"{was} {was}"), f"{now} {now}") is None


def test_under_a_running_consumer_only_another_id_is_another_topic() -> None:
    """In an upgrade some brokers know ids and some do not, whoever answers."""
    ids = TopicIds(AdminClient({"bootstrap.servers": "127.0.0.1:1"}), ["runs"])

    def told(answer: str) -> str:
        return ids.learn({"runs": SimpleNamespace(topic_id=answer)}, "runs")

    assert [told(answer) for answer in (NO_ID, A, NO_ID, A)] == [NO_ID, A, A, A]
    with pytest.raises(StateError, match="made anew"):
        told(B)
