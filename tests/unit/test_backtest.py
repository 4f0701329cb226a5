"""What a backtest takes of a draft, and what it tells."""

from __future__ import annotations

import json

import pytest

from cli.backtest_draft import in_force_from, inputs_of
from cli.backtest_report import Tally, decided_json, differences_json, show_differences
from cli.screen import Screen
from consumer.agreement import DIFFERENT, MISSING, UNREADABLE, Difference, Verdict
from schemas.control import Automation, parse_control
from schemas.records import AGENT_SLA_FAILED, FLOW_RUN_STATE_CHANGED, AutomationEvent
from topology.names import AGENT_HEARTBEAT, FLOW_RUN_STATE


def automation(name: str, event_type: str = FLOW_RUN_STATE_CHANGED, **fields: object) -> Automation:
    condition: dict[str, object] = {"states": ["Failed"]}
    if event_type == AGENT_SLA_FAILED:
        condition = {"agent_config_id": "pool"}
    base = {"id": name, "tenant_id": "t", "tenant_slug": "acme", "name": name, "event_type": event_type}
    return Automation.model_validate({**base, "action_ids": [], **condition, **fields})


def event(number: int, automation_id: str = "a", run: str = "r") -> AutomationEvent:
    return AutomationEvent(
        f"event-{number}", FLOW_RUN_STATE_CHANGED, "Run failed", "t", "acme", 1_000 * number, automation_id,
        f"name of\n{automation_id}", "f", "etl", "g", None, run, "amber-fox", "Failed",
        None, None, None, None, None, None, None, None, None, 9_000, "[]",
    )  # fmt: skip


def test_a_draft_is_in_force_from_its_instant_on_enabled_or_not() -> None:
    records = in_force_from([automation("on"), automation("off", enabled=False)], 5_000)
    parsed = [parse_control(record.key, record.value) for record in records]
    assert [record.log_ms for record in records] == [5_000, 5_000]
    assert [one.enabled for one in parsed if isinstance(one, Automation)] == [True, True]


@pytest.mark.parametrize(
    ("event_types", "inputs"),
    [
        ([FLOW_RUN_STATE_CHANGED], [FLOW_RUN_STATE]),
        ([AGENT_SLA_FAILED], [AGENT_HEARTBEAT]),
        ([AGENT_SLA_FAILED, FLOW_RUN_STATE_CHANGED], [FLOW_RUN_STATE, AGENT_HEARTBEAT]),
    ],
)
def test_only_the_inputs_that_a_draft_is_about_are_read(event_types: list[str], inputs: list[str]) -> None:
    assert inputs_of([automation(f"a{n}", one) for n, one in enumerate(event_types)]) == inputs


def test_the_table_counts_events_and_runs_of_each_automation_and_ends_with_the_latest_events(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One that never fires is listed too, and a name can't break a line."""
    tally = Tally(2)
    tally.name(automation("silent"))
    for number in (3, 1, 2):
        tally.add(event(number, run=f"r{number % 2}"))
    tally.show(Screen(plain=True), "title")
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["name", "of", "a", "3", "2", "1970-01-01T00:00:01.000Z", "1970-01-01T00:00:03.000Z"]
    assert lines[3].split() == ["silent", "0", "0", "-", "-"]
    assert lines[4] == "the latest 2 of 3 events"
    assert [line.split()[0] for line in lines[5:]] == ["1970-01-01T00:00:02.000Z", "1970-01-01T00:00:03.000Z"]


def test_an_event_that_nobody_detected_has_no_time_of_detection() -> None:
    fields = decided_json(event(1))
    assert "detected_at" not in fields
    assert fields["actions"] == []


def test_differences_are_told_by_kind_with_place_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    differences = [
        Difference(UNREADABLE, None, (0, 7)),
        Difference(DIFFERENT, event(1), (1, 2), ("message",)),
        Difference(MISSING, event(2), None),
    ]
    verdict = Verdict(5, 0, 0, {UNREADABLE: 1, DIFFERENT: 1, MISSING: 1}, differences)
    show_differences(Screen(plain=True), verdict, 2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "1 on the topic with another content"
    assert lines[3] == "unreadable [0]@7"
    assert lines[4].startswith("different [1]@2 (message) 1970-01-01T00:00:01.000Z entered-Failed")
    assert lines[5] == "and 1 more"
    told = json.loads(json.dumps(differences_json(verdict, 2)))
    assert told[0] == {"kind": "unreadable", "place": {"partition": 0, "offset": 7}, "fields": [], "event": None}
    assert told[1]["event"]["id"] == "event-1"
