"""What to write so that the control records become what is wanted. Pure: the writer brings the table.

Laws:

1. A record that already says what is wanted is written by no plan.
2. A written automation's ``revision`` is one more than that of the record it replaces, or 1; ``created``
   never changes again.
3. A plan leaves no automation of the records it touches with a reference to nothing or to another tenant,
   and no two records of one kind and tenant with one name, unless each was given its ``id``.
4. A plan is made whole or refused whole, with every reason.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from schemas.control import Action, Automation, ControlRecord, FlowSLAConfig, InvalidControl, to_json
from schemas.ids import named_record_id
from streams.control_references import reference_problems, users_of

Outcome = Literal["added", "changed", "unchanged", "deleted", "absent"]

KINDS = ("action", "agent_config", "flow_sla_config", "automation")
"""All kinds, in the order in which they are written: what is referred to comes first."""


class ControlTable(NamedTuple):
    """The control records in force, by key, and those that nobody can use."""

    records: Mapping[str, ControlRecord]
    invalid: tuple[InvalidControl, ...] = ()


class Change(NamedTuple):
    """What becomes of one record. ``record`` is what will be there, ``None`` if nothing."""

    key: str
    outcome: Outcome
    label: str
    record: ControlRecord | None

    @property
    def is_written(self) -> bool:
        """Whether the topic gets a record, or a tombstone, for it."""
        return self.outcome in ("added", "changed", "deleted")


class Refusal(NamedTuple):
    """Why nothing is written: sentences for a person."""

    problems: tuple[str, ...]


Plan = list[Change] | Refusal


def label_of(record: ControlRecord) -> str:
    """How a person calls the record: ``automation "etl late"``."""
    name = name_of(record)
    return f"{record.RECORD_KIND} {name!r}" if name else f"{record.RECORD_KIND} {record.id}"


def name_of(record: ControlRecord) -> str | None:
    """The record's name; an SLA config has none."""
    return None if isinstance(record, FlowSLAConfig) else record.name


def plan(
    current: Mapping[str, ControlRecord],
    wanted: Sequence[ControlRecord],
    *,
    now: datetime,
    prune: bool = False,
    seen_revisions: Mapping[str, int] | None = None,
) -> Plan:
    """Changes that put ``wanted`` into ``current``.

    ``prune``: also delete what the tenants of ``wanted`` have beyond it. ``seen_revisions``: the revision of
    an automation, by key, that the wanted one was made from; another current one is a conflict.
    """
    problems = _conflicts(current, wanted, seen_revisions or {})
    changes = {record.key: _upsert(current.get(record.key), record, now) for record in wanted}
    if prune:
        tenants = {record.tenant_id for record in wanted}
        extra = [key for key, record in current.items() if record.tenant_id in tenants and key not in changes]
        changes.update((key, _deletion(key, current[key])) for key in extra)
    changes.update(_orphaned_configs(current, changes))
    after = _after(current, changes)
    problems += _ambiguous(after, changes)
    problems += reference_problems(after, {key for key, change in changes.items() if change.is_written})
    return Refusal(tuple(dict.fromkeys(problems))) if problems else _in_order(changes.values())


def plan_delete(current: Mapping[str, ControlRecord], keys: Iterable[str], invalid: Container[str] = ()) -> Plan:
    """Changes that delete ``keys``, and the SLA configs that no automation has then any more.

    Refused while an automation that stays uses one of them. ``invalid``: keys that are there though their
    records can't be used.
    """
    changes: dict[str, Change] = {}
    for key in keys:
        if key in current:
            changes[key] = _deletion(key, current[key])
        else:
            changes[key] = Change(key, "deleted" if key in invalid else "absent", key, None)
    changes.update(_orphaned_configs(current, changes))
    after = _after(current, changes)
    problems = [
        f"{label_of(current[key])} is used by {label_of(user)}: delete that too, or change it first"
        for key in changes
        if key in current
        for user in users_of(current[key], after.values())
    ]
    return Refusal(tuple(problems)) if problems else _in_order(changes.values())


def find(current: Mapping[str, ControlRecord], kind: str, name: str, tenant: str | None = None) -> str | Refusal:
    """Key of the one record of that kind with that name or id; ``tenant`` is an id or a slug."""
    found = [
        record
        for record in current.values()
        if kind == record.RECORD_KIND
        and name in (record.id, name_of(record))
        and tenant in (None, record.tenant_id, getattr(record, "tenant_slug", None))
    ]
    if len(found) == 1:
        return found[0].key
    if not found:
        names = sorted({str(name_of(r) or r.id) for r in current.values() if kind == r.RECORD_KIND})
        known = f"there are: {', '.join(names[:10])}{', …' if len(names) > 10 else ''}" if names else "there is none"
        return Refusal((f"there is no {kind} {name!r}; {known}",))
    ids = ", ".join(f"{record.id} (tenant {record.tenant_id})" for record in found)
    return Refusal((f"{kind} {name!r} is ambiguous: give the id or --tenant; there are {ids}",))


