"""``test-action``: one action, once, with a sample event, right from this process."""

import asyncio
import os
import time
from pathlib import Path
from typing import Annotated, NamedTuple
from uuid import uuid4

import typer

from actions.attempt import Attempt, Attempts
from actions.channels import CHANNELS
from actions.channels.channel import Channel, Job
from actions.clock import Clock
from actions.delivery import Delivery, Source, Unreadable, deliveries
from actions.exchange import Outcome, Verdict
from actions.secrets import SecretStore
from actions.services import services_of
from cli.action_trial import first_step, masked, outcome_lines, step_lines
from cli.control_changes import manifest_of, read_files
from cli.errors import Refused, WrongUse
from cli.options import NO_KAFKA, BootstrapServers, TopicPrefix, settings_from
from cli.reach import require
from cli.sample_events import EVENT_NAMES, SampleIds, fitting_event, misfits, sample_event
from cli.screen import Screen
from cli.tail_lines import one_line
from schemas.control import Action
from schemas.control_models import EventType
from schemas.problems import nearest
from streams.control_plan import Refusal, find
from streams.control_writer import read_control
from topology.settings import Settings

Name = Annotated[
    str | None, typer.Argument(metavar="NAME_OR_ID", help="The action, as `export` names it.", show_default=False)
]
MaybeFiles = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", metavar="FILE", help="Take it from this YAML file; needs no Kafka. Repeatable."),
]
FileName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Which of the file's; one alone needs none.")
]
Tenant = Annotated[
    str | None, typer.Option("--tenant", metavar="ID_OR_SLUG", help="Whose, where the name is ambiguous.")
]
Event = Annotated[
    str | None, typer.Option("--event", metavar="EVENT", help=f"{', '.join(EVENT_NAMES)}: else the first that fits.")
]
FlowRunId = Annotated[
    str | None, typer.Option("--flow-run-id", metavar="ID", help="The event's run: the one to cancel.")
]
FlowGroupId = Annotated[
    str | None, typer.Option("--flow-group-id", metavar="ID", help="The event's flow group: the one to pause.")
]


class Trying(NamedTuple):
    """What is tried, and with which event."""

    action: Action
    channel: Channel
    delivery: Delivery
    settings: Settings


def register(app: typer.Typer) -> None:
    """Add ``test-action`` to the command line."""
    app.command("test-action", rich_help_panel="Try")(try_action)


def try_action(  # noqa: PLR0913 - each option is an argument
    name: Name = None,
    *,
    files: MaybeFiles = None,
    file_name: FileName = None,
    tenant: Tenant = None,
    event: Event = None,
    flow_run_id: FlowRunId = None,
    flow_group_id: FlowGroupId = None,
    yes: Annotated[bool, typer.Option("--yes", help="Really start a run, or pause schedules.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, secrets as ***NAME***, and send nothing.")
    ] = False,
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
) -> None:
    """Send one action once, with a sample event that says that it is a test. Exit code 1 if it fails.

    It goes out from here, not from the action runner: give this command the same secrets and settings.

    Cancelling needs --flow-run-id, pausing --flow-group-id or --yes, starting a run --yes: they are not undone.

    Example:  automations test-action "tell the team" --dry-run

    Example:  SECRET_SLACK=https://hooks.slack.com/… automations test-action -f automations.yaml --name "tell the team"
    """
    event_name = next((known for known in EVENT_NAMES if known == event), None)
    if event is not None and event_name is None:
        raise WrongUse(f"--event {event}: there is no such event; {nearest(event, EVENT_NAMES)}")
    if files:
        if name is not None and file_name is not None:
            raise WrongUse("the action is named twice: leave out --name")
        settings = settings_from(bootstrap_servers or os.environ.get("BOOTSTRAP_SERVERS") or NO_KAFKA, topic_prefix)
        action = _of_files(files, name or file_name, tenant)
    elif name is None or file_name is not None:
        raise WrongUse("say which action: NAME_OR_ID of one that was applied, or -f FILE --name NAME")
    else:
        settings = settings_from(bootstrap_servers, topic_prefix)
        action = _applied(settings, name, tenant)
    if not dry_run:
        _hold_back(action, flow_run_id, flow_group_id, yes)
    trying = _trying(action, settings, event_name, flow_run_id, flow_group_id)
    screen = Screen()
    screen.line(one_line(f"{action.name} ({action.action_type}) of tenant {action.tenant_slug}"), "title")
    screen.line(f"sample {trying.delivery.event.event_name} {trying.delivery.event.id}", "quiet")
    if dry_run:
        _show_first_step(screen, trying)
    else:
        made = asyncio.run(_attempt(trying))
        _show_outcome(screen, made.outcome, made.host)


