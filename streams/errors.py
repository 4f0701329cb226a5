"""What can go wrong in the loop, and who recovers.

    StreamError
    +-- MustAbort     the transaction has to be aborted: the loop aborts, goes back, goes on
    +-- Lost          this process's clients can't go on (fenced, outcome of a commit unknown, an open
    |                 transaction that nobody ends): the service makes new ones and restores
    +-- StateError    state, input and settings don't fit together: a person decides; exit code 2
        +-- Denied    the brokers refuse a right (`streams.denied`)

What librdkafka calls retriable is tried again where it happens and never shows up here.
"""


class StreamError(Exception):
    """Something that the loop reacts to."""


class MustAbort(StreamError):
    """The open transaction can only be aborted."""


class Lost(StreamError):
    """The process's clients can't go on."""


class StateError(StreamError):
    """State and input don't fit together; going on would lie. The process ends with exit code 2."""


def records_gone(where: str, offset: int) -> StateError:
    """The input's log does not have the offset that comes next."""
    return StateError(
        f"{where}: the log no longer has offset {offset}: records are gone, or the topic was recreated. "
        "With --accept-gap it goes on, and what began before fires by proof only"
    )


def made_anew(topic: str) -> StateError:
    """A topic has the name that it had, and is another one."""
    return StateError(
        f"topic {topic} was deleted and made anew while it was in use: what lay in it is gone. With --accept-gap it "
        "goes on, and what began before fires by proof only; the automations topic has to be applied again"
    )


def more_partitions(topic: str, width: int) -> StateError:
    """An input was given partitions while it was read."""
    return StateError(
        f"{topic} has more partitions than the {width} of its changelog: an input's partition count is fixed for life"
    )


def shut_out_by_twin(instance_id: str) -> StateError:
    """Another member joined with the same static identity."""
    return StateError(
        f"another process has INSTANCE_ID={instance_id}, and this one was shut out: give each process its own"
    )
