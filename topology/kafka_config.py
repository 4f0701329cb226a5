"""How clients reach Kafka: the librdkafka configuration that all of them begin with."""

from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from topology.setting_errors import SettingError
from topology.settings import Settings
from topology.topics import MAX_RECORD_BYTES

Config = dict[str, str | int | float | bool]


def client_config(settings: Settings) -> Config:
    """The base of every client's configuration, producers, consumers and admin alike."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        # What the topics take; librdkafka's own limit is 1,000,000 bytes, less than an input may have.
        "message.max.bytes": MAX_RECORD_BYTES,
        # A broker that comes back is found again within a second or two, not ten.
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2_000,
        **settings.kafka_config,
    }


def admin(
    settings: Settings, on_error: Callable[[KafkaError], None] | None = None, more: Config | None = None
) -> AdminClient:
    """A client for topics and groups; what goes wrong in the background goes to ``on_error``, at a ``poll``.

    ``more`` is further configuration. Raises ``SettingError`` when librdkafka refuses the configuration.
    """
    config: dict[str, Any] = {"log_level": _QUIET, **client_config(settings), **(more or {})}
    if on_error is not None:
        config["error_cb"] = on_error
    try:
        return AdminClient(config)
    except KafkaException as error:
        raise SettingError(_refused(settings, error.args[0].str())) from None


def check_client_config(settings: Settings) -> None:
    """Raises ``SettingError`` when librdkafka refuses the ``KAFKA_CONFIG_<NAME>`` settings."""
    admin(settings)


# An admin client's failures come back as exceptions; what it would print besides is the same again.
_QUIET = 0


def _refused(settings: Settings, complaint: str) -> str:
    """One line for what librdkafka says, naming the variable but never a value, which may be a secret."""
    for name in settings.kafka_config:
        if f'"{name}"' in complaint:
            variable = "KAFKA_CONFIG_" + name.upper().replace(".", "_")
            return f"{variable}: librdkafka has no {name}, or it can't have that value; see its CONFIGURATION.md"
    said = complaint.removeprefix("Failed to create admin client: ")
    return f"the KAFKA_CONFIG_<NAME> settings don't go together: {said}"
