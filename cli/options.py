"""Settings of a command: the environment, and the options that stand above it."""

import os
from collections.abc import Mapping
from typing import Annotated

import typer

from cli.errors import WrongUse
from topology.settings import SettingError, Settings

NO_KAFKA = "none.invalid:9092"
"""An address for settings that need one, where no Kafka is asked."""

BootstrapServers = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", metavar="HOST:PORT", help="Kafka to use. [BOOTSTRAP_SERVERS]"),
]
TopicPrefix = Annotated[
    str | None,
    typer.Option("--topic-prefix", metavar="TEXT", help="What all topic names begin with. [TOPIC_PREFIX]"),
]


def settings_from(
    bootstrap_servers: str | None = None,
    topic_prefix: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Settings:
    """Settings from ``env`` (the process environment unless given); options that are given stand above it.

    Raises ``WrongUse`` with one line that names the setting and the remedy.
    """
    merged = dict(os.environ if env is None else env)
    if bootstrap_servers is not None:
        merged["BOOTSTRAP_SERVERS"] = bootstrap_servers
    if topic_prefix is not None:
        merged["TOPIC_PREFIX"] = topic_prefix
    try:
        return Settings.from_env(merged)
    except SettingError as error:
        raise WrongUse(str(error)) from None
