"""Jobs for channels, and exchanges held with a list of answers or with a real server."""

from collections.abc import Awaitable, Callable
from typing import Any

from actions.channels.channel import Job, Services
from actions.exchange import Answer, Exchange, Failure, Outcome, Reply, Request, Step
from actions.transport.egress import egress_policy
from actions.transport.sender import Sender
from schemas.records import AutomationEvent
from tests.unit.actions_events import AT_MS, EVENT

NOW_MS = AT_MS + 1_000
HERE = egress_policy(("127.0.0.0/8",))
"""What tests may connect to."""


def job(config: dict[str, Any], secrets: dict[str, str] | None = None, **more: Any) -> Job:
    """A job with this config, for ``EVENT`` unless told otherwise."""
    fields: dict[str, Any] = {"event": EVENT, "services": Services(), "delivery_id": "d1", "now_ms": NOW_MS}
    return Job(config=config, secrets=secrets or {}, **fields | more)


def event(**changes: Any) -> AutomationEvent:
    """The usual event with other values."""
    return EVENT._replace(**changes)


def begun(exchange: Exchange) -> Step | Outcome:
    """What an exchange asks first, or how it ends without asking."""
    try:
        return next(exchange)
    except StopIteration as end:
        return _outcome(end)


def held(exchange: Exchange, *replies: Reply) -> tuple[list[Request], Outcome]:
    """All that was asked and what came of it, given these replies; the exchange must ask for each of them."""
    asked: list[Request] = []
    waiting = list(replies)
    try:
        step = next(exchange)
        while True:
            assert isinstance(step, Request)
            asked.append(step)
            step = exchange.send(waiting.pop(0))
    except StopIteration as end:
        assert not waiting, "more replies than questions"
        return asked, _outcome(end)


async def held_with_server(exchange: Exchange, url: str | None = None) -> Outcome:
    """What comes of it over real requests; ``url`` takes the place of the addresses asked for."""
    async with Sender(HERE) as sender:
        return await _converse(exchange, sender.send, url)


async def _converse(
    exchange: Exchange, send: Callable[[Request], Awaitable[Answer | Failure]], url: str | None
) -> Outcome:
    try:
        step: Step = next(exchange)
        while True:
            assert isinstance(step, Request)
            step = exchange.send(await send(step if url is None else step._replace(url=url)))
    except StopIteration as end:
        return _outcome(end)


def _outcome(end: StopIteration) -> Outcome:
    assert isinstance(end.value, Outcome)
    return end.value