def _of_files(files: list[Path], name: str | None, tenant: str | None) -> Action:
    manifest = manifest_of(read_files(files))
    actions = {
        draft.key: draft
        for draft in manifest.drafts
        if isinstance(draft, Action) and tenant in (None, draft.tenant_id, draft.tenant_slug)
    }
    if name is None:
        if len(actions) == 1:
            return next(iter(actions.values()))
        names = ", ".join(sorted(action.name for action in actions.values()))
        raise WrongUse(f"say which action by --name: there are {names}" if names else "there is no action in it")
    found = find(actions, "action", name, tenant)
    if isinstance(found, Refusal):
        raise Refused("\n".join(found.problems))
    return actions[found]


def _applied(settings: Settings, name: str, tenant: str | None) -> Action:
    require(settings, "test-action")
    table = read_control(settings)
    found = find(table.records, "action", name, tenant)
    if isinstance(found, Refusal):
        wrong = [one.message for one in table.invalid if one.key == f"action:{name}"]
        raise Refused("\n".join(wrong or found.problems))
    action = table.records[found]
    assert isinstance(action, Action)
    return action


def _hold_back(action: Action, flow_run_id: str | None, flow_group_id: str | None, yes: bool) -> None:
    """Raises ``WrongUse`` for what would be done for good without being asked for by name."""
    doing = f"action {action.name}"
    kind = action.action_type
    if kind == "CancelFlowRunAction" and flow_run_id is None:
        raise WrongUse(f"{doing} cancels a run: say which by --flow-run-id, or use --dry-run")
    if kind == "PauseScheduleAction":
        own = action.config.get("flow_group_id")
        if own is None and flow_group_id is None:
            raise WrongUse(f"{doing} pauses schedules: say whose by --flow-group-id, or use --dry-run")
        if own is not None and not yes and flow_group_id != own:
            raise WrongUse(f"{doing} really pauses the schedules of flow group {own}: add --yes, or use --dry-run")
    if kind == "CreateFlowRunAction" and not yes:
        raise WrongUse(
            f"{doing} really starts a run of flow group {action.config.get('flow_group_id')}: "
            "add --yes, or use --dry-run"
        )


def _trying(
    action: Action, settings: Settings, event_name: EventType | None, flow_run_id: str | None, flow_group_id: str | None
) -> Trying:
    channel = CHANNELS.get(action.action_type)
    if channel is None:
        raise Refused(f"action {action.name}: there is no channel for {action.action_type} yet")
    event_name = event_name or fitting_event(action)
    problems = misfits(action, event_name)
    if problems:
        raise Refused("\n".join(problems))
    new = [str(uuid4()) for _ in SampleIds._fields]
    ids = SampleIds(*new)._replace(
        **{name: given for name, given in (("flow_run", flow_run_id), ("flow_group", flow_group_id)) if given}
    )
    now_ms = time.time_ns() // 1_000_000
    event = sample_event(event_name, action, ids, now_ms, settings.ui_base_url)
    # Read from the event as the action runner reads it, so that what is tried is what it would do.
    found = deliveries(event, Source("", 0, 0, None, b""), test=True)
    assert not isinstance(found, Unreadable)
    return Trying(action, channel, found[0], settings)


def _show_first_step(screen: Screen, trying: Trying) -> None:
    services = services_of(trying.settings)
    names = trying.channel.secret_names(trying.action.config, services)
    secrets = {name: masked(name) for name in names}
    delivery = trying.delivery
    job = Job(delivery.event, trying.action.config, secrets, services, delivery.id, delivery.event.detected_at)
    step = first_step(trying.channel, job)
    if isinstance(step, Outcome):
        _show_outcome(screen, step)
        return
    screen.line("")
    for line in step_lines(step):
        screen.line(line)
    screen.line("")
    screen.line(f"dry run: nothing was sent; secrets that it needs: {', '.join(names) or 'none'}", "title")


async def _attempt(trying: Trying) -> Attempt:
    # Sending brings an HTTP client along, which the other commands do without.
    from actions.transport.transport import transport_of  # noqa: PLC0415

    settings = trying.settings
    secrets = SecretStore(settings.secrets_dir, settings.secret_env)
    async with transport_of(settings, secrets) as transport:
        attempts = Attempts(transport.send, secrets, services_of(settings), Clock())
        return await attempts.make(trying.channel, trying.delivery)


def _show_outcome(screen: Screen, outcome: Outcome, host: str | None = None) -> None:
    for line, style in outcome_lines(outcome, host):
        screen.line(one_line(line), style)
    if outcome.verdict is not Verdict.DONE:
        raise typer.Exit(1)
