"""``dlq list`` and ``dlq redrive``: what failed for good, and another try."""

import json
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from cli.dead_letters import DeadLetter, OpenLetters, Wanted, letter_json, letter_parts, totals
from cli.errors import Refused, WrongUse
from cli.moments import moment_ms
from cli.options import BootstrapServers, TopicPrefix, settings_from
from cli.redrive import open_letters, redrive
from cli.screen import Screen
from cli.tail_lines import one_line
from schemas.action_configs import known_action_type
from topology.names import EVENTS_DLQ

MAX_NAMED = 20
"""So many unreadable records are named; the rest is counted."""

Automation = Annotated[str | None, typer.Option("--automation", metavar="NAME_OR_ID", help="Only of this automation.")]
ActionType = Annotated[
    str | None, typer.Option("--action-type", metavar="TYPE", help="Only of this type, such as WebhookAction.")
]
Destination = Annotated[
    str | None,
    typer.Option("--destination", metavar="HOST", help="Only to this host, or to what this secret's name stands for."),
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Dead since then: 2026-07-01T12:00:00Z, or 2h ago as 2h.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Dead before then; as --since.")]
Deliveries = Annotated[
    list[str] | None, typer.Option("--delivery", metavar="ID", help="Only this delivery; repeatable.")
]
Tenant = Annotated[str | None, typer.Option("--tenant", metavar="ID_OR_SLUG", help="Only this tenant's.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, with every field.")]

dlq_app = typer.Typer(no_args_is_help=True, help="What could not be delivered, and another try.")


def register(app: typer.Typer) -> None:
    """Add ``dlq`` to the command line."""
    app.add_typer(dlq_app, name="dlq", rich_help_panel="Look")


@dlq_app.command("list")
def list_letters(  # noqa: PLR0913 - each option is an argument
    *,
    automation: Automation = None,
    action_type: ActionType = None,
    destination: Destination = None,
    since: Since = None,
    until: Until = None,
    deliveries: Deliveries = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """List the deliveries that failed for good, oldest first, and how many there are by reason.

    A line has time, delivery id, automation, action, destination, reason, HTTP status and attempts.

    What was redriven is not listed, unless it failed again.

    Example:  automations dlq list --since 24h --destination hooks.example.com

    Example:  automations dlq list --json | jq -r .delivery_id
    """
    settings = settings_from(bootstrap_servers, topic_prefix)
    wanted = _wanted(automation, action_type, destination, since, until, deliveries, tenant)
    found = open_letters(settings, wanted)
    letters = found.letters()
    screen = Screen()
    _show(screen, letters, as_json)
    _show_passed(screen, found)
    if as_json:
        return
    if letters:
        screen.table(
            f"{len(letters)} open", ("reason", "open"), ((one_line(reason), str(n)) for reason, n in totals(letters))
        )
    else:
        screen.line("no open dead letters" if wanted == Wanted() else "no open dead letters match", "good")


@dlq_app.command("redrive")
def redrive_letters(  # noqa: PLR0913 - each option is an argument
    *,
    automation: Automation = None,
    action_type: ActionType = None,
    destination: Destination = None,
    since: Since = None,
    until: Until = None,
    deliveries: Deliveries = None,
    tenant: Tenant = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them: instead of any filter.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """Try deliveries again that failed for good: same event, same ids, attempts counted anew.

    The action runner sends each once more, also when two people redrive at the same moment.

    What fails again is listed again. Nothing to redrive is no error; a --delivery that isn't open is, exit code 1.

    Example:  automations dlq redrive --automation "etl late" --since 2h --dry-run

    Example:  automations dlq redrive --all
    """
    settings = settings_from(bootstrap_servers, topic_prefix)
    wanted = _wanted(automation, action_type, destination, since, until, deliveries, tenant)
    if everything and wanted != Wanted():
        raise WrongUse("--all stands for no filter: leave out --all, or the filters")
    if not everything and wanted == Wanted():
        raise WrongUse("say which, by a filter such as --automation NAME or --since 2h, or --all")
    screen = Screen()
    sent: list[str] = []

    def show(batch: Sequence[DeadLetter]) -> None:
        sent.extend(letter.headers.delivery_id for letter in batch)
        _show(screen, batch, as_json)

    if dry_run:
        found = open_letters(settings, wanted)
        show(found.letters())
    else:
        found = redrive(settings, wanted, show)
    _show_passed(screen, found)
    if not as_json:
        said = f"{len(sent)} would be redriven (dry run: nothing was written)" if dry_run else f"{len(sent)} redriven"
        screen.line(said if sent else "nothing to redrive", "title")
    absent = sorted(wanted.delivery_ids.difference(sent))
    if absent:
        raise Refused("\n".join(f"delivery {one}: no open dead letter that matches" for one in absent))


def _wanted(
    automation: str | None,
    action_type: str | None,
    destination: str | None,
    since: str | None,
    until: str | None,
    deliveries: list[str] | None,
    tenant: str | None,
) -> Wanted:
    now_ms = time.time_ns() // 1_000_000
    if action_type is not None:
        try:
            known_action_type(action_type)
        except ValueError as error:
            raise WrongUse(f"--action-type {action_type}: {error}") from None
    wanted = Wanted(
        automation,
        action_type,
        destination,
        _moment("--since", since, now_ms),
        _moment("--until", until, now_ms),
        frozenset(deliveries or ()),
        tenant,
    )
    if wanted.since_ms is not None and wanted.until_ms is not None and wanted.since_ms >= wanted.until_ms:
        raise WrongUse("--since is not before --until: nothing can lie between them")
    return wanted


def _moment(option: str, text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    try:
        return moment_ms(text, now_ms)
    except ValueError as error:
        raise WrongUse(f"{option} {error}") from None


def _show(screen: Screen, letters: Sequence[DeadLetter], as_json: bool) -> None:
    for letter in letters:
        if as_json:
            screen.json_line(json.dumps(letter_json(letter), ensure_ascii=False))
        else:
            screen.parts(*letter_parts(letter))


def _show_passed(screen: Screen, found: OpenLetters) -> None:
    passed = found.passed()
    for one in passed[:MAX_NAMED]:
        screen.error(f"{EVENTS_DLQ}[{one.partition}]@{one.offset}: not readable: {one.problem}", "note")
    if passed:
        more = f", {len(passed) - MAX_NAMED} of them not named" if len(passed) > MAX_NAMED else ""
        records = "record can't be read and is" if len(passed) == 1 else "records can't be read and are"
        screen.error(f"{len(passed)} {records} passed over{more}", "note")
