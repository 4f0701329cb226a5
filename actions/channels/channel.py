"""What a channel is."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from actions.exchange import Answer, Failure, Outcome, Request
from schemas.records import AutomationEvent

Config = Mapping[str, Any]
"""An action's config as the event carries it: unchecked."""
Secrets = Mapping[str, str]
"""The values of the secrets that a config names, by name."""


class Channel(NamedTuple):
    """One action type, as four pure functions.

    ``secret_names``: the secrets that a config needs.
    ``destination``: what shares its limits with others of the same value, without secrets in it.
    ``request``: the request to make, or why there is none.
    ``classify``: what an answer means by the service's own documentation.
    """

    secret_names: Callable[[Config], tuple[str, ...]]
    destination: Callable[[AutomationEvent, Config], str]
    request: Callable[[AutomationEvent, Config, Secrets], Request | Failure]
    classify: Callable[[Answer], Outcome]


def text_of(config: Config, name: str) -> str | None:
    """The string that ``config`` has under ``name``; ``None`` if there is none, or something else."""
    value = config.get(name)
    return value if isinstance(value, str) and value else None


def secret_destination(event: AutomationEvent, secret_name: str) -> str:
    """The destination of an address that only a secret knows."""
    return f"secret:{event.tenant_slug}/{secret_name}"
