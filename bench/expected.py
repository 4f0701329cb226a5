"""Which events the workload must give: a replay of its own, run by run, from the topic and the reference.

It shares with the consumer only the definition of an event's id. It knows just the workload's shape: each
run's records come in order of version, states and conditions never change, all clocks are trusted.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from io import BytesIO
from typing import Any, NamedTuple

import fastavro

from schemas.avro_schemas import load_schema, plain
from schemas.control import Automation, ControlRecord, FlowSLAConfig
from schemas.ids import flow_sla_event_id, state_change_event_id
from schemas.records import SCHEDULED_NOT_STARTED

GRACE_MS = 10_000

SURE, OPEN = "sure", "open"


class Expected(NamedTuple):
    """Event ids. ``at_end`` may fire once the clock, after the last record, passes their deadlines."""

    sure: frozenset[str]
    at_end: frozenset[str]
    kinds: Counter[str]
    """How many of the sure ones are of which kind."""

    def problem(self, seen: list[str]) -> str | None:
        """What is wrong with the events of a contender, None if nothing."""
        doubles = len(seen) - len(set(seen))
        missing = len(self.sure - set(seen))
        false = len(set(seen) - self.sure - self.at_end)
        if doubles or missing or false:
            return f"{missing} events missing, {false} false, {doubles} twice"
        return None


class _Watch(NamedTuple):
    automation_id: str
    kind: str
    duration_ms: int


class Record(NamedTuple):
    """A state as the topic holds it, with its log time."""

    log_ms: int
    value: bytes


def expected(partitions: Iterable[list[Record]], controls: list[ControlRecord]) -> Expected:
    """The events that these partitions' records must give, read by fastavro."""
    on_state, on_sla = _watches(controls)
    schema = fastavro.parse_schema(plain(load_schema("FlowRunState")))
    sure: Counter[str] = Counter()
    at_end: list[str] = []
    ids: set[str] = set()
    for records in partitions:
        runs: dict[str, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        for log_ms, value in records:
            data = BytesIO(value)
            data.seek(5)
            fields: Any = fastavro.schemaless_reader(data, schema)
            runs[fields["flow_run_id"]].append((log_ms, fields))
            if fields["state"] == "Failed":
                for automation_id in on_state[fields["tenant_id"], fields["flow_group_id"]]:
                    ids.add(
                        state_change_event_id(
                            fields["tenant_id"], automation_id, fields["flow_run_id"], fields["version"]
                        )
                    )
                    sure["state change"] += 1
        last_log_ms = records[-1].log_ms if records else 0
        for steps in runs.values():
            first = steps[0][1]
            for watch in on_sla[first["tenant_id"], first["flow_group_id"]]:
                found = _missed(steps, watch, last_log_ms)
                if found is not None:
                    base_ms, why = found
                    event_id = flow_sla_event_id(
                        first["tenant_id"], watch.automation_id, first["flow_run_id"], watch.kind, base_ms
                    )
                    if why == OPEN:
                        at_end.append(event_id)
                    else:
                        ids.add(event_id)
                        sure[watch.kind.lower().replace("_", " ")] += 1
    assert len(ids) == sum(sure.values())
    return Expected(frozenset(ids), frozenset(at_end), sure)


def _missed(steps: list[tuple[int, dict[str, Any]]], watch: _Watch, last_log_ms: int) -> tuple[int, str] | None:
    """Base of the deadline that a run misses, and whether it is known by the topic's last record."""
    starts = watch.kind == SCHEDULED_NOT_STARTED
    arming = "Scheduled" if starts else "Running"
    meeting = ("Running", "Success", "Failed") if starts else ("Success", "Failed")
    armed = next(((log, r) for log, r in steps if r["state"] == arming), None)
    if armed is None:
        return None
    armed_log_ms, record = armed
    base_ms = max(record["timestamp"], record["scheduled_start_time"]) if starts else record["timestamp"]
    silent_ms = max(base_ms, armed_log_ms) + watch.duration_ms + GRACE_MS
    met = next(((log, r) for log, r in steps if r["state"] in meeting), None)
    if met is None or met[0] > silent_ms:
        return base_ms, SURE if last_log_ms > silent_ms else OPEN
    return (base_ms, SURE) if met[1]["timestamp"] > base_ms + watch.duration_ms else None


_Key = tuple[str, str]


def _watches(controls: list[ControlRecord]) -> tuple[dict[_Key, list[str]], dict[_Key, list[_Watch]]]:
    """Automations by (tenant, flow group)."""
    on_state: dict[_Key, list[str]] = defaultdict(list)
    on_sla: dict[_Key, list[_Watch]] = defaultdict(list)
    configs = {record.id: record for record in controls if isinstance(record, FlowSLAConfig)}
    for record in controls:
        if not isinstance(record, Automation):
            continue
        for group in record.flow_group_ids or ():
            on_state[record.tenant_id, group].append(record.id)
        config = configs.get(record.flow_sla_config_id or "")
        if config is not None:
            for group in config.flow_group_ids or ():
                watch = _Watch(record.id, config.kind, config.duration_seconds * 1000)
                on_sla[record.tenant_id, group].append(watch)
    return on_state, on_sla
