"""``PagerDutyNotificationAction``: an alert over PagerDuty's Events API v2.

The routing key alone says where an alert goes and that its sender may send it; the API takes no token, so
``api_token_secret`` is not looked up. Documented answers: 202 accepted, 400 an invalid event, 429 and 5xx
to be tried again.
"""

import hashlib
import json
import re
from typing import Any

from actions.channels.channel import Channel, Config, Job, Services, one_request, text_of
from actions.channels.wording import cut, json_of, message_of
from actions.exchange import Answer, Failure, Outcome, Request, Verdict, classify_status
from schemas.records import AutomationEvent
from schemas.templates import default_payload
from schemas.times import rfc3339

MAX_SUMMARY = 1_024
MAX_DEDUP_KEY = 255
MAX_BODY_BYTES = 512 * 1024
SEVERITIES = ("info", "warning", "error", "critical")

# The fields that the API's error texts name, as in "'payload.source' is missing or blank".
_FIELDS = (
    "payload.summary", "payload.source", "payload.severity", "payload.timestamp", "payload.component",
    "payload.group", "payload.class", "payload.custom_details", "payload", "routing_key", "event_action",
    "dedup_key", "links", "images", "client_url", "client",
)  # fmt: skip
_QUOTED = re.compile(r"'([a-z_.]{1,40})'")


def secret_names(config: Config, services: Services) -> tuple[str, ...]:
    """None: the Events API takes no token."""
    return ()


def destination(event: AutomationEvent, config: Config, services: Services) -> str:
    """The API, and which of its integrations: the key's hash, as the key lets anybody raise alerts."""
    key = text_of(config, "routing_key") or ""
    return (
        f"{services.pagerduty_base_url.rstrip('/')}/{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:12]}"
    )


def request(job: Job) -> Request | Failure:
    """POST of a trigger."""
    routing_key, severity = text_of(job.config, "routing_key"), text_of(job.config, "severity")
    if routing_key is None or severity is None or severity.lower() not in SEVERITIES:
        return Failure("invalid_config", final=True)
    event = job.event
    payload = {
        "summary": cut(message_of(job), MAX_SUMMARY),
        "source": event.tenant_slug or event.tenant_id or "flow-automations",
        "severity": severity.lower(),
        "timestamp": rfc3339(event.timestamp),
        "component": event.flow_name or event.agent_config_id,
        "group": event.automation_name,
        "class": event.event_name,
        "custom_details": default_payload(event),
    }
    alert: dict[str, Any] = {
        "routing_key": routing_key.strip(),
        "event_action": "trigger",
        "dedup_key": dedup_key(event),
        "client": "flow-automations",
        "payload": {name: value for name, value in payload.items() if value},
    }
    links = [("Flow run", event.flow_run_link), ("Flow", event.flow_link)]
    shown = [{"href": href, "text": text} for text, href in links if href and href.startswith(("https://", "http://"))]
    if shown:
        alert["links"] = shown
    url = f"{job.services.pagerduty_base_url.rstrip('/')}/v2/enqueue"
    return Request(url, (("Content-Type", "application/json"),), _within_bounds(alert), trusted=True)


def dedup_key(event: AutomationEvent) -> str:
    """What events of one automation about one run (or agent config) have in common: they join one incident.

    PagerDuty opens another one once that is resolved. A key longer than it takes becomes its hash.
    """
    subject = event.flow_run_id or event.agent_config_id or event.id
    key = f"{event.tenant_id}/{event.automation_id}/{subject}"
    return key if len(key) <= MAX_DEDUP_KEY else hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def classify(answer: Answer) -> Outcome:
    """202 is done; 408, 425, 429 and 5xx are tried again; all else is final, other 2xx too."""
    if answer.status == 202:
        return Outcome(Verdict.DONE, None, answer.status)
    verdict = classify_status(answer)
    if verdict is Verdict.DONE:
        verdict = Verdict.FINAL
    fields = f": {_wrong_fields(answer)}" if answer.status == 400 and _wrong_fields(answer) else ""
    return Outcome(verdict, f"http_{answer.status}{fields}", answer.status, answer.retry_after)


def _wrong_fields(answer: Answer) -> str:
    """Fields of the API that its errors name, in its own order; no other text of the answer."""
    errors = json_of(answer.body).get("errors")
    said = [error for error in errors if isinstance(error, str)] if isinstance(errors, list) else []
    named = {name for error in said for name in _QUOTED.findall(error)}
    if any("routing key" in error.lower() for error in said):
        named.add("routing_key")
    return " ".join(field for field in _FIELDS if field in named)


def _within_bounds(alert: dict[str, Any]) -> bytes:
    body = json.dumps(alert).encode()
    if len(body) > MAX_BODY_BYTES:
        # Long lists of agents and messages are all that can be so large; what happened is in the summary.
        details = alert["payload"]["custom_details"]
        short = {name: value for name, value in details.items() if len(json.dumps(value)) <= 4_096}
        body = json.dumps(alert | {"payload": alert["payload"] | {"custom_details": short}}).encode()
    return body


CHANNEL = Channel(secret_names, destination, one_request(request, classify))
