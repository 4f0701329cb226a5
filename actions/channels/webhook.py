"""``WebhookAction``: the event, or a payload made from it, as JSON to an address.

Success is strictly 200. Another 2xx is final: the receiver took it, but not as agreed.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from actions.channels.channel import Channel, Config, Secrets, secret_destination, text_of
from actions.exchange import Answer, Failure, Outcome, Request, Verdict, classify_status
from schemas.records import AutomationEvent
from schemas.templates import DEFAULT_HEADERS, default_payload, render_payload

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# What the connection itself says: a header that contradicts it makes two requests of one.
_OF_THE_CONNECTION = frozenset(
    ("connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade")
)  # fmt: skip


def secret_names(config: Config) -> tuple[str, ...]:
    """``url_secret`` where there is one."""
    name = text_of(config, "url_secret")
    return () if name is None else (name,)


def destination(event: AutomationEvent, config: Config) -> str:
    """Scheme, host and port of the URL; the secret's name where that holds the URL."""
    url = text_of(config, "url")
    if url is None:
        return secret_destination(event, text_of(config, "url_secret") or "")
    try:
        parts = urlsplit(url)
        return f"{parts.scheme.lower()}://{parts.hostname}:{parts.port or ''}"
    except ValueError:
        return "invalid"


def request(event: AutomationEvent, config: Config, secrets: Secrets) -> Request | Failure:
    """POST of the payload, ``application/json`` unless the action's headers say otherwise."""
    url = text_of(config, "url") or secrets.get(text_of(config, "url_secret") or "")
    if not url:
        return Failure("invalid_config", final=True)
    if config.get("signing_secret") is not None:
        # Unsigned, the receiver would refuse it at best, and trust a forgery at worst.
        return Failure("signing_unsupported", final=True)
    headers = _headers(event, config.get("headers"))
    if isinstance(headers, Failure):
        return headers
    payload = config.get("payload")
    rendered = default_payload(event) if payload is None else render_payload(payload, event)
    try:
        body = json.dumps(rendered, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:  # NaN, or a lone surrogate, which no UTF-8 can carry
        return Failure("invalid_payload", final=True)
    return Request(url, headers, body)


def classify(answer: Answer) -> Outcome:
    """200 is done, another 2xx final, 408, 425, 429 and 5xx are tried again, all others are final."""
    verdict = classify_status(answer)
    if verdict is Verdict.DONE:
        return Outcome(verdict, None, answer.status)
    return Outcome(verdict, f"http_{answer.status}", answer.status, answer.retry_after)


def _headers(event: AutomationEvent, config: Any) -> tuple[tuple[str, str], ...] | Failure:
    rendered = render_payload(DEFAULT_HEADERS if config is None else config, event)
    if not isinstance(rendered, Mapping):
        return Failure("invalid_headers", final=True)
    headers: dict[str, tuple[str, str]] = {"content-type": ("Content-Type", "application/json")}
    for name, value in rendered.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _OF_THE_CONNECTION:
            return Failure("invalid_headers", final=True)
        headers[name.lower()] = (name, _header_value(value))
    return tuple(headers.values())


def _header_value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    # A line break in what an event says must not become a header of its own.
    return _CONTROLS.sub(" ", text).strip().encode("utf-8", "replace").decode()


CHANNEL = Channel(secret_names, destination, request, classify)
