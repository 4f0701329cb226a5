"""The demo's receiver: a webhook and a Slack-shaped endpoint on 127.0.0.1, on a thread of its own."""

import asyncio
import re
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Any

from aiohttp import web

from cli.demo_report import Notification
from cli.simulation import FAILED, LATE, LOST, STUCK
from schemas.records import (
    AGENT_SLA_FAILED,
    FLOW_RUN_STATE_CHANGED,
    FLOW_SLA_FAILED,
    SCHEDULED_NOT_STARTED,
    STARTED_NOT_FINISHED,
)

WEBHOOK, SLACK = "webhook", "slack"

KIND_OF = {
    (FLOW_RUN_STATE_CHANGED, None): FAILED,
    (FLOW_SLA_FAILED, SCHEDULED_NOT_STARTED): LATE,
    (FLOW_SLA_FAILED, STARTED_NOT_FINISHED): STUCK,
    (AGENT_SLA_FAILED, None): LOST,
}

SLACK_RUN_TEXT = "{flow_name}/{flow_run_name}: not started {duration_seconds} s after its time"
SLACK_RUN_MARK = "{event_name}/{kind}/{flow_run_id}/{id}"
SLACK_AGENT_TEXT = "fewer than {sla_min_healthy} agents healthy; silent: {agent_ids}"
SLACK_AGENT_MARK = "{event_name}//{agent_config_id}/{id}"
"""What the demo's Slack messages say, and how they end: what the receiver knows them by."""
_MARK = re.compile(r"(\w+)/(\w*)/([\w-]+)/([\w-]+)$")


class Receiver:
    """Accepts every notification with 200 and shows it; ``show(notification, text)`` is called for each."""

    def __init__(self, show: Callable[[Notification, str], None]) -> None:
        self._show = show
        self._lock = Lock()
        self._received: list[Notification] = []
        self._started = Event()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._serve, name="receiver", daemon=True)
        self.port = 0

    def start(self) -> None:
        """Listen on a free port, ``port``. Returns when it does."""
        self._thread.start()
        self._started.wait(10)

    def stop(self) -> None:
        """Stop listening."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)

    def received(self) -> list[Notification]:
        """All notifications so far."""
        with self._lock:
            return list(self._received)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _listen(self) -> None:
        app = web.Application()
        app.add_routes([web.post("/webhook", self._webhook), web.post("/slack", self._slack)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _webhook(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        event_name = body["event_name"]
        kind = KIND_OF[event_name, body.get("kind")]
        subject = body.get("flow_run_id") or body["agent_config_id"]
        event_id = request.headers.get("X-PREFECT-EVENT-ID", body["id"])
        self._keep(Notification(WEBHOOK, kind, subject, event_id), _short(kind, body))
        return web.Response(text="ok")

    async def _slack(self, request: web.Request) -> web.Response:
        text: str = (await request.json())["text"]
        found = _MARK.search(text)
        if found is None:
            return web.Response(status=400, text="invalid_payload")
        event_name, kind, subject, event_id = found.groups()
        self._keep(
            Notification(SLACK, KIND_OF[event_name, kind or None], subject, event_id),
            text[: found.start()].strip(),
        )
        return web.Response(text="ok")

    def _keep(self, notification: Notification, text: str) -> None:
        with self._lock:
            self._received.append(notification)
        self._show(notification, text)


def _short(kind: str, body: dict[str, Any]) -> str:
    """The default payload in a few words."""
    if kind == LOST:
        return f"healthy: {len(body['healthy_agent_ids'])}, silent: {', '.join(body['unhealthy_agent_ids'])}"
    run = f"{body['flow_name']}/{body['flow_run_name']}"
    if kind == FAILED:
        return f"{run}: {body['state']}, {body['state_message']}"
    missed = "started" if kind == LATE else "finished"
    return f"{run}: not {missed} within {body['duration_seconds']} s, now {body['state']}"
