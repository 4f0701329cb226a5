"""``events tail`` and ``results tail``: what fired and how its deliveries went, readable and live."""

import json
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import typer

from cli.codecs import codec_for
from cli.options import BootstrapServers, TopicPrefix, settings_from
from cli.reach import require
from cli.screen import Screen
from cli.tail_lines import Part, event_json, event_parts, result_json, result_parts
from schemas.codec import Codec, Rejected
from streams.topic_reader import follow
from topology.names import ACTION_RESULTS, AUTOMATION_EVENTS
from topology.rights import Role

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


class _Tailed(NamedTuple):
    """A topic whose records people follow: how they are read, and shown as a line or as JSON."""

    role: Role
    topic: str
    decode: Callable[[Codec, bytes | None], Any]
    parts: Callable[[Any], list[Part]]
    fields: Callable[[Any], dict[str, Any]]


_EVENTS = _Tailed("events tail", AUTOMATION_EVENTS, Codec.decode_event, event_parts, event_json)
_RESULTS = _Tailed("results tail", ACTION_RESULTS, Codec.decode_result, result_parts, result_json)


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
    _tail(_EVENTS, bootstrap_servers, topic_prefix, from_beginning, max_lines, as_json)


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
    _tail(_RESULTS, bootstrap_servers, topic_prefix, from_beginning, max_lines, as_json)


def _tail(
    tailed: _Tailed,
    bootstrap_servers: str | None,
    topic_prefix: str | None,
    from_beginning: bool,
    max_lines: int | None,
    as_json: bool,
) -> None:
    settings = settings_from(bootstrap_servers, topic_prefix)
    screen = Screen()
    codec = codec_for(settings)
    require(settings, tailed.role)
    topic = settings.topic(tailed.topic)
    if not screen.plain and not as_json:
        screen.error(f"following {topic}; Ctrl-C ends", "quiet")
    shown = 0
    for message in follow(settings, topic, from_beginning=from_beginning):
        record = tailed.decode(codec, message.value)
        if isinstance(record, Rejected):
            where = f"{tailed.topic}[{message.partition}]@{message.offset}"
            screen.error(f"{where}: not readable: {record.reason}: {record.detail}", "note")
            continue
        if as_json:
            screen.json_line(json.dumps(tailed.fields(record), ensure_ascii=False))
        else:
            screen.parts(*tailed.parts(record))
        shown += 1
        if shown == max_lines:
            return
