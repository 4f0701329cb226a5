"""``SlackNotificationAction``: a message to a Slack incoming webhook.

Slack answers 200 with ``ok``. Its documented errors say in a word what is wrong (``invalid_payload``,
``channel_is_archived``, ``no_service`` …); 429 comes with ``Retry-After``.
"""

import json
import re

from actions.channels.channel import Channel, Config, Job, Rate, Services, one_request, secret_destination, text_of
from actions.channels.wording import cut_escaped, json_of, message_of
from actions.exchange import Answer, Failure, Outcome, Request, Verdict, classify_status
from schemas.records import AutomationEvent

MAX_TEXT = 40_000
"""Characters that Slack keeps of a ``text``; it cuts the rest without a mark."""

_WORD = re.compile(rb"[a-z][a-z_]{2,63}")


def secret_names(config: Config, services: Services) -> tuple[str, ...]:
    """The secret that holds the webhook's address."""
    name = text_of(config, "webhook_url_secret")
    return () if name is None else (name,)


def destination(event: AutomationEvent, config: Config, services: Services) -> str:
    """The secret's name: the address itself is a credential."""
    return secret_destination(event, text_of(config, "webhook_url_secret") or "")


def request(job: Job) -> Request | Failure:
    """POST of ``{"text": …}``. What the event's values hold is text in Slack, never a mention or a link."""
    url = job.secrets.get(text_of(job.config, "webhook_url_secret") or "", "").strip()
    if not url:
        return Failure("invalid_config", final=True)
    text = cut_escaped(message_of(job, escape=_escape), MAX_TEXT)
    return Request(url, (("Content-Type", "application/json"),), json.dumps({"text": text}).encode())


def classify(answer: Answer) -> Outcome:
    """200 with ``ok`` is done; 408, 425, 429 and 5xx are tried again; all else is final."""
    verdict = classify_status(answer)
    said = answer.body.strip()
    if verdict is Verdict.DONE and _is_ok(said):
        return Outcome(verdict, None, answer.status)
    if verdict is Verdict.DONE:
        verdict = Verdict.FINAL
    # Only a single lower-case word is one of Slack's error codes; other text is not for a result.
    code = f": {said.decode()}" if _WORD.fullmatch(said) else ""
    return Outcome(verdict, f"http_{answer.status}{code}", answer.status, answer.retry_after)


def _is_ok(body: bytes) -> bool:
    # Webhooks of Slack's Workflow Builder answer in JSON.
    return body == b"ok" or json_of(body).get("ok") is True


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# Documented: one message a second, short bursts are let pass.
CHANNEL = Channel(secret_names, destination, one_request(request, classify), Rate(1.0, 5))
