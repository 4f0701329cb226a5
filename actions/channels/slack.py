"""``SlackNotificationAction``: a message to a Slack incoming webhook.

Slack answers 200 with ``ok``. Its documented errors say in a word what is wrong (``invalid_payload``,
``channel_is_archived``, ``no_service`` …); 429 comes with ``Retry-After``.
"""

import json
import re
from typing import Any

from actions.channels.channel import Channel, Config, Secrets, secret_destination, text_of
from actions.exchange import Answer, Failure, Outcome, Request, Verdict, classify_status
from schemas.records import AutomationEvent
from schemas.templates import render_text

_WORD = re.compile(rb"[a-z][a-z_]{2,63}")


def secret_names(config: Config) -> tuple[str, ...]:
    """The secret that holds the webhook's address."""
    name = text_of(config, "webhook_url_secret")
    return () if name is None else (name,)


def destination(event: AutomationEvent, config: Config) -> str:
    """The secret's name: the address itself is a credential."""
    return secret_destination(event, text_of(config, "webhook_url_secret") or "")


def request(event: AutomationEvent, config: Config, secrets: Secrets) -> Request | Failure:
    """POST of ``{"text": …}``. What the event's values hold is text in Slack, never a mention or a link."""
    url = secrets.get(text_of(config, "webhook_url_secret") or "")
    if not url:
        return Failure("invalid_config", final=True)
    text = render_text(text_of(config, "message") or "{message}", _escaped(event))
    body = json.dumps({"text": text}).encode()
    return Request(url, (("Content-Type", "application/json"),), body)


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
    if body == b"ok":
        return True
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    # Webhooks of Slack's Workflow Builder answer in JSON.
    return isinstance(answer, dict) and answer.get("ok") is True


def _escaped(event: AutomationEvent) -> AutomationEvent:
    return AutomationEvent(*[_escape(value) for value in event])


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return value


CHANNEL = Channel(secret_names, destination, request, classify)
