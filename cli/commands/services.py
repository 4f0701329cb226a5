"""``consumer`` and ``actions``: the services, in the foreground, until SIGTERM."""

import os
import sys
from typing import Annotated

import typer

from cli.options import BootstrapServers, TopicPrefix, settings_from


def register(app: typer.Typer) -> None:
    """Add the services to the command line."""
    app.command("consumer", rich_help_panel="Services")(consumer)
    app.command("actions", rich_help_panel="Services")(actions)


def consumer(
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    accept_gap: Annotated[
        bool,
        typer.Option(
            "--accept-gap",
            help="Go on although inputs or state are missing: what was armed before fires only by proof.",
        ),
    ] = False,
) -> None:
    """Run the consumer: it decides which automations fire. Ends on SIGTERM or Ctrl-C.

    Start as many as you like: they share the partitions.

    Example:  BOOTSTRAP_SERVERS=localhost:9092 automations consumer
    """
    settings = settings_from(bootstrap_servers, topic_prefix)
    # A service is imported when it is asked for: the other commands start without it.
    from consumer.service import run  # noqa: PLC0415

    code = run(settings, accept_gap=accept_gap)
    # All is committed and logged. To take the interpreter and the clients apart takes up to a second, for which
    # the next process, where it waits for this one, would not start.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def actions(bootstrap_servers: BootstrapServers = None, topic_prefix: TopicPrefix = None) -> None:
    """Run the actions: they notify, by webhook and Slack, of what fired. Ends on SIGTERM or Ctrl-C.

    Secrets come by name from SECRET_<NAME> or files in SECRETS_DIR; private addresses only with EGRESS_ALLOW.

    Example:  SECRET_SLACK=https://hooks.slack.com/… automations actions
    """
    settings = settings_from(bootstrap_servers, topic_prefix)
    from actions.service import run  # noqa: PLC0415

    raise typer.Exit(run(settings))
