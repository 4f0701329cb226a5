"""What a backtest tells: events by automation, the latest of them, and where two sides differ."""

from __future__ import annotations

import json
from heapq import heappush, heappushpop
from typing import Any

from cli.screen import Screen
from cli.tail_lines import event_json, event_parts, one_line, time_text
from consumer.agreement import DIFFERENT, MISSING, TWICE, UNEXPECTED, UNREADABLE, Difference, Verdict
from schemas.control import Automation
from schemas.records import AutomationEvent

_WORDS = {
    MISSING: "missing on the topic",
    UNEXPECTED: "on the topic, but nothing decides it",
    TWICE: "on the topic more often than decided",
    DIFFERENT: "on the topic with another content",
    UNREADABLE: "on the topic, but no readable event",
}


class _Fired:
    """What one automation fired."""

    def __init__(self) -> None:
        self.events = 0
        self.subjects: set[str] = set()
        self.first_ms = self.last_ms = 0

    def add(self, event: AutomationEvent) -> None:
        self.first_ms = min(self.first_ms, event.timestamp) if self.events else event.timestamp
        self.last_ms = max(self.last_ms, event.timestamp)
        self.events += 1
        self.subjects.add(event.flow_run_id or event.agent_config_id or "")


class Tally:
    """Events by automation, and the latest ``latest`` of all."""

    def __init__(self, latest: int) -> None:
        self.events = 0
        self._fired: dict[str, _Fired] = {}
        self._names: dict[str, str] = {}
        self._latest: list[tuple[int, str, int, AutomationEvent]] = []
        self._room = latest

    def name(self, automation: Automation) -> None:
        """An automation that is to be listed though it may never fire."""
        self._fired.setdefault(automation.id, _Fired())
        self._names[automation.id] = automation.name

    def add(self, event: AutomationEvent) -> None:
        """One event that is decided."""
        self.events += 1
        self._names.setdefault(event.automation_id, event.automation_name)
        self._fired.setdefault(event.automation_id, _Fired()).add(event)
        entry = (event.timestamp, event.id, self.events, event)
        if len(self._latest) < self._room:
            heappush(self._latest, entry)
        elif self._room:
            heappushpop(self._latest, entry)

    def show(self, screen: Screen, title: str) -> None:
        """The table, the busiest automation first, then the latest events."""
        fired = sorted(self._fired.items(), key=lambda one: (-one[1].events, self._names[one[0]]))
        rows = [
            (
                one_line(self._names[key]),
                str(one.events),
                str(len(one.subjects)),
                time_text(one.first_ms) if one.events else "-",
                time_text(one.last_ms) if one.events else "-",
            )
            for key, one in fired
        ]
        if rows:
            screen.table(title, ("automation", "events", "runs or agent configs", "first", "last"), rows)
        latest = sorted(self._latest)
        if latest:
            screen.line(f"the latest {len(latest)} of {self.events} events" if len(latest) < self.events else "events")
        for *_, event in latest:
            screen.parts(*event_parts(event))

    def as_json(self) -> list[dict[str, Any]]:
        """The table for programs."""
        return [
            {
                "id": key,
                "name": self._names[key],
                "events": one.events,
                "subjects": len(one.subjects),
                "first": time_text(one.first_ms) if one.events else None,
                "last": time_text(one.last_ms) if one.events else None,
            }
            for key, one in self._fired.items()
        ]


def decided_json(event: AutomationEvent) -> dict[str, Any]:
    """Every field but ``detected_at``: nobody detected it."""
    fields = event_json(event)
    del fields["detected_at"]
    return fields


def show_differences(screen: Screen, verdict: Verdict, most: int) -> None:
    """How many there are of each kind, and the first of them."""
    for kind, count in verdict.counts.items():
        screen.line(f"{count} {_WORDS[kind]}", "bad")
    shown = verdict.differences[:most]
    for one in shown:
        screen.parts(*_difference_parts(one))
    more = sum(verdict.counts.values()) - len(shown)
    if more > 0:
        screen.line(f"and {more} more", "quiet")


def differences_json(verdict: Verdict, most: int) -> list[dict[str, Any]]:
    """The first differences for programs."""
    return [
        {
            "kind": one.kind,
            "place": None if one.place is None else {"partition": one.place[0], "offset": one.place[1]},
            "fields": list(one.fields),
            "event": None if one.event is None else event_json(one.event),
        }
        for one in verdict.differences[:most]
    ]


def _difference_parts(one: Difference) -> list[tuple[str, str]]:
    where = f"[{one.place[0]}]@{one.place[1]}" if one.place is not None else ""
    fields = f"({', '.join(one.fields)})" if one.fields else ""
    said = [(part, "note") for part in (one.kind, where, fields) if part]
    return said if one.event is None else [*said, *event_parts(one.event)]


def summary_line(fields: dict[str, Any]) -> str:
    """The last line of ``--json``."""
    return json.dumps({"summary": fields}, ensure_ascii=False)
