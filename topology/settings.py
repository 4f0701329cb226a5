"""The settings of every process, read from the environment.

A setting's name in the environment is its attribute's in capitals. Three families have names of their own:
``KAFKA_CONFIG_<NAME>`` (any librdkafka setting, dots as underscores), ``<TOPIC>_PARTITIONS`` and
``<TOPIC>_RETENTION_MS``, and ``SECRET_<NAME>``. An empty value is as good as none.

The law: a wrong or missing setting raises ``SettingError`` with one line that names the variable, the value
(unless it is a secret) and the remedy.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from topology import names
from topology.kafka_refusals import kafka_config_from, refusal
from topology.partitioner import Partitioner
from topology.setting_errors import SettingError
from topology.setting_values import egress_rule, listed, mailbox, one_url, problem, secret_name, shown, this_host

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
SMTPS_PORT = 465

__all__ = ["DAY_MS", "HOUR_MS", "SettingError", "Settings"]

PositiveMs = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Url = Annotated[str, BeforeValidator(one_url)]
SecretName = Annotated[str, BeforeValidator(secret_name)]
Listed = Annotated[tuple[str, ...], BeforeValidator(listed)]
InstanceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
GroupName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]


class Settings(BaseModel):
    """Every setting, checked. Times are integer milliseconds where the name ends in ``_ms``, else seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bootstrap_servers: Annotated[str, Field(min_length=1)] = Field(
        description="Kafka's brokers: host:port, comma-separated (required)"
    )
    kafka_config: dict[str, str] = Field(
        default_factory=dict, repr=False, description="further librdkafka settings, from KAFKA_CONFIG_<NAME>"
    )
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,100}$")] = Field(
        default="", description="what the name of every topic begins with"
    )
    partitioner: Partitioner = Field(
        default="murmur2", description="how all producers place keys: murmur2 (Java) or crc32 (librdkafka)"
    )
    partitions: dict[str, int] = Field(
        default_factory=dict, description="partitions of a topic, from <TOPIC>_PARTITIONS"
    )
    retention_ms: dict[str, int] = Field(
        default_factory=dict, description="how long a topic keeps records, from <TOPIC>_RETENTION_MS"
    )
    replication: Annotated[int, Field(ge=1, le=9)] | None = Field(
        default=None, description="replicas of each partition (default: 3, or as many as there are brokers)"
    )

    consumer_group: GroupName = Field(
        default="automations-consumer", description="the consumer's group, also in its changelogs' names"
    )
    actions_group: GroupName = Field(default="automations-actions", description="the action runner's group")
    instance_id: InstanceId | None = Field(
        default=None, description="static group membership, such as the pod's name (empty: none)"
    )
    session_timeout_ms: Annotated[int, Field(ge=1000, le=300_000)] = Field(
        default=10_000, description="after this silence the group gives a process's partitions to others"
    )
    transaction_timeout_ms: Annotated[int, Field(ge=1000, le=900_000)] = Field(
        default=15_000, description="after this the broker ends a transaction that was left open"
    )
    commit_interval_ms: Annotated[int, Field(ge=1, le=60_000)] = Field(
        default=100, description="how often the consumer commits a transaction"
    )

    grace_ms: Annotated[int, Field(ge=0, le=DAY_MS)] = Field(
        default=10_000, description="how long after a deadline a record may still be appended that meets it"
    )
    clock_tolerance_ms: Annotated[int, Field(ge=0)] = Field(
        default=10_000, description="how far a producer's timestamp may be from the log time and still count"
    )
    late_ms: PositiveMs = Field(
        default=48 * HOUR_MS, description="a record this much older than its log time is dead-lettered"
    )
    finished_states: Listed = Field(
        default=(), description="further names of states that finish a run, comma-separated"
    )
    first_start: Literal["now", "beginning"] = Field(
        default="now", description="what a group's first start judges: from now on, or all of the history"
    )

    schema_registry_url: Url | None = Field(
        default=None, repr=False, description="a Schema Registry (empty: fixed ids 1 to 4)"
    )
    ui_base_url: Url | None = Field(default=None, description="what links to flows and runs begin with")
    secrets_dir: str | None = Field(default=None, description="folder of secrets: <tenant_slug>/<name>, else <name>")
    secret_env: Mapping[str, SecretStr] = Field(default_factory=dict, description="secrets by name, from SECRET_<NAME>")
    secrets_key: SecretStr | None = Field(default=None, description="the key that encrypts the topic of secrets")

    smtp_host: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,253}$")] | None = Field(
        default=None, description="the server that e-mail goes out by"
    )
    smtp_port: Annotated[int, Field(ge=1, le=65_535)] = Field(default=587, description="its port")
    smtp_username: str | None = Field(default=None, description="the user to log in as (empty: no log-in)")
    smtp_password_secret: SecretName | None = Field(
        default=None, description="the name of the secret that holds the password"
    )
    smtp_starttls: bool = Field(default=True, description="encrypt before anything is said, or send nothing")
    email_from: Annotated[str, BeforeValidator(mailbox)] | None = Field(
        default=None, description="the sender's address, or name <address>"
    )
    prefect_api_url: Url | None = Field(default=None, description="the API that flow runs are cancelled by")
    prefect_api_key_secret: SecretName | None = Field(
        default=None, description="the name of the secret that holds its key"
    )
    prefect_backend: Literal["prefect1", "prefect3"] = Field(
        default="prefect3", description="which API that is: GraphQL (prefect1) or REST (prefect3)"
    )
    twilio_base_url: Url = Field(default="https://api.twilio.com", description="where Twilio's API is")
    pagerduty_base_url: Url = Field(
        default="https://events.pagerduty.com", description="where PagerDuty's events API is"
    )
    egress_allow: Annotated[tuple[Annotated[str, BeforeValidator(egress_rule)], ...], BeforeValidator(listed)] = Field(
        default=(), description="hosts and CIDRs that may be called though they are private"
    )
    tls_ca_file: str | None = Field(
        default=None, description="certificates (PEM) to trust besides the system's, when actions connect"
    )
    tls_cert_file: str | None = Field(
        default=None, description="certificate (PEM) that actions show to servers that ask for one"
    )
    tls_key_file: str | None = Field(
        default=None, description="its key (PEM, no passphrase), unless it is in the same file"
    )
    destination_concurrency: Annotated[int, Field(ge=1, le=256)] = Field(
        default=8, description="requests at once to one destination"
    )
    destination_rate: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)] = Field(
        default=0, description="requests a second to one destination; 0: as many as its documentation allows"
    )
    max_attempts: Annotated[int, Field(ge=1, le=12)] = Field(
        default=12, description="attempts at a delivery before it is dead"
    )
    action_max_age_s: Annotated[int, Field(ge=1)] = Field(
        default=86_400, description="a delivery older than this expires"
    )

    http_port: Port = Field(default=9108, description="port of /healthz, /readyz and /metrics; 0: any free one")
    api_port: Port = Field(default=8080, description="port of the API and its page; 0: any free one")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="what is logged")
    log_format: Literal["json", "console"] = Field(default="json", description="how it is logged")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """The settings that an environment gives. Raises ``SettingError``."""
        values: dict[str, object] = {}
        for name in cls.model_fields:
            given = env.get(name.upper(), "").strip()
            if given and name not in _FAMILIES:
                values[name] = given.lower() if name in _ANY_CASE else given
        values["partitions"] = _by_topic(env, "PARTITIONS")
        values["retention_ms"] = _by_topic(env, "RETENTION_MS")
        values["kafka_config"] = kafka_config_from(env)
        values["secret_env"] = {
            name.removeprefix("SECRET_"): value
            for name, value in env.items()
            if name.startswith("SECRET_") and name != "SECRET_"
        }
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingError(_first_line(error, values)) from None

    @model_validator(mode="after")
    def _hold_together(self) -> Self:
        """What single values can't tell. The messages begin with the variable that they are about."""
        if self.session_timeout_ms < 3 * self.commit_interval_ms:
            raise ValueError(
                f"SESSION_TIMEOUT_MS={self.session_timeout_ms} is less than three times "
                f"COMMIT_INTERVAL_MS={self.commit_interval_ms}: commit more often, or give a longer session"
            )
        if self.transaction_timeout_ms < 3 * self.commit_interval_ms:
            raise ValueError(
                f"TRANSACTION_TIMEOUT_MS={self.transaction_timeout_ms} is less than three times "
                f"COMMIT_INTERVAL_MS={self.commit_interval_ms}: commit more often, or give them longer"
            )
        if self.consumer_group == self.actions_group:
            raise ValueError(f"ACTIONS_GROUP={self.actions_group} is also CONSUMER_GROUP: each service has its own")
        self._hold_mail_and_tls()
        for name in self.kafka_config:
            reason = refusal(name)
            if reason is not None:
                raise ValueError(f"the Kafka setting {name} can't be set: {reason}")
        names.hold_topic_settings(self.partitions, self.retention_ms)
        return self

    def _hold_mail_and_tls(self) -> None:
        if self.tls_key_file is not None and self.tls_cert_file is None:
            raise ValueError("TLS_KEY_FILE is set but TLS_CERT_FILE is not: name the certificate that it belongs to")
        if self.smtp_username is not None and self.smtp_password_secret is None:
            raise ValueError("SMTP_USERNAME is set but SMTP_PASSWORD_SECRET is not: name the secret of its password")
        encrypted = self.smtp_starttls or self.smtp_port == SMTPS_PORT
        if self.smtp_host and self.smtp_username and not encrypted and not this_host(self.smtp_host):
            raise ValueError(
                f"SMTP_STARTTLS=false would send the password of SMTP_USERNAME to {self.smtp_host} as plain text: "
                "leave it true, or SMTP_USERNAME empty"
            )

    def topic(self, name: str) -> str:
        """The full name of a topic, as the brokers know it."""
        return self.topic_prefix + name

    def partitions_of(self, name: str) -> int:
        """How many partitions a topic (named without prefix) is to have."""
        return self.partitions.get(name, names.DEFAULT_PARTITIONS.get(name, 6))

    def retention_of(self, name: str) -> int:
        """How long a topic (named without prefix) is to keep its records, in milliseconds; -1 is for ever."""
        return self.retention_ms.get(name, names.DEFAULT_RETENTION_MS.get(name, -1))


