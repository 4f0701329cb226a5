"""What channels and the sender say to each other: values only."""

from enum import Enum
from typing import NamedTuple


class Request(NamedTuple):
    """An HTTP request to make. ``url``, ``headers`` and ``body`` may hold secrets: never log one."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    method: str = "POST"

    def __repr__(self) -> str:
        return f"Request({self.method}, {len(self.body)} bytes)"


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


class Verdict(Enum):
    """What an answer means for its delivery."""

    DONE = "done"
    RETRY = "retry"
    FINAL = "final"


class Outcome(NamedTuple):
    """What one attempt came to. ``reason`` is ``None`` when done."""

    verdict: Verdict
    reason: str | None = None
    http_status: int | None = None
    retry_after: str | None = None


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
