"""``TwilioNotificationAction``: a text message to each phone number, over Twilio's Messages resource.

Each number is a request of its own. 201 means that Twilio has the message. What it answers about one number
says nothing about the next, but a refused account, a limit and no answer do: then the rest is left for the
next attempt, and nobody who has had it is asked again.
"""

import base64
from typing import Any, NamedTuple, TypeGuard
from urllib.parse import quote, urlencode

from actions.channels.channel import Channel, Config, Job, Services, text_of
from actions.channels.wording import cut, json_of, message_of
from actions.exchange import Answer, Exchange, Failure, Outcome, Reply, Request, Verdict, classify_status, failed
from schemas.phone_numbers import e164
from schemas.records import AutomationEvent

MAX_BODY = 1_600
TOO_MANY_REQUESTS = 20429


class _Missed(NamedTuple):
    """Why a number has not had the message; ``ends``: so it would be with the others."""

    outcome: Outcome
    ends: bool


def secret_names(config: Config, services: Services) -> tuple[str, ...]:
    """The account's token."""
    name = text_of(config, "auth_token_secret")
    return () if name is None else (name,)


def destination(event: AutomationEvent, config: Config, services: Services) -> str:
    """The API and the account, which has the limits."""
    account = quote(text_of(config, "account_sid") or "", safe="", errors="replace")
    return f"{services.twilio_base_url.rstrip('/')}/{account}"


def exchange(job: Job) -> Exchange:
    """One request for each number that is left."""
    numbers = job.config.get("phone_numbers")
    sender = _Sender.of(job)
    if sender is None or not _are_texts(numbers):
        return failed(Failure("invalid_config", final=True))
    wanted = range(len(numbers)) if job.recipients_left is None else job.recipients_left
    left = [index for index in dict.fromkeys(wanted) if 0 <= index < len(numbers)]
    body = cut(message_of(job), MAX_BODY)
    missed: dict[int, _Missed] = {}
    had: set[int] = set()
    for index in left:
        why = _missed((yield sender.message(e164(numbers[index]) or numbers[index], body)))
        if why is None:
            had.add(index)
            continue
        missed[index] = why
        if why.ends:
            break
    return _outcome(left, list(missed.values()), tuple(index for index in left if index not in had))


def _are_texts(values: Any) -> TypeGuard[list[str]]:
    return isinstance(values, list) and bool(values) and all(isinstance(one, str) and one for one in values)


class _Sender(NamedTuple):
    """Who sends, and where to."""

    url: str
    authorization: str
    messaging_service_sid: str

    @classmethod
    def of(cls, job: Job) -> "_Sender | None":
        sid, service = text_of(job.config, "account_sid"), text_of(job.config, "messaging_service_sid")
        token = job.secrets.get(text_of(job.config, "auth_token_secret") or "", "").strip()
        if sid is None or service is None or not token:
            return None
        url = f"{job.services.twilio_base_url.rstrip('/')}/2010-04-01/Accounts/{quote(sid, safe='')}/Messages.json"
        encoded = base64.b64encode(f"{sid}:{token}".encode("utf-8", "replace")).decode()
        return cls(url, f"Basic {encoded}", service)

    def message(self, number: str, body: str) -> Request:
        form = {"To": number, "MessagingServiceSid": self.messaging_service_sid, "Body": body}
        headers = (("Authorization", self.authorization), ("Content-Type", "application/x-www-form-urlencoded"))
        return Request(self.url, headers, urlencode(form, errors="replace").encode(), trusted=True)


def _missed(reply: Reply) -> _Missed | None:
    """``None`` if Twilio has the message."""
    if not isinstance(reply, Answer):
        return _Missed(failed(reply if isinstance(reply, Failure) else Failure("answer_unreadable")), ends=True)
    if reply.status == 201:
        return None
    code = _code(json_of(reply.body))
    verdict = classify_status(reply)
    if code == TOO_MANY_REQUESTS:
        verdict = Verdict.RETRY
    elif verdict is Verdict.DONE:
        verdict = Verdict.FINAL
    word = f": {code}" if code is not None else ""
    outcome = Outcome(verdict, f"http_{reply.status}{word}", reply.status, reply.retry_after)
    # A refused account (401) or one that is not there (404) sends to nobody.
    return _Missed(outcome, ends=reply.status in (401, 404, 429) or code == TOO_MANY_REQUESTS)


def _code(answer: dict[str, Any]) -> int | None:
    code = answer.get("code")
    return code if isinstance(code, int) and not isinstance(code, bool) and 0 < code < 1_000_000 else None


def _outcome(asked: list[int], missed: list[_Missed], left: tuple[int, ...]) -> Outcome:
    """Done if nobody is left; to be tried again if that may help anybody; else final."""
    if not left:
        return Outcome(Verdict.DONE, None, 201 if asked else None, recipients_left=())
    passing = [one.outcome for one in missed if one.outcome.verdict is Verdict.RETRY]
    told = (passing or [one.outcome for one in missed])[0]
    waits = [outcome.retry_after for outcome in passing if outcome.retry_after is not None]
    return told._replace(retry_after=max(waits, key=_seconds, default=None), recipients_left=left)


def _seconds(retry_after: str) -> float:
    """How long that is; a date, which can't be compared here, counts as longer than any number."""
    return float(retry_after) if retry_after.strip().isdecimal() else float("inf")


CHANNEL = Channel(secret_names, destination, exchange)
