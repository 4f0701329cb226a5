"""The store: what a changelog can rebuild, and what an aborted transaction leaves behind: nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streams.store import Store
from tests.examples import examples

KEYS = st.sampled_from([b"a", b"b", b"c"])
VALUES = st.binary(max_size=2)


def test_a_value_is_the_changelog_records_value_itself() -> None:
    store, value = Store(), bytes(range(9))
    store.restore(b"a", value)
    assert store.get(b"a") is value


def test_deleting_what_is_not_there_writes_nothing() -> None:
    store = Store()
    store.delete(b"a")
    assert store.drain() == {}
    assert not store.changed


def test_only_the_last_value_of_a_key_is_written() -> None:
    store = Store()
    store.put(b"a", b"1")
    store.put(b"a", b"2")
    store.put(b"b", b"1")
    store.delete(b"b")
    assert store.drain() == {b"a": b"2", b"b": None}
    assert store.drain() == {}


def test_it_counts_as_changed_until_the_transaction_ends_though_all_was_sent() -> None:
    store = Store()
    store.put(b"a", b"1")
    store.drain()
    assert store.changed
    store.committed()
    assert not store.changed


def test_a_rollback_names_the_keys_that_it_took_back() -> None:
    store = Store()
    store.put(b"a", b"1")
    store.committed()
    store.put(b"a", b"2")
    store.put(b"b", b"1")
    assert set(store.rollback()) == {b"a", b"b"}
    assert store.data == {b"a": b"1"}


class Transactions(RuleBasedStateMachine):
    """A store among transactions: the changelog rebuilds it, a rollback gives what was last committed."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.changelog: dict[bytes, bytes] = {}
        self.sent: dict[bytes, bytes | None] = {}

    @rule(key=KEYS, value=VALUES)
    def put(self, key: bytes, value: bytes) -> None:
        self.store.put(key, value)

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        self.store.delete(key)

    @rule()
    def send(self) -> None:
        self.sent |= self.store.drain()

    @rule()
    def commit(self) -> None:
        self.send()
        for key, value in self.sent.items():
            if value is None:
                self.changelog.pop(key, None)
            else:
                self.changelog[key] = value
        self.sent = {}
        self.store.committed()
        assert self.store.data == self.changelog

    @rule()
    def abort(self) -> None:
        list(self.store.rollback())
        self.sent = {}
        assert self.store.data == self.changelog
        assert self.store.drain() == {}

    @invariant()
    def what_was_not_changed_is_what_was_committed(self) -> None:
        if not self.store.changed:
            assert self.store.data == self.changelog


TestTransactions = Transactions.TestCase
TestTransactions.settings = settings(max_examples=examples(50), stateful_step_count=25)


@given(records=st.lists(st.tuples(KEYS, st.none() | VALUES)))
def test_a_restore_gives_the_last_value_of_each_key(records: list[tuple[bytes, bytes | None]]) -> None:
    store = Store()
    for key, value in records:
        store.restore(key, value)
    assert store.data == {key: value for key, value in dict(records).items() if value is not None}
    assert store.drain() == {}
