"""Keyed state of one partition, which a changelog can rebuild and a transaction can take back.

Law:

1. ``data`` is what a restore of the changelog plus the records in ``drain()`` would give.
2. After ``rollback`` the data is what it was at the last ``committed``.
3. A value is the changelog record's value itself: restoring copies nothing and decodes nothing.
"""

from collections.abc import Iterator


class Store:
    """State by key, with what the open transaction has changed. Values are opaque bytes."""

    __slots__ = ("_before", "_unsent", "data")

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self._before: dict[bytes, bytes | None] = {}
        self._unsent: dict[bytes, bytes | None] = {}

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Takes a changelog record (None: deleted) as it is read back."""
        if value is None:
            self.data.pop(key, None)
        else:
            self.data[key] = value

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        return self.data.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Sets a key's value."""
        data = self.data
        if key not in self._before:
            self._before[key] = data.get(key)
        data[key] = value
        self._unsent[key] = value

    def delete(self, key: bytes) -> None:
        """Forgets a key; nothing happens where there is none."""
        if key in self.data:
            if key not in self._before:
                self._before[key] = self.data[key]
            del self.data[key]
            self._unsent[key] = None

    def drain(self) -> dict[bytes, bytes | None]:
        """Changelog records not yet sent in this transaction, the last one of each key."""
        unsent = self._unsent
        self._unsent = {}
        return unsent

    @property
    def changed(self) -> bool:
        """Whether the open transaction has changed anything."""
        return bool(self._before)

    def committed(self) -> None:
        """The open transaction was committed, all drained records with it."""
        self._before.clear()

    def rollback(self) -> Iterator[bytes]:
        """The open transaction was aborted: takes its changes back, and yields the keys concerned."""
        before, self._before = self._before, {}
        self._unsent = {}
        for key, value in before.items():
            self.restore(key, value)
            yield key
