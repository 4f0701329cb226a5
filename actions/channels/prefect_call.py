"""What both backends of Prefect need: where its API is, what opens it, and what the action is about."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from actions.channels.channel import Job, text_of
from actions.channels.wording import cut, message_of
from actions.exchange import Answer, Failure, MailAnswer, Outcome, Reply, Request, Verdict, classify_status, failed

MESSAGE_LENGTH = 1_024
"""Characters that a run's state message has at most. An answer repeats it, and must be readable as a whole."""


class Api(NamedTuple):
    """Prefect's API: ``url`` without a slash at its end, ``key`` = the secret's value, ``None`` = open to all."""

    url: str
    key: str | None

    def __repr__(self) -> str:
        return "Api(…)"

    def post(self, url: str, body: Mapping[str, Any] | None, *headers: tuple[str, str]) -> Request:
        """A POST of ``body`` as JSON, or of nothing, to an address of the API."""
        content = b"" if body is None else json.dumps(body).encode()
        return Request(url, (("Content-Type", "application/json"), *headers), content, trusted=True)


def api_of(job: Job) -> Api | Failure:
    """Where the API is; a setting or secret that is missing may be on its way, so that is tried again."""
    url, secret = job.services.prefect_api_url, job.services.prefect_api_key_secret
    if not url:
        return Failure("prefect_api_url_missing")
    if secret is None:
        return Api(url.rstrip("/"), None)
    key = job.secrets.get(secret)
    return Api(url.rstrip("/"), key) if key else Failure(f"secret_missing: {secret}")


def destination_of(url: str | None) -> str:
    """``prefect:<host>:<port>`` of the API's address."""
    try:
        parts = urlsplit(url or "")
        port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
    except ValueError:
        return "prefect:"
    return f"prefect:{parts.hostname}:{port}" if parts.hostname else "prefect:"


def state_message(job: Job) -> str:
    """The action's message, filled from the event, as a state can hold it."""
    # No database takes a NUL in a text, and no JSON a lone surrogate.
    text = message_of(job).replace("\0", "").encode("utf-8", "replace").decode()
    return cut(text, MESSAGE_LENGTH)


def run_of(job: Job) -> str | Failure:
    """The run that the event is about."""
    return job.event.flow_run_id or Failure("no_flow_run", final=True)


def group_of(job: Job, *, own: bool) -> str | Failure:
    """The config's flow group; the event's where there is none and ``own`` allows it."""
    group = text_of(job.config, "flow_group_id")
    if group is None and not own:
        return Failure("invalid_config", final=True)
    return group or job.event.flow_group_id or Failure("no_flow_group", final=True)


def answered(reply: Reply) -> Answer | Outcome:
    """An answer that says more than its status, or what came instead of one."""
    if isinstance(reply, MailAnswer):
        return failed(Failure("answer_unreadable"))
    if isinstance(reply, Failure):
        return failed(reply)
    # Prefect answers 201 where it made something.
    if reply.status in (200, 201):
        return reply
    verdict = classify_status(reply)
    return Outcome(verdict, f"http_{reply.status}", reply.status, reply.retry_after)


def done(answer: Answer, reason: str | None = None) -> Outcome:
    """Done; ``reason`` says so if there was nothing left to do."""
    return Outcome(Verdict.DONE, reason, answer.status)


def unreadable(answer: Answer) -> Outcome:
    """An answer that isn't Prefect's, as of a proxy in between, may be another one next time."""
    return Outcome(Verdict.RETRY, f"http_{answer.status}: answer_unreadable", answer.status, answer.retry_after)
