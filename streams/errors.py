"""What can go wrong in the loop, and who recovers.

    StreamError
    +-- MustAbort     the transaction has to be aborted: the loop aborts, goes back, goes on
    +-- Lost          this process's clients can't go on (fenced, outcome of a commit unknown, an open
    |                 transaction that nobody ends): the service makes new ones and restores
    +-- StateError    state, input and settings don't fit together: a person decides; exit code 2

What librdkafka calls retriable is tried again where it happens and never shows up here.
"""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from streams.position import StateError

__all__ = ["Lost", "MustAbort", "StateError", "StreamError", "kafka_error"]


class StreamError(Exception):
    """Something that the loop reacts to."""


class MustAbort(StreamError):
    """The open transaction can only be aborted."""


class Lost(StreamError):
    """The process's clients can't go on."""


def kafka_error(error: KafkaException) -> KafkaError:
    """The error within a client's exception."""
    found: KafkaError = error.args[0]
    return found
