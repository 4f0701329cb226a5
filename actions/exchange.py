"""What channels and the transport say to each other: values only.

A channel speaks to a service in an *exchange*: a generator that yields what to send, is given what came back,
and returns what it all meant. It does no I/O itself, so the same exchange runs against the real service, a
double, or a list of answers in a test.
"""

from collections.abc import Generator, Mapping
from enum import Enum
from typing import NamedTuple


class Request(NamedTuple):
    """An HTTP request to make. ``url``, ``headers`` and ``body`` may hold secrets: never log one.

    ``trusted``: the address comes from the operator's settings, not from an action, so that the egress guard
    lets it pass.
    """

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    method: str = "POST"
    trusted: bool = False

    def __repr__(self) -> str:
        return f"Request({self.method}, {len(self.body)} bytes)"


class Mail(NamedTuple):
    """An e-mail to send to the server of the settings: ``message`` is its RFC 5322 form."""

    sender: str
    recipients: tuple[str, ...]
    message: bytes

    def __repr__(self) -> str:
        return f"Mail({len(self.recipients)} recipients, {len(self.message)} bytes)"


class Failure(NamedTuple):
    """Why no request can be made, or why it got no answer.

    ``reason`` is a name, fit for results and logs: it holds no text of a secret, an URL or an answer.
    ``final`` = trying again can't help.
    """

    reason: str
    final: bool = False


class Answer(NamedTuple):
    """An HTTP answer: ``body`` holds at most its first 16 KiB, ``retry_after`` the header as it stood."""

    status: int
    body: bytes = b""
    retry_after: str | None = None

    def __repr__(self) -> str:
        # A service may repeat in its answer what it was sent.
        return f"Answer({self.status}, {len(self.body)} bytes)"


class MailAnswer(NamedTuple):
    """The mail server took the message for all recipients but ``refused``: index -> SMTP code (such as 550).

    A server that refuses the sender, the message or all recipients refuses all of them.
    """

    refused: Mapping[int, int]


class Verdict(Enum):
    """What an answer means for its delivery."""

    DONE = "done"
    RETRY = "retry"
    FINAL = "final"


class Outcome(NamedTuple):
    """What one attempt came to.

    ``reason`` names what went wrong; of an attempt that is done it is ``None``, or says that there was nothing
    left to do (``already_cancelled``). ``recipients_left`` are the indexes into the action's own list of those
    who have not had it, for actions that have one: a later attempt asks for these alone.
    """

    verdict: Verdict
    reason: str | None = None
    http_status: int | None = None
    retry_after: str | None = None
    recipients_left: tuple[int, ...] | None = None


Step = Request | Mail
Reply = Answer | MailAnswer | Failure
Exchange = Generator[Step, Reply, Outcome]


RETRIED_STATUSES = frozenset((408, 425, 429))


def classify_status(answer: Answer) -> Verdict:
    """By the status alone: 200 is done; 408, 425, 429 and 5xx are tried again; all others are final."""
    if answer.status == 200:
        return Verdict.DONE
    if answer.status in RETRIED_STATUSES or 500 <= answer.status <= 599:
        return Verdict.RETRY
    return Verdict.FINAL


def failed(failure: Failure) -> Outcome:
    """The outcome of an attempt that got no answer."""
    return Outcome(Verdict.FINAL if failure.final else Verdict.RETRY, failure.reason)
