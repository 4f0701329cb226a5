"""Whether a record of an input may be judged: readable, where it belongs, and in time.

A record that may not is as if never sent; it goes to the dead letters with its reason, and the rest of its
partition goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from schemas.codec import Rejected
from schemas.records import AgentHeartbeat, FlowRunState
from streams.partition import Output, Unread
from topology.names import INPUT_DLQ
from topology.topics import MAX_RECORD_BYTES

_FITS = MAX_RECORD_BYTES - 64 * 1024
"""Bytes of a value that fit in a record of the dead-letter topic, its key and headers beside it."""
_KEY_FITS = 32 * 1024


class Place(NamedTuple):
    """The input partition that is read; ``partition_of`` says where the producers' partitioner puts a key."""

    topic: str
    """As the brokers know it, prefix included."""
    partition: int
    partition_of: Callable[[bytes], int]


def wrong_key(key: bytes | None, subject: bytes) -> Rejected | None:
    """Why a record's key is not ``subject``, the id that it has to be."""
    if key == subject:
        return None
    shown = "no key" if key is None else "another key"
    return Rejected("wrong_key", f"the record has {shown} than the id in its value, {subject.decode()!r}")


def wrong_partition(subject: bytes, place: Place) -> Rejected | None:
    """Why a record of this key does not belong where it was read."""
    partition = place.partition_of(subject)
    if partition == place.partition:
        return None
    return Rejected(
        "wrong_partition",
        f"the key belongs in partition {partition}, not {place.partition}: set the producer's partitioner",
    )


def too_late(record: FlowRunState | AgentHeartbeat, log_ms: int, late_ms: int) -> Rejected | None:
    """Why a record's timestamp is too old to count."""
    behind_ms = log_ms - record.timestamp
    if behind_ms <= late_ms:
        return None
    return Rejected("too_late", f"its timestamp lies {behind_ms} ms before its log time; LATE_MS is {late_ms}")


def dead_letter(record: Unread, rejected: Rejected, place: Place) -> Output:
    """The record as it was, with why and whence in its headers; one too large for the topic loses its end."""
    headers = {
        "reason": rejected.reason,
        "detail": rejected.detail,
        "origin-topic": place.topic,
        "origin-partition": str(place.partition),
        "origin-offset": str(record.offset),
    }
    key, value = record.key, record.value
    return Output(
        INPUT_DLQ,
        None if key is None else key[:_KEY_FITS],
        None if value is None else value[:_FITS],
        [(name, text.encode()) for name, text in headers.items()],
    )
