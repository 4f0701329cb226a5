"""``events tail`` and ``results tail``: what fired and how its deliveries went, readable and live."""

import json
from typing import Annotated

import typer

from cli.codecs import codec_for
from cli.options import BootstrapServers, TopicPrefix, settings_from
from cli.reach import require_topic
from cli.screen import Screen
from cli.tail_lines import Part, event_json, event_parts, result_json, result_parts
from schemas.codec import Rejected
from schemas.records import ActionResult, AutomationEvent
from streams.topic_reader import follow
from topology.names import ACTION_RESULTS, AUTOMATION_EVENTS
from topology.settings import Settings

FromBeginning = Annotated[
    bool, typer.Option("--from-beginning", help="Start with the oldest that the topic still has.")
]
Max = Annotated[int | None, typer.Option("--max", min=1, metavar="N", help="End after N lines.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, with every field.")]

events_app = typer.Typer(no_args_is_help=True, help="What fired.")
results_app = typer.Typer(no_args_is_help=True, help="How deliveries went.")


def register(app: typer.Typer) -> None:
    """Add ``events`` and ``results`` to the command line."""
    app.add_typer(events_app, name="events", rich_help_panel="Look")
    app.add_typer(results_app, name="results", rich_help_panel="Look")


@events_app.command("tail")
def events_tail(
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    from_beginning: FromBeginning = False,
    max_lines: Max = None,
    as_json: AsJson = False,
) -> None:
    """Show events as automations fire: time, kind, automation, subject, message. Ends with Ctrl-C.

    Example:  automations events tail --from-beginning --max 20
    """
    settings = settings_from(bootstrap_servers, topic_prefix)
    _tail(settings, AUTOMATION_EVENTS, from_beginning, max_lines, as_json)


@results_app.command("tail")
def results_tail(
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    from_beginning: FromBeginning = False,
    max_lines: Max = None,
    as_json: AsJson = False,
) -> None:
    """Show each attempt to deliver: time, status, action, destination, error. Ends with Ctrl-C.

    Example:  automations results tail --json | jq 'select(.status == "dead")'
    """
    settings = settings_from(bootstrap_servers, topic_prefix)
    _tail(settings, ACTION_RESULTS, from_beginning, max_lines, as_json)


def _tail(settings: Settings, topic: str, from_beginning: bool, max_lines: int | None, as_json: bool) -> None:
    screen = Screen()
    codec = codec_for(settings)
    require_topic(settings, topic)
    if not screen.plain and not as_json:
        screen.error(f"following {settings.topic(topic)}; Ctrl-C ends", "quiet")
    shown = 0
    for message in follow(settings, settings.topic(topic), from_beginning=from_beginning):
        decoded = (codec.decode_event if topic == AUTOMATION_EVENTS else codec.decode_result)(message.value)
        if isinstance(decoded, Rejected):
            where = f"{topic}[{message.partition}]@{message.offset}"
            screen.error(f"{where}: not readable: {decoded.reason}: {decoded.detail}", "note")
            continue
        _show(screen, decoded, as_json)
        shown += 1
        if shown == max_lines:
            return


def _show(screen: Screen, record: AutomationEvent | ActionResult, as_json: bool) -> None:
    if as_json:
        fields = event_json(record) if isinstance(record, AutomationEvent) else result_json(record)
        screen.json_line(json.dumps(fields, ensure_ascii=False))
        return
    parts: list[Part] = event_parts(record) if isinstance(record, AutomationEvent) else result_parts(record)
    screen.parts(*parts)
