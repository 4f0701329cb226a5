"""What each type of action needs: one model for each, and which of its texts are templates."""

from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from schemas.header_names import is_own_header
from schemas.phone_numbers import e164
from schemas.problems import (
    PATTERNS,
    NestedProblems,
    field_problems,
    nearest,
    only_known,
)
from schemas.templates import parse_payload

SECRET_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"  # noqa: S105 - a pattern of names
"""What a secret may be called."""

_URL = r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#]+[^\s]*$"
_EMAIL = r"^[^@\s,;<>]+@[^@\s,;<>]+$"
_PHONE = r"^\+?[0-9 ()./-]{7,32}$"
_SID = r"^[A-Za-z0-9_.-]{1,128}$"
_KEY = r"^[!-~]{1,256}$"
_EMAIL_WORDS = "must be an e-mail address such as ops@example.com"
_PHONE_WORDS = (
    "must be a phone number with its country code, such as +44 7911 123456 (ten digits alone are North American)"
)

PATTERNS[SECRET_NAME_PATTERN] = (
    "must be the name of a secret: at most 128 letters, digits and . _ -, beginning with a letter or digit"
)
PATTERNS[_URL] = "must be an address beginning with https:// or http://"
PATTERNS[_EMAIL] = _EMAIL_WORDS
PATTERNS[_PHONE] = _PHONE_WORDS

PATTERNS[_SID] = "must be a SID as Twilio shows it, such as AC0123… or MG0123…, without spaces"
PATTERNS[_KEY] = "must be an integration key as PagerDuty shows it, without spaces"

MAX_RECIPIENTS = 100
"""So many one action has at most, so that an attempt at it ends in time."""

Text = Annotated[str, StringConstraints(min_length=1)]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _secret_name(value: Any) -> Any:
    if isinstance(value, str) and value.lower().startswith(("http://", "https://")):
        # The text itself stays out of messages: such an address is a credential.
        raise ValueError("is the name of a secret, not an address: store the address as a secret and name that")
    if isinstance(value, str) and value.startswith("whsec_"):
        raise ValueError("is the name of a secret, not the secret itself: store that as a secret and name it")
    return value


SecretName = Annotated[str, BeforeValidator(_secret_name), StringConstraints(pattern=SECRET_NAME_PATTERN)]


def _usable_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not value.isprintable():
        raise ValueError("must be an address with a host and, if any, a port up to 65535")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "must not hold a user or password, which everybody who reads events would see: "
            "use a header of the receiver's, or store the address as a secret and name that in url_secret"
        )
    return value


def _email_address(value: str) -> str:
    local, _, domain = value.rpartition("@")
    labels = domain.split(".")
    if (
        len(local) > 64
        or len(domain) > 253
        or not value.isprintable()
        or any(mark in value for mark in '"()[]\\:')
        or "" in local.split(".")
        or not all(0 < len(label) <= 63 and label[0] != "-" and label[-1] != "-" for label in labels)
    ):
        raise ValueError(_EMAIL_WORDS)
    return value


def _phone_number(value: str) -> str:
    number = e164(value)
    if number is None:
        raise ValueError(_PHONE_WORDS)
    return number


