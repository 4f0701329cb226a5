"""What can go wrong in the loop, what each error of the Kafka client means, and who recovers.

    StreamError
    +-- MustAbort     the transaction has to be aborted: the loop aborts, goes back, goes on
    +-- Lost          this process's clients can't go on: the service makes new ones and restores
    +-- StateError    state, input and settings don't fit together: a person decides; exit code 2
        +-- Denied    the brokers refuse a right

The client's errors, by where they come up. "Again" is within the transaction's time, where it happened.

    where                error                                  meaning
    any call             retriable                              again; when the time is over, as what follows
    produce, begin,      abortable (txn_requires_abort):        MustAbort. The commit of a member that the group
    send offsets, flush  ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, declared dead, or that missed a rebalance, fails
                         FENCED_INSTANCE_ID, _TIMED_OUT,        with the first three: work goes back to the last
                         INVALID_PRODUCER_ID_MAPPING            commit; lost partitions go in the rebalance that
                                                                follows
    produce              _STATE                                 MustAbort: an error in the background has doomed
                                                                the transaction; the abort tells if it was fatal
    produce              _QUEUE_FULL (BufferError)              again, once reports are served
    commit               _TIMED_OUT, though it is called        Lost: the outcome is unknown. The next clients'
                         abortable                              init_transactions settles it, and the restore
                                                                reads which it was
    abort                anything final                         Lost: new clients end the transaction
    any call             fatal: _FENCED, INVALID_PRODUCER_EPOCH Lost: a successor shut this producer out; none of
                         and the like; SystemError              its calls helps any more
    any                  TOPIC_, GROUP_, TRANSACTIONAL_ID_ and  Denied: trying again is in vain, a person grants the
                         CLUSTER_AUTHORIZATION_FAILED           right
    reading              _PARTITION_EOF                         no error: all up to there was read
    reading              _AUTO_OFFSET_RESET,                    StateError `records_gone`: the next offset is not
                         OFFSET_OUT_OF_RANGE                    in the log
    reading              "fenced", with an INSTANCE_ID          StateError `shut_out_by_twin`
    reading              fatal, _FATAL                          Lost
    reading              _MAX_POLL_EXCEEDED                     logged: the loss of all partitions follows, which
                                                                aborts and drops them; the client joins again
    reading              _ALL_BROKERS_DOWN, _TRANSPORT and      logged: the client connects again by itself;
                         all else                               progress stands still meanwhile
    committed offsets    UNSTABLE_OFFSET_COMMIT, no answer      asked again a moment later; that restore waits, no
                                                                other partition does
    changelog            retriable; else                        the client reads on; else Lost
    changelog's end      held back by a transaction             its producer is shut out; after 45 s Lost
    seek                 _STATE                                 again for 5 s, the client has just been assigned
                                                                the partition; else Lost
    none                 a call hangs (send offsets can, while  the watchdog ends the process after 25 s in
                         the coordinator moves)                 which nothing moved; the others take over
"""

from typing import Any, Protocol

DENIALS = frozenset(f"{what}_AUTHORIZATION_FAILED" for what in ("TOPIC", "GROUP", "TRANSACTIONAL_ID", "CLUSTER"))
"""What a broker says when a right is missing."""


class ClientError(Protocol):
    """An error of the Kafka client."""

    def name(self) -> str:
        """Its code's name."""

    def str(self) -> str:
        """What the client says of it."""

    def fatal(self) -> bool:
        """Whether the client is of no use any more."""

    def txn_requires_abort(self) -> bool:
        """Whether the transaction can only be aborted."""


class StreamError(Exception):
    """Something that the loop reacts to."""


class MustAbort(StreamError):
    """The open transaction can only be aborted."""


class Lost(StreamError):
    """The process's clients can't go on."""


class StateError(StreamError):
    """State and input don't fit together; going on would lie. The process ends with exit code 2."""


class Denied(StateError):
    """The brokers refuse this process a right; ``error`` is what they said."""

    def __init__(self, error: ClientError) -> None:
        super().__init__(f"{error.name()}: {error.str()}")
        self.error: Any = error


def hold_permitted(error: ClientError) -> None:
    """Raises ``Denied`` if this is the brokers' word that a right is missing."""
    if error.name() in DENIALS:
        raise Denied(error)


def of_transaction(error: ClientError) -> StreamError:
    """What an error means that comes up within a transaction, and that trying again does not help against."""
    if error.name() in DENIALS:
        return Denied(error)
    text = f"{error.name()}: {error.str()}"
    return MustAbort(text) if error.txn_requires_abort() and not error.fatal() else Lost(text)


def of_commit(error: ClientError) -> StreamError:
    """The same for the commit itself: where it may have happened, only new clients can tell."""
    meaning = of_transaction(error)
    if isinstance(meaning, MustAbort) and error.name() == "_TIMED_OUT":
        return Lost(f"the outcome of a commit is unknown: {meaning}")
    return meaning


def of_abort(error: ClientError) -> StreamError:
    """The same for an abort: what can't be aborted is left to new clients."""
    return Lost(f"a transaction could not be aborted: {error.name()}: {error.str()}")


def of_reading(error: ClientError, at: tuple[str, int] | None, instance_id: str | None) -> StreamError | None:
    """What an error from reading the inputs means; None: the client goes on by itself.

    ``at`` names the partition at work that it is about, and the offset that comes next there.
    """
    if error.name() in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE") and at is not None:
        return records_gone(*at)
    if instance_id and "fenced" in error.str().lower():
        return shut_out_by_twin(instance_id)
    if error.fatal() or error.name() == "_FATAL":
        return Lost(f"the consumer can't go on: {error.str()}")
    return None


def records_gone(where: str, offset: int) -> StateError:
    """The input's log does not have the offset that comes next."""
    return StateError(
        f"{where}: the log no longer has offset {offset}: records are gone, or the topic was recreated. "
        "With --accept-gap it goes on, and what began before fires by proof only"
    )


def newer_format(what: str) -> StateError:
    """The changelog holds what this build does not know how to read."""
    return StateError(f"{what} in the changelog was written by a newer version of this program: run that version")


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
