"""What can go wrong in the loop, and who recovers.

    StreamError
    +-- MustAbort     the transaction has to be aborted: the loop aborts, goes back, goes on
    +-- Lost          this process's clients can't go on (fenced, outcome of a commit unknown, an open
    |                 transaction that nobody ends): the service makes new ones and restores
    +-- StateError    state, input and settings don't fit together: a person decides; exit code 2

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
