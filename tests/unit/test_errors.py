"""What each class of the Kafka client's errors leads to: aborting, new clients, a person, or nothing."""

from typing import NamedTuple

import pytest
from confluent_kafka import KafkaError

from streams.errors import (
    Denied,
    Lost,
    MustAbort,
    StateError,
    StreamError,
    hold_permitted,
    of_abort,
    of_commit,
    of_reading,
    of_transaction,
)


class Told(NamedTuple):
    """An error as the client gives it, with the flags that it has at a certain call."""

    code: int
    is_fatal: bool = False
    abortable: bool = False
    said: str = "what the client says"

    def name(self) -> str:
        name: str = KafkaError(self.code).name()
        return name

    def str(self) -> str:
        return self.said

    def fatal(self) -> bool:
        return self.is_fatal

    def txn_requires_abort(self) -> bool:
        return self.abortable


ABORTABLE = [
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.INVALID_PRODUCER_ID_MAPPING,
    KafkaError._TIMED_OUT,
]


@pytest.mark.parametrize("code", ABORTABLE)
def test_a_member_whose_offsets_are_refused_aborts_and_goes_on(code: int) -> None:
    assert type(of_transaction(Told(code, abortable=True))) is MustAbort


@pytest.mark.parametrize("code", [KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError._FATAL])
def test_a_producer_that_was_shut_out_is_replaced_even_where_the_client_asks_for_an_abort(code: int) -> None:
    for abortable in (False, True):
        assert type(of_transaction(Told(code, is_fatal=True, abortable=abortable))) is Lost


def test_what_is_neither_abortable_nor_known_is_left_to_new_clients() -> None:
    assert type(of_transaction(Told(KafkaError.INVALID_TXN_STATE))) is Lost


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    ],
)
def test_a_missing_right_stops_the_process_whatever_else_the_client_says_of_the_error(code: int) -> None:
    assert type(of_transaction(Told(code, abortable=True))) is Denied
    with pytest.raises(Denied):
        hold_permitted(Told(code))


def test_a_commit_without_an_answer_is_never_taken_for_aborted() -> None:
    """The client calls it abortable; but it may have happened, and going back would do the work twice."""
    assert type(of_commit(Told(KafkaError._TIMED_OUT, abortable=True))) is Lost
    assert type(of_commit(Told(KafkaError.INVALID_TXN_STATE, abortable=True))) is MustAbort


def test_an_abort_that_fails_is_left_to_new_clients() -> None:
    assert type(of_abort(Told(KafkaError._TIMED_OUT, abortable=True))) is Lost


@pytest.mark.parametrize("code", [KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE])
def test_records_that_are_gone_stop_the_process_if_they_are_of_a_partition_at_work(code: int) -> None:
    found = of_reading(Told(code), ("flow-run-state [3]", 42), None)
    assert type(found) is StateError
    assert "flow-run-state [3]: the log no longer has offset 42" in str(found)
    assert of_reading(Told(code), None, None) is None


@pytest.mark.parametrize(
    ("told", "instance_id", "meaning"),
    [
        (Told(KafkaError._FATAL, is_fatal=True, said="Static consumer fenced by other consumer"), "a", StateError),
        (Told(KafkaError._FATAL, is_fatal=True, said="Static consumer fenced by other consumer"), None, Lost),
        (Told(KafkaError._MAX_POLL_EXCEEDED), "a", None),
        (Told(KafkaError._ALL_BROKERS_DOWN), "a", None),
        (Told(KafkaError._TRANSPORT), None, None),
    ],
)
def test_a_reader_goes_on_by_itself_unless_it_is_shut_out_or_dead(
    told: Told, instance_id: str | None, meaning: type[StreamError] | None
) -> None:
    found = of_reading(told, None, instance_id)
    assert found is None if meaning is None else type(found) is meaning
