"""From YAML files to the control topic: what ``apply``, ``validate``, ``export`` and ``delete`` share."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cli.errors import Refused, WrongUse
from schemas.control import ControlRecord
from schemas.manifest import Manifest, Problem, load
from streams.control_plan import Change, Plan, Refusal, plan
from streams.control_writer import Decide, read_control, write_control
from streams.topic_reader import read_to_end
from topology.names import AUTOMATION_CATALOG
from topology.settings import Settings


def read_files(files: Sequence[Path]) -> list[tuple[str, str]]:
    """Name and text of each file, ``-`` being standard input. Raises ``WrongUse`` if one can't be read."""
    texts = []
    for file in files:
        try:
            path = Path("/dev/stdin") if str(file) == "-" else file
            texts.append((str(file), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError as error:
            raise WrongUse(f"{file}: byte {error.start} is no UTF-8: save the file as UTF-8") from None
        except OSError as error:
            raise WrongUse(f"{file}: {error.strerror or error}: give the path of a YAML file") from None
    return texts


def manifest_of(texts: Sequence[tuple[str, str]]) -> Manifest:
    """The manifest that the files make together. Raises ``Refused`` with a line for each problem."""
    return _held(load(texts))


def records_of(settings: Settings, manifest: Manifest) -> list[ControlRecord]:
    """The manifest's records, flows given by name looked up in the catalog of flows that have been seen.

    Raises ``Refused`` for a flow that nobody has seen, or that several flow groups are called.
    """
    if manifest.flows:
        manifest = _held(manifest.resolve(_flow_resolver(settings)))
    return manifest.records()


def apply_manifest(settings: Settings, text: str, file: str = "manifest") -> list[Change]:
    """Put the automations of a YAML text into force. Raises ``Refused`` with all problems."""
    wanted = records_of(settings, manifest_of([(file, text)]))
    return apply_records(settings, wanted)


def apply_records(
    settings: Settings, wanted: Sequence[ControlRecord], *, prune: bool = False, dry_run: bool = False
) -> list[Change]:
    """Put records into force; with ``dry_run`` only say what would change. Raises ``Refused``."""
    decide: Decide = lambda table, now: plan(table.records, wanted, now=now, prune=prune)  # noqa: E731
    return change(settings, decide, dry_run=dry_run)


def change(settings: Settings, decide: Decide, *, dry_run: bool = False) -> list[Change]:
    """Let the one writer do what ``decide`` says. Raises ``Refused`` when it says no."""
    if dry_run:
        return allowed(decide(read_control(settings), datetime.now(UTC)))
    return allowed(write_control(settings, decide)[0])


def allowed(made: Plan) -> list[Change]:
    """The plan's changes. Raises ``Refused`` with a line for each reason against it."""
    if isinstance(made, Refusal):
        raise Refused("\n".join(made.problems))
    return made


def _held(loaded: Manifest | list[Problem]) -> Manifest:
    if isinstance(loaded, Manifest):
        return loaded
    raise Refused("\n".join(str(problem) for problem in loaded))


def _flow_resolver(settings: Settings) -> Callable[[str, str], str | None]:
    groups: dict[tuple[str, str], str] = {}
    several: set[tuple[str, str]] = set()
    for tenant_id, name, group_id in flow_groups(settings):
        if groups.setdefault((tenant_id, name), group_id) != group_id:
            several.add((tenant_id, name))

    def resolve(tenant_id: str, name: str) -> str | None:
        if (tenant_id, name) in several:
            raise Refused(f"flows: several flow groups are called {name!r}: give its id in flow_group_ids instead")
        return groups.get((tenant_id, name))

    return resolve


def flow_groups(settings: Settings) -> list[tuple[str, str, str]]:
    """Tenant id, name and id of every flow group in the catalog; entries that can't be read are left out."""
    latest = {read.key: read.value for read in read_to_end(settings, settings.topic(AUTOMATION_CATALOG))}
    found = []
    for key, value in latest.items():
        if key is None or value is None or not key.startswith(b"flow_group:"):
            continue
        try:
            fields = json.loads(value)
            found.append((str(fields["tenant_id"]), str(fields["name"]), str(fields["id"])))
        except (ValueError, KeyError, TypeError):
            continue
    return sorted(found)
