"""One attempt at a delivery: the channel's exchange with its service, step by step."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import NamedTuple

import structlog
from yarl import URL

from actions.channels.channel import Channel, Job, Services
from actions.clock import Clock
from actions.delivery import Delivery
from actions.exchange import Answer, Exchange, Failure, Outcome, Reply, Request, Step, Verdict, failed
from actions.secrets import SecretStore, environment_name

log = structlog.get_logger()

ATTEMPT_S = 120.0
"""An attempt older than this asks nothing more: who is left of a long list is asked by the next one."""
TOO_LONG = Failure("attempt_too_long")
INTERRUPTED = Failure("interrupted")


class Attempt(NamedTuple):
    """What came of an attempt, and the host that was asked.

    ``fault`` is whether the destination itself failed: it gave no answer, or one that says so. ``None`` =
    it was not asked. ``interrupted``: it was cancelled halfway, and ``outcome`` says who has not had it.
    """

    outcome: Outcome
    host: str | None
    fault: bool | None
    interrupted: bool = False


class Attempts:
    """Makes attempts. ``send`` says one thing to a receiver and never raises. ``now_s`` never goes back."""

    def __init__(
        self,
        send: Callable[[Step, int | None], Awaitable[Reply]],
        secrets: SecretStore,
        services: Services,
        clock: Clock,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._secrets = secrets
        self._services = services
        self._clock = clock
        self._now_s = now_s
        self._reserved = frozenset(environment_name(name) for name in services.operators_secrets)

    async def make(self, channel: Channel, delivery: Delivery) -> Attempt:
        """Make one. A channel's mistake is an outcome too.

        Cancelled, it returns what is to be remembered: that some have had the message. If nobody has, it raises
        ``CancelledError``.
        """
        try:
            job = self._job(channel, delivery)
            if isinstance(job, Failure):
                return _writable(Attempt(failed(job), None, None))
            return _writable(await self._converse(channel.exchange(job), delivery.action.timeout_ms))
        except Exception as error:
            # Its text may hold a secret, so the log has only its type.
            log.error("an attempt failed unexpectedly", delivery_id=delivery.id, error=type(error).__name__)
            return Attempt(failed(Failure("internal_error")), None, None)

    async def _converse(self, exchange: Exchange, timeout_ms: int | None) -> Attempt:
        host: str | None = None
        fault: bool | None = None
        answers = 0
        ends_s = self._now_s() + ATTEMPT_S
        try:
            step = next(exchange)
            while True:
                if answers and self._now_s() >= ends_s:
                    return Attempt(_ended(exchange, TOO_LONG) or failed(TOO_LONG), host, fault)
                host = (_host(step.url) if isinstance(step, Request) else self._services.smtp_host) or host
                try:
                    reply = await self._send(step, timeout_ms)
                except asyncio.CancelledError:
                    left = _ended(exchange, INTERRUPTED) if answers else None
                    if left is None or left.recipients_left is None:
                        raise
                    return Attempt(left, host, None, interrupted=True)
                answers += 1
                fault = _fault(reply)
                step = exchange.send(reply)
        except StopIteration as end:
            outcome: Outcome = end.value
            if outcome.verdict is Verdict.RETRY and outcome.http_status == 429:
                fault = True
            return Attempt(outcome, host, fault)

    def _job(self, channel: Channel, delivery: Delivery) -> Job | Failure:
        event, config = delivery.event, delivery.action.config
        values = {}
        names = channel.secret_names(config, self._services)
        # What a channel asks for whatever the action says is the operator's.
        operators = channel.secret_names({}, self._services) if names else ()
        for name in names:
            value = None if name in operators else self._secrets.find_own(event.tenant_slug, name)
            # What belongs to the operator is for the operator's services, not for a tenant's address.
            if value is None and name not in operators and self._is_reserved(name):
                return Failure(f"secret_reserved: {name[:128]}", final=True)
            value = value or self._secrets.find_operators(name)
            if value is None:
                return Failure(f"secret_missing: {name[:128]}")
            values[name] = value
        return Job(event, config, values, self._services, delivery.id, self._clock.now_ms(), delivery.recipients_left)

    def _is_reserved(self, name: str) -> bool:
        """Whether the operator's settings name this secret, in whatever spelling the environment folds to one."""
        return name in self._services.operators_secrets or environment_name(name) in self._reserved


def _ended(exchange: Exchange, why: Failure) -> Outcome | None:
    """What an exchange comes to that is told ``why`` it gets no answer; ``None`` if it goes on asking."""
    try:
        exchange.send(why)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    exchange.close()
    return None


def _writable(attempt: Attempt) -> Attempt:
    """A config or an answer may hold half of a surrogate pair, which no record and no log takes."""
    reason = attempt.outcome.reason
    if reason is None:
        return attempt
    return attempt._replace(outcome=attempt.outcome._replace(reason=reason.encode(errors="replace").decode()))


def _fault(reply: Reply) -> bool | None:
    """Whether a reply says that its destination fails; ``None`` if it was refused before it was asked."""
    if isinstance(reply, Failure):
        return None if reply.final else True
    return isinstance(reply, Answer) and (reply.status >= 500 or reply.status in (408, 429))


@lru_cache(maxsize=4_096)
def _host(url: str) -> str | None:
    try:
        return URL(url).host
    except ValueError:
        return None
