"""``backtest``: what a draft would have fired over the topics' history, or whether what fired is right."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.backtest_draft import DraftReplay, Told, in_force_from, inputs_of
from cli.backtest_live import prove
from cli.backtest_report import Tally, decided_json, differences_json, show_differences, summary_line
from cli.control_changes import allowed, manifest_of, read_files, records_of
from cli.errors import Refused, WrongUse
from cli.moments import moment_ms
from cli.options import BootstrapServers, TopicPrefix, settings_from
from cli.past import Past
from cli.progress import progress
from cli.reach import require
from cli.screen import Screen
from cli.tail_lines import time_text
from consumer.agreement import Verdict
from schemas.control import Automation, ControlRecord
from schemas.registry import RegistrySource
from streams.control_plan import plan
from streams.control_writer import read_control
from topology.rights import Role
from topology.settings import Settings

Files = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", metavar="FILE", help="YAML file with the draft, or - for stdin; repeatable."),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="T",
        help="As if put into force then: 2026-07-01T12:00:00Z, or 7d, 2h ago. Without it: where the log begins.",
    ),
]
Until = Annotated[str | None, typer.Option(metavar="T", help="As if nothing had come later.")]
Live = Annotated[bool, typer.Option("--live", help="Compare what was live with automation-events; so does no -f.")]
Last = Annotated[int, typer.Option(min=0, metavar="N", help="How many of the latest events, or differences, to show.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line: each event, then a summary.")]


def register(app: typer.Typer) -> None:
    """Add ``backtest`` to the command line."""
    app.command(rich_help_panel="Automations")(backtest)


def backtest(
    files: Files = None,
    since: Since = None,
    until: Until = None,
    live: Live = False,
    last: Last = 20,
    as_json: AsJson = False,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """Say what a draft would have fired over the history that the topics have. Changes nothing anywhere.

    Without a draft: whether automation-events has exactly what the live automations had to fire. Exit code 1
    if it has not.

    Example:  automations backtest -f draft.yaml --since 7d

    Example:  automations backtest --live
    """
    if files and live:
        raise WrongUse("give -f FILE for a draft, or --live to compare what was live, not both")
    if until and not files:
        raise WrongUse("--until goes with -f FILE: what was live is compared up to where the consumer stands")
    now_ms = time.time_ns() // 1_000_000
    try:
        since_ms = None if since is None else moment_ms(since, now_ms)
        until_ms = None if until is None else moment_ms(until, now_ms)
    except ValueError as error:
        raise WrongUse(str(error)) from None
    settings = settings_from(bootstrap_servers, topic_prefix)
    screen, tally = Screen(), Tally(last)
    if files:
        _draft(settings, read_files(files), (since_ms, until_ms), screen, tally, as_json)
    else:
        _live(settings, since_ms, screen, tally, last, as_json)


def _draft(
    settings: Settings,
    texts: list[tuple[str, str]],
    asked: tuple[int | None, int | None],
    screen: Screen,
    tally: Tally,
    as_json: bool,
) -> None:
    records = _draft_records(settings, texts)
    automations = [record for record in records if isinstance(record, Automation)]
    if not automations:
        raise WrongUse("the draft has no automation: there is nothing that could fire")
    for automation in automations:
        tally.name(automation)
    with progress("reading") as (total, more), Past(settings, inputs_of(automations), more) as past:
        total(past.offsets)
        since_ms, until_ms = _bounds(past, *asked)
        replay = DraftReplay(past, in_force_from(records, since_ms), until_ms, _registry(settings))
        began_s = time.monotonic()
        for event in replay:
            tally.add(event)
            if as_json:
                screen.json_line(json.dumps(decided_json(event), ensure_ascii=False))
        seconds = time.monotonic() - began_s
        ends_ms = until_ms or past.known_ms
    _tell_draft(screen, tally, replay.told, (since_ms, ends_ms), asked[0], seconds, as_json)


def _tell_draft(
    screen: Screen, tally: Tally, told: Told, span: tuple[int, int], asked_ms: int | None, seconds: float, as_json: bool
) -> None:
    since_ms, ends_ms = span
    fields: dict[str, Any] = {
        "since": time_text(since_ms),
        "until": time_text(ends_ms),
        "events": tally.events,
        "automations": tally.as_json(),
        "records": told.records,
        "rejected": told.rejected,
        "still_open": told.open_deadlines,
        "history_begins": None if told.cut_ms is None else time_text(told.cut_ms),
    }
    if as_json:
        screen.json_line(summary_line(fields))
        return
    tally.show(screen, f"in force from {fields['since']} to {fields['until']}, this would have fired")
    if not tally.events:
        screen.line("nothing would have fired", "note")
    if asked_ms is not None and asked_ms < since_ms:
        screen.line(f"the log begins at {fields['since']} only: it has nothing earlier", "note")
    if told.cut_ms is not None:
        screen.line(f"runs from before {fields['history_begins']} are judged by what the log still has of them", "note")
    if told.open_deadlines:
        screen.line(f"{told.open_deadlines} deadlines are still open at the end", "quiet")
    if told.rejected:
        screen.line(f"{told.rejected} records can't be judged: they are in input-dlq", "note")
    screen.line(_speed(told.records, seconds), "quiet")


def _live(settings: Settings, since_ms: int | None, screen: Screen, tally: Tally, last: int, as_json: bool) -> None:
    _require(settings, "backtest")
    proof = prove(settings, since_ms, tally.add, _registry(settings))
    verdict, behind = proof.verdict, proof.behind
    if as_json:
        screen.json_line(
            summary_line(
                {
                    **verdict._asdict(),
                    "differences": differences_json(verdict, last),
                    "agrees": verdict.agrees,
                    "records": proof.records,
                    "behind": behind,
                    "automations": tally.as_json(),
                }
            )
        )
    else:
        tally.show(screen, "over this history the live automations have to fire")
        _tell_proof(screen, verdict, behind, last)
        screen.line(_speed(proof.records, proof.seconds), "quiet")
    if not verdict.agrees:
        raise typer.Exit(1)


def _tell_proof(screen: Screen, verdict: Verdict, behind: int, last: int) -> None:
    if verdict.unproven:
        screen.line(f"{verdict.unproven} events rest on records that the logs no longer have: not compared", "note")
    if verdict.ahead or behind:
        screen.line(
            f"the consumer has {behind} offsets still to read, and {verdict.ahead} events still to write",
            "note",
        )
    if verdict.agrees:
        screen.line(f"agree: {verdict.agree} events are on automation-events, each as decided, each once", "good")
        return
    show_differences(screen, verdict, last)
    screen.line(f"differ: {sum(verdict.counts.values())} events, while {verdict.agree} agree", "bad")


def _draft_records(settings: Settings, texts: list[tuple[str, str]]) -> list[ControlRecord]:
    """The draft's records, and those that it may refer to. Raises ``WrongUse`` with all problems."""
    try:
        manifest = manifest_of(texts)
        _require(settings, "backtest -f")
        wanted = records_of(settings, manifest)
        table = read_control(settings)
        allowed(plan(table.records, wanted, now=datetime.now(UTC)))
    except Refused as error:
        raise WrongUse(str(error)) from None
    drafted = {record.key for record in wanted}
    others = [r for r in table.records.values() if not isinstance(r, Automation) and r.key not in drafted]
    return [*others, *wanted]


def _bounds(past: Past, since_ms: int | None, until_ms: int | None) -> tuple[int, int | None]:
    """From when the draft counts, and where the replay ends. Raises ``WrongUse`` where that is empty."""
    if past.first_ms < 0:
        raise WrongUse("the inputs have no records: there is no history to go over")
    if until_ms is not None and until_ms >= past.known_ms:
        until_ms = None
    ends_ms = past.known_ms if until_ms is None else until_ms
    since_ms = past.first_ms if since_ms is None else max(since_ms, past.first_ms)
    if since_ms > ends_ms:
        raise WrongUse(
            f"nothing lies between {time_text(since_ms)} and {time_text(ends_ms)}: the log begins at "
            f"{time_text(past.first_ms)} and is known up to {time_text(past.known_ms)}"
        )
    return since_ms, until_ms


def _require(settings: Settings, role: Role) -> None:
    try:
        require(settings, role)
    except Refused as error:
        raise WrongUse(str(error)) from None


def _registry(settings: Settings) -> RegistrySource | None:
    return RegistrySource(settings.schema_registry_url) if settings.schema_registry_url else None


def _speed(records: int, seconds: float) -> str:
    return f"{records} records in {seconds:.1f} s, {records / max(seconds, 0.001):,.0f} a second"
