"""``TeamsWebhookNotificationAction``: a message to a Teams channel.

The secret's address tells which of two services takes it. A workflow ("when a Teams webhook request is
received") takes an Adaptive Card and answers 202; the older connector of an incoming webhook takes a
MessageCard and answers 200 with ``1``, also with 200 that the message was *not* delivered, in words.
"""

import json
import re
from typing import Any
from urllib.parse import urlsplit

from actions.channels.channel import Channel, Config, Job, Rate, Services, secret_destination, text_of
from actions.channels.wording import cut_escaped, json_of, message_of, title_of
from actions.exchange import (
    RETRIED_STATUSES,
    Answer,
    Exchange,
    Failure,
    Outcome,
    Request,
    Verdict,
    classify_status,
    failed,
)
from schemas.records import AutomationEvent

MAX_BODY_BYTES = 18_000
"""Documented are 28 KB, of a form that the service makes of it: connectors refuse bodies from about 18 KB on."""
MAX_TITLE = 250

_CONNECTOR_HOSTS = ("outlook.office.com", "outlook.office365.com")
_CONNECTOR_DOMAIN = ".webhook.office.com"
_UNDELIVERED = re.compile(rb"returned HTTP error (\d{3})")
_CODE = re.compile(r"[A-Z][A-Za-z]{2,63}")
# Links, code, emphasis, tags and character references; an underscore within a word is no emphasis.
_MARKDOWN = re.compile(r"[\\\[\]*`~<>]|(?<!\w)_|_(?!\w)|&(?=[#\w]+;)")


def secret_names(config: Config, services: Services) -> tuple[str, ...]:
    """The secret that holds the webhook's address."""
    name = text_of(config, "webhook_url_secret")
    return () if name is None else (name,)


def destination(event: AutomationEvent, config: Config, services: Services) -> str:
    """The secret's name: the address itself is a credential."""
    return secret_destination(event, text_of(config, "webhook_url_secret") or "")


def exchange(job: Job) -> Exchange:
    """One POST, in the form that the address's service takes."""
    url = job.secrets.get(text_of(job.config, "webhook_url_secret") or "", "").strip()
    if not url:
        return failed(Failure("invalid_config", final=True))
    connector = is_connector(url)
    reply = yield Request(url, (("Content-Type", "application/json; charset=utf-8"),), _body(job, connector))
    if not isinstance(reply, Answer):
        return failed(reply if isinstance(reply, Failure) else Failure("answer_unreadable"))
    return classify_connector(reply) if connector else classify_workflow(reply)


def is_connector(url: str) -> bool:
    """Whether the address is that of a connector, by its host; all others are taken for workflows."""
    try:
        host = (urlsplit(url).hostname or "").lower()
    except ValueError:
        return False
    return host in _CONNECTOR_HOSTS or host.endswith(_CONNECTOR_DOMAIN)


def classify_workflow(answer: Answer) -> Outcome:
    """202 is done, and so is 200, which a workflow with an answer of its own gives; else as all statuses."""
    if answer.status == 202:
        return Outcome(Verdict.DONE, None, answer.status)
    return _undelivered(answer) or _by_status(answer)


def classify_connector(answer: Answer) -> Outcome:
    """200 with ``1`` is done; 200 with an error in its text counts as that error; other texts are final."""
    if answer.status != 200:
        return _by_status(answer)
    if answer.body.strip() == b"1":
        return Outcome(Verdict.DONE, None, 200)
    return _undelivered(answer) or Outcome(Verdict.FINAL, "http_200", 200)


def _undelivered(answer: Answer) -> Outcome | None:
    found = _UNDELIVERED.search(answer.body) if answer.status == 200 else None
    if found is None:
        return None
    status = int(found.group(1))
    again = status in RETRIED_STATUSES or status >= 500
    return Outcome(
        Verdict.RETRY if again else Verdict.FINAL, f"http_200: http_{status}", answer.status, answer.retry_after
    )


def _by_status(answer: Answer) -> Outcome:
    verdict = classify_status(answer)
    if verdict is Verdict.DONE:
        return Outcome(verdict, None, answer.status)
    error = json_of(answer.body).get("error")
    code = error.get("code") if isinstance(error, dict) else None
    # Workflows name what is wrong in one word, such as WorkflowTriggerIsNotEnabled; other text is not for a result.
    word = f": {code}" if isinstance(code, str) and _CODE.fullmatch(code) else ""
    return Outcome(verdict, f"http_{answer.status}{word}", answer.status, answer.retry_after)


def _body(job: Job, connector: bool) -> bytes:
    """The card, its text cut until it fits."""
    escape = _escape_html if connector else _escape
    title = cut_escaped(title_of(job, escape=escape), MAX_TITLE)
    text = message_of(job, escape=escape)
    summary = cut_escaped(title_of(job), MAX_TITLE)
    url = job.event.flow_run_link
    link = url if url and url.startswith(("https://", "http://")) and len(url) <= 2_000 else None

    def of_length(length: int) -> bytes:
        shown = cut_escaped(text, length)
        card = _message_card(summary, title, shown, link) if connector else _adaptive_card(title, shown, link)
        return json.dumps(card, ensure_ascii=False).encode("utf-8", "replace")

    body = of_length(max(1, len(text)))
    if len(body) <= MAX_BODY_BYTES:
        return body
    fits, too_long = 1, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if len(of_length(middle)) <= MAX_BODY_BYTES:
            fits = middle
        else:
            too_long = middle
    return of_length(fits)


def _adaptive_card(title: str, text: str, link: str | None) -> dict[str, Any]:
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": [
            {"type": "TextBlock", "text": title, "weight": "Bolder", "size": "Medium", "wrap": True},
            {"type": "TextBlock", "text": text, "wrap": True},
        ],
    }
    if link is not None:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open the flow run", "url": link}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _message_card(summary: str, title: str, text: str, link: str | None) -> dict[str, Any]:
    card: dict[str, Any] = {
        "@type": "MessageCard",
        "@context": "https://schema.org/extensions",
        "summary": summary,
        "title": title,
        "text": text,
    }
    if link is not None:
        targets = [{"os": "default", "uri": link}]
        card["potentialAction"] = [{"@type": "OpenUri", "name": "Open the flow run", "targets": targets}]
    return card


def _escape(text: str) -> str:
    return _MARKDOWN.sub(lambda found: "\\" + found.group(), text)


def _escape_html(text: str) -> str:
    # A MessageCard shows HTML as well as Markdown.
    marked = re.sub(r"[\\\[\]*`~]|(?<!\w)_|_(?!\w)", lambda found: "\\" + found.group(), text)
    return marked.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# Documented for connectors: four requests a second, 60 in half a minute.
CHANNEL = Channel(secret_names, destination, exchange, Rate(1.0, 4))
