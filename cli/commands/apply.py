"""``apply``, ``validate``, ``export`` and ``delete``: automations as YAML."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from cli.control_changes import apply_records, change, manifest_of, read_files, records_of
from cli.errors import Refused, WrongUse
from cli.options import BootstrapServers, TopicPrefix, settings_from
from cli.reach import require
from cli.screen import Screen
from schemas.control import InvalidControl
from schemas.manifest import dump
from streams.control_plan import KINDS, Change, ControlTable, Plan, Refusal, find, label_of, plan_delete
from streams.control_writer import read_control

Files = Annotated[
    list[Path],
    typer.Option("-f", "--file", metavar="FILE", help="YAML file, or - for standard input; repeatable."),
]
MoreFiles = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILE]...", help="More files: what a shell makes of -f *.yaml.", show_default=False),
]
MaybeFiles = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", metavar="FILE", help="Everything in this YAML file; repeatable."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]

_STYLES = {"added": "good", "changed": "note", "deleted": "bad", "unchanged": "quiet", "absent": "quiet"}


def register(app: typer.Typer) -> None:
    """Add the commands for automations to the command line."""
    for command in (apply, validate, export, delete):
        app.command(rich_help_panel="Automations")(command)


def apply(
    files: Files,
    more: MoreFiles = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also delete what the files' tenants have beyond the files.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Put the automations of YAML files into force; says what became of each record.

    A second run changes nothing.

    Example:  automations apply -f automations.yaml -f more.yaml
    """
    settings = settings_from(bootstrap_servers, topic_prefix)
    manifest = manifest_of(read_files([*files, *(more or [])]))
    require(settings, "apply --dry-run" if dry_run else "apply")
    changes = apply_records(settings, records_of(settings, manifest), prune=prune, dry_run=dry_run)
    _show(Screen(), changes, dry_run)


def validate(files: Files, more: MoreFiles = None) -> None:
    """Check YAML files, each problem with file, line and column. Needs no Kafka. Exit code 1 if there is any.

    Example:  automations validate -f automations.yaml
    """
    manifest = manifest_of(read_files([*files, *(more or [])]))
    counts = Counter(record.RECORD_KIND for record in manifest.drafts)
    said = ", ".join(f"{counts[kind]} {kind}{'s' if counts[kind] > 1 else ''}" for kind in KINDS if counts[kind])
    screen = Screen()
    screen.line(f"valid: {said or 'nothing in it'}", "good")
    if manifest.flows:
        names = ", ".join(sorted({flow.name for flow in manifest.flows}))
        screen.line(f"looked up when applied, among the flows seen: {names}", "note")


def export(
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    tenant: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this tenant's. Without it: everybody's.")
    ] = None,
) -> None:
    """Print all automations, actions and configs as YAML, which `apply` takes back unchanged.

    Records that nobody can use are listed on stderr.

    Example:  automations export > automations.yaml
    """
    settings = settings_from(bootstrap_servers, topic_prefix)
    require(settings, "export")
    table = read_control(settings)
    _show_invalid(table.invalid)
    records = [record for record in table.records.values() if tenant in (None, record.tenant_id)]
    if tenant is not None and not records:
        known = sorted({record.tenant_id for record in table.records.values()})
        raise Refused(f"tenant {tenant} has no control records; there are: {', '.join(known) or 'none'}")
    typer.echo(dump(records), nl=False)


def delete(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KIND NAME",
            help=f"KIND is one of {', '.join(KINDS)}; NAME is its name or id.",
            show_default=False,
        ),
    ] = None,
    files: MaybeFiles = None,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    tenant: Annotated[str | None, typer.Option(metavar="ID", help="Whose, where the name alone is ambiguous.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Delete one record by kind and name, or everything that YAML files name.

    An action or config that an automation uses stays, unless that automation goes too.

    Example:  automations delete automation "etl late"

    Example:  automations delete -f automations.yaml
    """
    manifest = None
    kind, name = "", ""
    if files:
        # A shell makes several words of `-f *.yaml`.
        manifest = manifest_of(read_files([*files, *map(Path, words or [])]))
    elif not words or len(words) != 2:
        raise WrongUse("say KIND NAME, as in `automations delete automation 'etl late'`, or -f FILE")
    elif words[0] not in KINDS:
        raise WrongUse(f"there is no kind {words[0]!r}: KIND is one of {', '.join(KINDS)}")
    else:
        kind, name = words
    settings = settings_from(bootstrap_servers, topic_prefix)
    require(settings, "export" if dry_run else "delete")

    def decide(table: ControlTable, _now: object) -> Plan:
        if manifest is not None:
            return plan_delete(table.records, [record.key for record in manifest.drafts])
        found = find(table.records, kind, name, tenant)
        invalid = {one.key for one in table.invalid}
        if isinstance(found, Refusal):
            # One that nobody can use has no name that could be trusted, but its id is in its key.
            found = f"{kind}:{name}" if f"{kind}:{name}" in invalid else found
        return found if isinstance(found, Refusal) else plan_delete(table.records, [found], invalid)

    # What is absent has no record to take its name from: the file has it.
    labels = {record.key: label_of(record) for record in manifest.drafts} if manifest else {}
    changes = change(settings, decide, dry_run=dry_run)
    _show(Screen(), [one._replace(label=labels.get(one.key, one.label)) for one in changes], dry_run)


def _show(screen: Screen, changes: list[Change], dry_run: bool) -> None:
    for one in changes:
        screen.parts((f"{one.outcome:9}", _STYLES[one.outcome]), (one.label, ""))
    counts = Counter(one.outcome for one in changes)
    said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    screen.line(f"{said or 'nothing to do'}{' (dry run: nothing was written)' if dry_run else ''}", "title")


def _show_invalid(invalid: tuple[InvalidControl, ...]) -> None:
    screen = Screen()
    for one in invalid:
        screen.error(f"skipped: {one.message}", "note")