def _upsert(existing: ControlRecord | None, wanted: ControlRecord, now: datetime) -> Change:
    same_class = existing is not None and type(existing) is type(wanted)
    old = existing if same_class else None
    if old is not None and _content(old) == _content(wanted):
        return Change(wanted.key, "unchanged", label_of(wanted), old)
    update: dict[str, object] = {}
    if isinstance(wanted, Action | Automation):
        kept = old.created if isinstance(old, Action | Automation) else None
        update["created"] = kept or now
    if isinstance(wanted, Automation):
        update["updated"] = now
        update["revision"] = (old.revision if isinstance(old, Automation) else 0) + 1
    record = wanted.model_copy(update=update)
    return Change(wanted.key, "added" if old is None else "changed", label_of(wanted), record)


def _content(record: ControlRecord) -> bytes:
    """What the record says, without what the writer sets."""
    if isinstance(record, Action):
        record = record.model_copy(update={"created": None})
    elif isinstance(record, Automation):
        record = record.model_copy(update={"created": None, "updated": None, "revision": 0})
    return to_json(record)


def _deletion(key: str, record: ControlRecord) -> Change:
    return Change(key, "deleted", label_of(record), None)


def _after(current: Mapping[str, ControlRecord], changes: Mapping[str, Change]) -> dict[str, ControlRecord]:
    after = dict(current)
    for key, change in changes.items():
        if change.record is None:
            after.pop(key, None)
        else:
            after[key] = change.record
    return after


def _orphaned_configs(current: Mapping[str, ControlRecord], changes: Mapping[str, Change]) -> dict[str, Change]:
    """SLA configs whose automation these changes take away: an automation brings its config, and takes it."""
    after = _after(current, changes).values()
    held = {record.flow_sla_config_id for record in after if isinstance(record, Automation)}
    orphans: dict[str, Change] = {}
    for key in changes:
        before = current.get(key)
        if not isinstance(before, Automation) or before.flow_sla_config_id is None:
            continue
        config_key = f"flow_sla_config:{before.flow_sla_config_id}"
        if before.flow_sla_config_id in held or config_key in changes or config_key not in current:
            continue
        orphans[config_key] = _deletion(config_key, current[config_key])
    return orphans


def _conflicts(
    current: Mapping[str, ControlRecord],
    wanted: Sequence[ControlRecord],
    seen_revisions: Mapping[str, int],
) -> list[str]:
    problems = []
    for record in wanted:
        old = current.get(record.key)
        if old is not None and old.tenant_id != record.tenant_id:
            problems.append(f"{label_of(record)}: id {record.id} belongs to another tenant; give it another id")
    for key, seen in seen_revisions.items():
        existing = current.get(key)
        revision = existing.revision if isinstance(existing, Automation) else 0
        if revision != seen:
            problems.append(f"{key} was changed meanwhile: revision {revision}, not {seen}; read it again")
    return problems


def _ambiguous(after: Mapping[str, ControlRecord], changes: Mapping[str, Change]) -> list[str]:
    by_name: dict[tuple[str, str, str], list[str]] = {}
    for key, record in after.items():
        name = name_of(record)
        if name:
            by_name.setdefault((record.tenant_id, record.RECORD_KIND, name), []).append(key)
    problems = []
    for (tenant_id, kind, name), keys in by_name.items():
        others = [key for key in keys if key not in changes]
        derived = f"{kind}:{named_record_id(tenant_id, kind, name)}"
        if derived in changes and others:
            ids = ", ".join(key.partition(":")[2] for key in others)
            problems.append(
                f"{kind} {name!r} is ambiguous: there is already one of that name with another id; "
                f"add `id: {ids}` if you mean it, or choose another name"
            )
    return problems


def _in_order(changes: Iterable[Change]) -> list[Change]:
    """What is referred to is written before, and deleted after, what refers to it."""

    def position(change: Change) -> tuple[bool, int]:
        kind = change.key.partition(":")[0]
        place = KINDS.index(kind) if kind in KINDS else 0
        return change.record is None, -place if change.record is None else place

    return sorted(changes, key=position)
