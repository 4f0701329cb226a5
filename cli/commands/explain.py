"""``explain``: why automations did or did not fire for a run or an agent config."""

import json
import time
from collections.abc import Iterable
from typing import Annotated

import typer

from cli.errors import Refused, WrongUse
from cli.explain_agent_lines import config_lines
from cli.explain_json import Json, config_json, run_json
from cli.explain_lines import Line, run_lines
from cli.explained import ConfigFound, RunFound, find_config, find_run
from cli.moments import moment_ms
from cli.options import BootstrapServers, TopicPrefix, settings_from
from cli.screen import Screen
from cli.tail_lines import time_text

Run = Annotated[str | None, typer.Option("--run", metavar="ID", help="The flow_run_id to explain.")]
AgentConfig = Annotated[
    str | None, typer.Option("--agent-config", metavar="ID", help="The agent_config_id to explain.")
]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="Read the input from then only: 2026-07-01T12:00:00Z, or 2h ago as 2h."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="The same as one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add ``explain`` to the command line."""
    app.command("explain", rich_help_panel="Look")(explain)


def explain(
    run: Run = None,
    agent_config: AgentConfig = None,
    since: Since = None,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """Tell why automations did or did not fire: records, deadlines, decisions, and what became of deliveries.

    It reads the topics and replays the records through the consumer's own logic; it writes and commits nothing.
    CONSUMER_GROUP, GRACE_MS, CLOCK_TOLERANCE_MS and the like have to be those of the consumer.

    Example:  automations explain --run 4f1c9a52-0b7e-4c58-9d0e-6a3b1f2c7d11

    Example:  automations explain --agent-config prod --since 6h --json | jq .automations
    """
    if (run is None) == (agent_config is None):
        raise WrongUse("say what to explain: either --run ID or --agent-config ID")
    settings = settings_from(bootstrap_servers, topic_prefix)
    since_ms = None
    if since is not None:
        try:
            since_ms = moment_ms(since, time.time_ns() // 1_000_000)
        except ValueError as error:
            raise WrongUse(f"--since {error}") from None
    screen = Screen()
    if run is not None:
        found = find_run(settings, run, since_ms)
        if not found.runs and not found.unreadable:
            raise Refused(_unknown("run", run, found))
        _show(screen, run_lines(found), run_json(found) if as_json else None)
        return
    config = find_config(settings, agent_config or "", since_ms)
    if not config.configs:
        raise Refused(_unknown("agent config", config.config_id, config))
    _show(screen, config_lines(config), config_json(config) if as_json else None)


def _show(screen: Screen, lines: Iterable[Line], fields: Json | None) -> None:
    if fields is not None:
        screen.json_line(json.dumps(fields, ensure_ascii=False))
        return
    for line in lines:
        screen.parts(*line)


def _unknown(what: str, subject: str, found: RunFound | ConfigFound) -> str:
    span = found.span
    searched = f"{span.topic}[{span.partition}], where its key belongs, offsets {span.begin} to {span.end - 1}"
    if span.begin >= span.end:
        searched = f"{span.topic}[{span.partition}], where its key belongs, is empty from offset {span.begin} on"
    elif span.first_ms is not None:
        searched += f", from {time_text(span.first_ms)} on"
    return (
        f"no {what} {subject} is known. Searched: {searched}; the state of group {found.group} in {found.changelog}"
        f"[{span.partition}]. Records that could not be judged, such as wrong_partition, are in input-dlq"
    )