_FAMILIES = frozenset({"kafka_config", "partitions", "retention_ms", "secret_env"})
_ANY_CASE = frozenset({"log_level", "log_format", "first_start", "partitioner", "prefect_backend"})


def _by_topic(env: Mapping[str, str], suffix: str) -> dict[str, str]:
    """The variables ``<TOPIC>_<suffix>``, by topic."""
    found = {}
    for topic in names.TOPICS:
        given = env.get(names.variable(topic, suffix), "").strip()
        if given:
            found[topic] = given
    return found


def _first_line(error: ValidationError, values: Mapping[str, object]) -> str:
    """One line for the first thing that is wrong, naming the variable, its value and the remedy."""
    first = error.errors(include_url=False, include_context=True)[0]
    if not first["loc"]:
        return str(first["msg"]).removeprefix("Value error, ")
    field = str(first["loc"][0])
    variable = field.upper()
    value = values.get(field)
    if field in ("partitions", "retention_ms") and len(first["loc"]) > 1:
        topic = str(first["loc"][1])
        variable = names.variable(topic, variable)
        value = value.get(topic) if isinstance(value, dict) else None
    if first["type"] == "missing":
        return f"{variable} is not set: {Settings.model_fields[field].description}"
    return f"{variable}={shown(variable, value)}: {problem(first)}"
