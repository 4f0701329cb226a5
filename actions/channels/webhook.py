"""``WebhookAction``: the event, or a payload made from it, as JSON to an address.

Success is strictly 200. Another 2xx is final: the receiver took it, but not as agreed.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import to_json

from actions.channels.channel import Channel, Config, Job, Services, one_request, secret_destination, text_of
from actions.channels.signing import HEADERS as SIGNATURE_HEADERS
from actions.channels.signing import keys_of, signature_headers
from actions.exchange import Answer, Failure, Outcome, Request, Verdict, classify_status
from schemas.header_names import is_own_header
from schemas.records import AutomationEvent
from schemas.templates import DEFAULT_HEADERS, TooLarge, default_payload, render_payload

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_CONTENT_TYPE = ("Content-Type", "application/json")
(_ID_HEADER,) = (name for name, text in DEFAULT_HEADERS.items() if text == "{id}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def secret_names(config: Config, services: Services) -> tuple[str, ...]:
    """``url_secret`` and ``signing_secret`` where there are such."""
    if "url_secret" not in config and "signing_secret" not in config:
        return ()
    names = (text_of(config, "url_secret"), text_of(config, "signing_secret"))
    return tuple(dict.fromkeys(name for name in names if name is not None))


def destination(event: AutomationEvent, config: Config, services: Services) -> str:
    """Scheme, host and port of the URL and the tenant; the secret's name where that holds the URL.

    Many tenants' receivers may share a host that limits each of them: one that is refused holds up no other's.
    """
    url = text_of(config, "url")
    if url is None:
        return secret_destination(event, text_of(config, "url_secret") or "")
    return f"{_origin(url)}{event.tenant_id}"


# Few addresses are asked again and again.
@lru_cache(maxsize=4_096)
def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme.lower()}://{host}:{parts.port or ''}/"
    except ValueError:
        return "invalid:"


def request(job: Job) -> Request | Failure:
    """POST of the payload, ``application/json`` unless the action's headers say otherwise; signed if it asks so."""
    url = text_of(job.config, "url") or job.secrets.get(text_of(job.config, "url_secret") or "", "").strip()
    if not url:
        return Failure("invalid_config", final=True)
    payload = job.config.get("payload")
    try:
        headers = _headers(job.event, job.config.get("headers"))
        rendered = None if payload is None else render_payload(payload, job.event)
    except TooLarge:
        return Failure("payload_too_large", final=True)
    if isinstance(headers, Failure):
        return headers
    try:
        # What an event holds itself is texts and whole numbers, which the quicker encoder takes as they are.
        body = to_json(default_payload(job.event)) if payload is None else _JSON(rendered).encode()
    except ValueError:  # NaN, or a lone surrogate, which no UTF-8 can carry
        return Failure("invalid_payload", final=True)
    if job.config.get("signing_secret") is None:
        return Request(url, headers, body)
    # Unsigned, the receiver would refuse it at best, and trust a forgery at worst.
    keys = keys_of(job.secrets.get(text_of(job.config, "signing_secret") or "", ""))
    if keys is None:
        return Failure("invalid_signing_secret", final=True)
    own = tuple(header for header in headers if header[0].lower() not in SIGNATURE_HEADERS)
    return Request(url, own + signature_headers(keys, job.delivery_id, job.now_ms, body), body)


def classify(answer: Answer) -> Outcome:
    """200 is done, another 2xx final, 408, 425, 429 and 5xx are tried again, all others are final."""
    verdict = classify_status(answer)
    if verdict is Verdict.DONE:
        return Outcome(verdict, None, answer.status)
    return Outcome(verdict, f"http_{answer.status}", answer.status, answer.retry_after)


def _headers(event: AutomationEvent, config: Any) -> tuple[tuple[str, str], ...] | Failure:
    if config is None:
        return (_CONTENT_TYPE, (_ID_HEADER, _header_value(event.id)))
    rendered = render_payload(config, event)
    if not isinstance(rendered, Mapping):
        return Failure("invalid_headers", final=True)
    headers: dict[str, tuple[str, str]] = {"content-type": _CONTENT_TYPE}
    for name, value in rendered.items():
        if not is_own_header(name):
            return Failure("invalid_headers", final=True)
        headers[name.lower()] = (name, _header_value(value))
    return tuple(headers.values())


def _header_value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    if text.isascii() and text.isprintable():
        return text.strip()
    # A line break in what an event says must not become a header of its own.
    return _CONTROLS.sub(" ", text).strip().encode("utf-8", "replace").decode()


CHANNEL = Channel(secret_names, destination, one_request(request, classify))
