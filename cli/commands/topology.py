"""``topology apply``, ``check`` and ``rights``: the topics as they have to be, and who has to be let to them."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from cli.errors import Refused, WrongUse
from cli.options import NO_KAFKA, BootstrapServers, TopicPrefix, settings_from
from cli.rights_lines import acl_commands, rights_rows
from cli.screen import Screen
from topology import apply as topics
from topology.rights import ROLES, Role, rights_of

topology_app = typer.Typer(no_args_is_help=True, help="Create or verify the topics; the rights that all need.")


class RightsFormat(StrEnum):
    """How rights are shown."""

    LIST = "list"
    KAFKA_ACLS = "kafka-acls"


Principal = Annotated[str, typer.Option("--principal", metavar="User:NAME", help="Whom the commands grant them to.")]
For = Annotated[
    list[str] | None,
    typer.Option("--for", metavar="ROLE", help=f"Only this one's; repeatable: {', '.join(ROLES)}.", show_default=False),
]
As = Annotated[RightsFormat, typer.Option("--format", help="For people, or commands of Kafka's own kafka-acls.sh.")]


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


@topology_app.command("rights")
def show_rights(
    wanted: For = None,
    principal: Principal = "User:automations",
    form: As = RightsFormat.LIST,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """Print the least rights (ACLs) that each service and command needs with these settings. Needs no Kafka.

    Example:  automations topology rights --for consumer --principal User:consumer --format kafka-acls
    """
    address = bootstrap_servers or os.environ.get("BOOTSTRAP_SERVERS") or NO_KAFKA
    settings = settings_from(address, topic_prefix)
    for name in wanted or ():
        if name not in ROLES:
            raise WrongUse(f"--for {name!r}: there is no such service or command; there are {', '.join(ROLES)}")
    roles: list[Role] = [role for role in ROLES if not wanted or role in wanted]
    screen = Screen()
    if form == RightsFormat.KAFKA_ACLS:
        every = dict.fromkeys(right for role in roles for right in rights_of(role, settings))
        for command in acl_commands(every, principal, address):
            screen.line(command)
        return
    for role in roles:
        screen.line(role, "title")
        for operations, what, names in rights_rows(rights_of(role, settings)):
            screen.line(f"  {operations} on {what}: {names}")
