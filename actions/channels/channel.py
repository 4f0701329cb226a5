"""What a channel is."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from actions.exchange import Answer, Exchange, Failure, MailAnswer, Outcome, Request, failed
from schemas.records import AutomationEvent

Config = Mapping[str, Any]
"""An action's config as the event carries it: unchecked."""
Secrets = Mapping[str, str]
"""The values of the secrets that a channel asked for, by name."""


class Services(NamedTuple):
    """What the operator's settings say of the services that actions use. Secrets by name only."""

    twilio_base_url: str = "https://api.twilio.com"
    pagerduty_base_url: str = "https://events.pagerduty.com"
    prefect_backend: str = "prefect3"
    prefect_api_url: str | None = None
    prefect_api_key_secret: str | None = None
    smtp_host: str | None = None
    smtp_port: int = 587
    email_from: str | None = None
    operators_secrets: frozenset[str] = frozenset()
    """The names of secrets that the settings name: an action may not."""


class Job(NamedTuple):
    """One attempt at a delivery, as a channel sees it.

    ``now_ms`` is milliseconds since 1970. ``recipients_left`` are indexes into the action's list of recipients
    where some have had it already, ``None`` = nobody has.
    """

    event: AutomationEvent
    config: Config
    secrets: Secrets
    services: Services
    delivery_id: str
    now_ms: int
    recipients_left: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        return f"Job({self.delivery_id})"


class Rate(NamedTuple):
    """At most ``burst`` at once and ``per_second`` on average."""

    per_second: float
    burst: int


class Channel(NamedTuple):
    """One action type, as pure functions.

    ``secret_names``: the secrets that a config needs.
    ``destination``: what shares its limits with others of the same value, without secrets in it.
    ``exchange``: what is said to the service, and what its answers mean by its own documentation.
    ``rate``: what the service takes from one sender by its documentation, ``None`` = no limit known.
    """

    secret_names: Callable[[Config, Services], tuple[str, ...]]
    destination: Callable[[AutomationEvent, Config, Services], str]
    exchange: Callable[[Job], Exchange]
    rate: Rate | None = None


def one_request(
    request: Callable[[Job], Request | Failure], classify: Callable[[Answer], Outcome]
) -> Callable[[Job], Exchange]:
    """The exchange of a service that is asked once: the request, and what its answer means."""

    def exchange(job: Job) -> Exchange:
        asked = request(job)
        if isinstance(asked, Failure):
            return failed(asked)
        reply = yield asked
        if isinstance(reply, Answer):
            return classify(reply)
        return failed(reply if isinstance(reply, Failure) else _misplaced(reply))

    return exchange


def _misplaced(_: MailAnswer) -> Failure:
    return Failure("answer_unreadable")


def text_of(config: Config, name: str) -> str | None:
    """The string that ``config`` has under ``name``; ``None`` if there is none, or something else."""
    value = config.get(name)
    return value if isinstance(value, str) and value else None


def secret_destination(event: AutomationEvent, secret_name: str) -> str:
    """The destination of an address that only a secret knows."""
    return f"secret:{event.tenant_slug}/{secret_name}"