def _once(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


Address = Annotated[str, StringConstraints(pattern=_URL), AfterValidator(_usable_url)]
"""An http or https URL without credentials."""
EmailAddress = Annotated[str, StringConstraints(pattern=_EMAIL), AfterValidator(_email_address)]
Sid = Annotated[str, StringConstraints(pattern=_SID)]
RoutingKey = Annotated[str, StringConstraints(pattern=_KEY)]
PhoneNumber = Annotated[str, StringConstraints(pattern=_PHONE), AfterValidator(_phone_number)]
"""A phone number; its normal form is E.164."""


def _json_headers(value: Any) -> Any:
    return _parsed(value) if isinstance(value, str) else value


def _sendable_headers(headers: dict[str, str]) -> dict[str, str]:
    for name in headers:
        # A name with an attribute in it is known at delivery alone.
        if "{" not in name and not is_own_header(name):
            raise ValueError(f"{name[:64]!r} is no header that can be set: rename it, or leave it out")
    return headers


def _parsed(text: str) -> Any:
    try:
        return parse_payload(text)
    except ValueError as error:
        raise ValueError(
            f'is a string but no JSON ({error}); quote its placeholders, as in {{"run": "{{flow_run_id}}"}}'
        ) from None


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class ActionConfig(BaseModel):
    """Config of an action. ``TEMPLATES`` are the fields that may hold ``{name}``."""

    # A later version's fields are kept, so that rewriting a record loses nothing.
    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    TEMPLATES: ClassVar[tuple[str, ...]] = ()


class WebhookConfig(ActionConfig):
    """A POST of JSON to ``url``, or to the address that the secret ``url_secret`` holds."""

    TEMPLATES: ClassVar[tuple[str, ...]] = ("payload", "headers")
    url: Address | None = None
    url_secret: SecretName | None = None
    payload: Any = None
    headers: Annotated[dict[Text, str], BeforeValidator(_json_headers), AfterValidator(_sendable_headers)] | None = None
    signing_secret: SecretName | None = None

    @model_validator(mode="after")
    def _one_address(self) -> "WebhookConfig":
        if (self.url is None) == (self.url_secret is None):
            which = "neither is there" if self.url is None else "both are there"
            raise ValueError(f"give url or url_secret, one of them: {which}")
        if isinstance(self.payload, str):
            try:
                _parsed(self.payload)
            except ValueError as error:
                raise ValueError(f"payload {error}") from None
        return self


class SlackConfig(ActionConfig):
    """A message to the Slack webhook whose address the secret holds."""

    TEMPLATES: ClassVar[tuple[str, ...]] = ("message",)
    webhook_url_secret: SecretName
    message: str | None = None


class TeamsConfig(ActionConfig):
    """A message to the Teams webhook whose address the secret holds."""

    TEMPLATES: ClassVar[tuple[str, ...]] = ("message", "title")
    webhook_url_secret: SecretName
    message: str | None = None
    title: str | None = None


class EmailConfig(ActionConfig):
    """An e-mail to each address."""

    TEMPLATES: ClassVar[tuple[str, ...]] = ("subject", "body")
    to_emails: Annotated[list[EmailAddress], Field(min_length=1, max_length=MAX_RECIPIENTS), AfterValidator(_once)]
    subject: str | None = None
    body: str | None = None


class TwilioConfig(ActionConfig):
    """A text message to each phone number."""

    TEMPLATES: ClassVar[tuple[str, ...]] = ("message",)
    account_sid: Sid
    auth_token_secret: SecretName
    messaging_service_sid: Sid
    phone_numbers: Annotated[list[PhoneNumber], Field(min_length=1, max_length=MAX_RECIPIENTS), AfterValidator(_once)]
    message: str | None = None


class PagerDutyConfig(ActionConfig):
    """An incident at the service of ``routing_key``."""

    TEMPLATES: ClassVar[tuple[str, ...]] = ("message",)
    api_token_secret: SecretName | None = None
    routing_key: RoutingKey
    severity: Annotated[Literal["info", "warning", "error", "critical"], BeforeValidator(_lower)]
    message: str | None = None


class CancelFlowRunConfig(ActionConfig):
    """Cancels the event's run."""

    TEMPLATES: ClassVar[tuple[str, ...]] = ("message",)
    message: str | None = None


class PauseScheduleConfig(ActionConfig):
    """Pauses the schedules of a flow group: the given one, else the event's."""

    flow_group_id: Identifier | None = None


class CreateFlowRunConfig(ActionConfig):
    """Starts a new run of a flow group."""

    flow_group_id: Identifier


CONFIGS: dict[str, type[ActionConfig]] = {
    "WebhookAction": WebhookConfig,
    "SlackNotificationAction": SlackConfig,
    "TeamsWebhookNotificationAction": TeamsConfig,
    "EmailNotificationAction": EmailConfig,
    "TwilioNotificationAction": TwilioConfig,
    "PagerDutyNotificationAction": PagerDutyConfig,
    "CancelFlowRunAction": CancelFlowRunConfig,
    "PauseScheduleAction": PauseScheduleConfig,
    "CreateFlowRunAction": CreateFlowRunConfig,
}
"""The model of each action type's config."""

ActionType = Literal[
    "WebhookAction", "SlackNotificationAction", "TeamsWebhookNotificationAction", "EmailNotificationAction",
    "TwilioNotificationAction", "PagerDutyNotificationAction", "CancelFlowRunAction", "PauseScheduleAction",
    "CreateFlowRunAction",
]  # fmt: skip
"""The nine types of actions."""


def checked_config(action_type: str, config: Any, *, unknown_too: bool = False) -> dict[str, Any]:
    """``config`` in its normal form (severity in lower case, headers parsed), fields left out still absent.

    Raises ``NestedProblems``; fields that the type doesn't know are a problem only if ``unknown_too``.
    """
    model = CONFIGS[action_type]
    if unknown_too:
        only_known(config, model)
    try:
        checked = model.model_validate(config)
    except ValidationError as error:
        raise NestedProblems(field_problems(error)) from None
    return checked.model_dump(exclude_unset=True)


def known_action_type(value: Any) -> Any:
    """``value`` if it is one of the nine types; else ``ValueError`` with the nearest of them."""
    if isinstance(value, str) and value not in CONFIGS:
        raise ValueError(f"is no known type of action; {nearest(value, CONFIGS)}")
    return value
