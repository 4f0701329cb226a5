"""PagerDuty's Events API v2."""

from datetime import datetime
from typing import Any

from aiohttp import web

from tests.doubles.http_service import HttpService, Said, json_body, said_json

ACTIONS = ("trigger", "acknowledge", "resolve")
SEVERITIES = ("critical", "warning", "error", "info")


class PagerDuty(HttpService):
    """One service with the integration key ``key``. ``alerts`` are its alerts by ``dedup_key``, in their order."""

    key = "0123456789abcdef0123456789abcdef"

    def __init__(self) -> None:
        super().__init__()
        self.alerts: dict[str, list[dict[str, Any]]] = {}

    async def answer(self, request: web.Request, body: bytes) -> Said:
        """202 with the ``dedup_key``, or 400 with what is wrong."""
        event = json_body(body)
        if request.path != "/v2/enqueue" or request.method != "POST":
            return Said(404)
        if not isinstance(event, dict):
            return _invalid("JSON parse error")
        wrong = [*_wrong(event), *_wrong_payload(event.get("payload"))]
        if len(body) > 512 * 1024:
            wrong.append("Event is too large")
        if wrong:
            return _invalid(*wrong)
        if event["routing_key"] != self.key:
            return _invalid("Invalid routing key")
        self.alerts.setdefault(event["dedup_key"], []).append(event)
        said = {"status": "success", "message": "Event processed", "dedup_key": event["dedup_key"]}
        return said_json(202, said)


def _wrong(event: dict[str, Any]) -> list[str]:
    found = []
    if len(str(event.get("routing_key", ""))) != 32:
        found.append("Length of 'routing_key' is incorrect (should be 32 characters)")
    if event.get("event_action") not in ACTIONS:
        found.append(f"'event_action' is invalid (must be one of the following: {', '.join(ACTIONS)})")
    if not 0 < len(event.get("dedup_key", "")) <= 255:
        found.append("'dedup_key' is too long (maximum is 255 characters)")
    if not all(str(link.get("href", "")).startswith("http") for link in event.get("links", [])):
        found.append("'links' is invalid")
    return found


def _wrong_payload(payload: Any) -> list[str]:
    if not isinstance(payload, dict):
        return ["'payload' is missing or blank"]
    found = [f"'payload.{name}' is missing or blank" for name in ("summary", "source") if not payload.get(name)]
    if len(payload.get("summary", "")) > 1024:
        found.append("'payload.summary' is too long (maximum is 1024 characters)")
    if payload.get("severity") not in SEVERITIES:
        found.append("'payload.severity' is invalid (must be one of the following: 'critical', 'warning', …)")
    try:
        datetime.fromisoformat(payload.get("timestamp", ""))
    except ValueError:
        found.append("'payload.timestamp' is invalid")
    if not all(isinstance(payload.get(name, ""), str) for name in ("component", "group", "class")):
        found.append("'payload.component' is invalid")
    return found


def _invalid(*errors: str) -> Said:
    return said_json(400, {"status": "invalid event", "message": "Event object is invalid", "errors": list(errors)})
