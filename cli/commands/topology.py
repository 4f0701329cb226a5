"""``topology apply`` and ``topology check``: the topics as they have to be."""

import typer

from cli.errors import Refused
from cli.options import BootstrapServers, TopicPrefix, settings_from
from cli.screen import Screen
from topology import apply as topics

topology_app = typer.Typer(no_args_is_help=True, help="Create or verify the topics.")


def register(app: typer.Typer) -> None:
    """Add ``topology`` to the command line."""
    app.add_typer(topology_app, name="topology", rich_help_panel="Set up")


@topology_app.command("apply")
def apply_topics(bootstrap_servers: BootstrapServers = None, topic_prefix: TopicPrefix = None) -> None:
    """Create the topics that are missing and mend their settings. Never shrinks or deletes.

    A second run changes nothing.

    Example:  automations topology apply --bootstrap-servers localhost:9092
    """
    settings = settings_from(bootstrap_servers, topic_prefix)
    topics.apply(settings, Screen().line)


@topology_app.command("check")
def check_topics(bootstrap_servers: BootstrapServers = None, topic_prefix: TopicPrefix = None) -> None:
    """Say what is wrong with the topics, a line each. Exit code 1 if anything is.

    Example:  automations topology check && echo fine
    """
    settings = settings_from(bootstrap_servers, topic_prefix)
    problems = topics.check(settings)
    screen = Screen()
    for problem in problems:
        screen.line(problem, "bad")
    if problems:
        raise Refused(f"{len(problems)} {'thing is' if len(problems) == 1 else 'things are'} wrong with the topics")
    screen.line("all topics are as they have to be", "good")
