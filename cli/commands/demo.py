"""``demo``: everything at once, on a Kafka that it brings."""

from typing import Annotated

import typer

from cli.errors import Refused
from cli.screen import Screen


def register(app: typer.Typer) -> None:
    """Add ``demo`` to the command line."""
    app.command("demo", rich_help_panel="Try")(demo)


def demo(
    duration: Annotated[int, typer.Option(min=25, max=3600, metavar="SECONDS", help="How long the fleet lives.")] = 45,
    bootstrap_servers: Annotated[
        str | None,
        typer.Option("--bootstrap-servers", metavar="HOST:PORT", help="A Kafka to use instead of its own."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another fleet.")] = 1,
) -> None:
    """Show it all: a real Kafka, a fleet that misbehaves, both services, every notification as it arrives.

    The consumer is killed and started again in the middle. At the end, what was injected is compared with
    what was notified; exit code 1 unless they agree, each once.

    Example:  automations demo --duration 45
    """
    # The demo needs a web server and more, which the other commands do without.
    from cli import demo as demonstration  # noqa: PLC0415

    screen = Screen()
    if not demonstration.run(screen, duration, bootstrap_servers, seed):
        raise Refused("what was notified is not what was injected; see above")
