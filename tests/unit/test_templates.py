"""What people put between braces is filled from the event, and nothing else ever happens."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import (
    AGENT_SLA_FAILED,
    FLOW_RUN_STATE_CHANGED,
    FLOW_SLA_FAILED,
    AutomationEvent,
)
from schemas.templates import (
    ALIASES,
    attributes_of,
    default_message,
    default_payload,
    names_in,
    payload_names,
    render_payload,
    render_text,
    unknown_names,
)
from schemas.times import parse_rfc3339, rfc3339

NOTHING: dict[str, Any] = dict.fromkeys(AutomationEvent._fields)
EVENT = AutomationEvent(
    **NOTHING
    | {
        "id": "e1",
        "event_name": FLOW_RUN_STATE_CHANGED,
        "message": "a message",
        "tenant_id": "t1",
        "tenant_slug": "acme",
        "timestamp": 1_700_000_000_123,
        "automation_id": "a1",
        "automation_name": "failures",
        "flow_name": "etl",
        "flow_run_id": "r1",
        "flow_run_name": "brave-otter",
        "state": "Failed",
        "state_message": 'it said "no"\n{flow_name}',
        "flow_run_link": "https://ui/acme/flow-run/r1",
        "detected_at": 1_700_000_000_999,
        "actions": "[]",
    }
)
SLA = EVENT._replace(
    event_name=FLOW_SLA_FAILED, flow_sla_config_id="s1", kind="STARTED_NOT_FINISHED", duration_seconds=60
)
AGENTS = EVENT._replace(
    event_name=AGENT_SLA_FAILED,
    agent_config_id="c1",
    sla_min_healthy=1,
    healthy_agent_ids=[],
    unhealthy_agent_ids=["x", "y"],
)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{flow_run_name} is {state}", "brave-otter is Failed"),
        ("{timestamp}", "2023-11-14T22:13:20.123Z"),
        ("{detected_at}", "2023-11-14T22:13:20.999Z"),
        ("[{flow_link}]", "[]"),
        ("{event_id} {event_type}", "e1 FlowRunStateChangedEvent"),
        ("{{state}}", "{state}"),
        ("{{{state}}}", "{Failed}"),
        ("{state_message}", 'it said "no"\n{flow_name}'),
        ("{nobody} {state.upper} {state[0]} {state!r} {state:>9} {state()} {0} {}", None),
        ("{ state } {State} {actions} {_fields} {__class__}", None),
        ("a { b", None),
        ("a } b", None),
        ("{", None),
        ("}", None),
        ("{state", None),
        ('{"a": 1}', None),
        ("", ""),
    ],
)
def test_a_text_is_filled_by_names_alone(template: str, text: str | None) -> None:
    assert render_text(template, EVENT) == (template if text is None else text)


def test_aliases_of_sla_events_are_understood() -> None:
    assert render_text("{flow_sla_type} {duration}", SLA) == "STARTED_NOT_FINISHED 60"
    assert render_text("{agent_ids}|{unhealthy_agent_ids}|{healthy_agent_ids}", AGENTS) == "x, y|x, y|"


@given(st.text())
def test_what_is_filled_in_is_never_read_as_a_template(message: str) -> None:
    assert render_text("<{state_message}>", EVENT._replace(state_message=message)) == f"<{message}>"


@given(st.text())
def test_doubled_braces_bring_back_any_text(text: str) -> None:
    assert render_text(text.replace("{", "{{").replace("}", "}}"), EVENT) == text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["{state}", "{state_message}"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=9), children, max_size=3),
    max_leaves=10,
)


@given(values, st.text(st.characters(codec="utf-8")))
def test_a_payload_stays_json_whatever_the_values_hold(payload: Any, message: str) -> None:
    event = EVENT._replace(state_message=message)
    rendered = render_payload(json.dumps(payload), event)
    assert json.loads(json.dumps(rendered)) == rendered


pieces = st.sampled_from(["{state}", "{state_message}", "{flow_name}", "{nobody}", "{{", "}}", "Failed", "_2", "a"])
templates = st.lists(pieces | st.text(max_size=3), max_size=3).map("".join)
payloads = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | templates,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(templates, children, max_size=4),
    max_leaves=12,
)
said = st.sampled_from(["Failed", "Failed_2", "a", "", "{state}", '"', "}}"]) | st.text(
    st.characters(codec="utf-8"), max_size=9
)


def shape(value: Any) -> Any:
    """What is left of a payload without its texts: nesting, lengths, and all that is no text."""
    if isinstance(value, dict):
        return [shape(item) for item in value.values()], "members"
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "a text" if isinstance(value, str) else value


@given(payloads, said, said, said)
def test_a_payload_keeps_its_shape_whatever_the_values_hold(payload: Any, state: str, message: str, flow: str) -> None:
    event = EVENT._replace(state=state, state_message=message, flow_name=flow)
    rendered = render_payload(payload if not isinstance(payload, str) else json.dumps(payload), event)
    assert shape(rendered) == shape(payload)
    assert json.loads(json.dumps(rendered, ensure_ascii=False).encode()) == rendered


def test_keys_that_become_the_same_all_stay_and_a_literal_one_keeps_its_name() -> None:
    payload = {"{state}": 1, "Failed": 2, "{state}{state_message}": 3, "Failed_2": 4}
    rendered = render_payload(payload, EVENT._replace(state_message=""))
    assert rendered == {"Failed_3": 1, "Failed": 2, "Failed_4": 3, "Failed_2": 4}
    assert list(rendered.values()) == [1, 2, 3, 4]


MARKS: list[Any] = [[f"<{name}>"] if name.endswith("_ids") else f"<{name}>" for name in AutomationEvent._fields]
MARKED = AutomationEvent(*MARKS)._replace(timestamp=0, detected_at=0, duration_seconds=7, sla_min_healthy=7)
reachable = (set(AutomationEvent._fields) | set(ALIASES)) - {"actions"}
odd_names = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", " ", "_", "0", "event.", "self."]),
    st.sampled_from(sorted(reachable | {"actions", "__class__", "_fields", "self", "event"})),
    st.sampled_from(["", " ", ".upper", "[0]", "!r", ":>9", "()", ".__class__", "\n"]),
) | st.text(st.characters(exclude_characters="{}"), max_size=12)


@given(odd_names)
def test_no_name_but_an_attributes_reaches_anything(name: str) -> None:
    rendered = render_text(f"{{{name}}}", MARKED)
    if name not in reachable:
        assert rendered == f"{{{name}}}"
    elif (attribute := ALIASES.get(name, name)) not in (
        "timestamp",
        "detected_at",
        "duration_seconds",
        "sla_min_healthy",
    ):
        assert rendered == f"<{attribute}>"


def test_payloads_are_filled_in_keys_and_values_and_keep_their_shape() -> None:
    payload = {"{state}": ["{flow_run_name}", 1, None, True, {"deep": "{state_message}"}], "n": 1.5}
    rendered = {"Failed": ["brave-otter", 1, None, True, {"deep": EVENT.state_message}], "n": 1.5}
    assert render_payload(payload, EVENT) == rendered
    assert render_payload(json.dumps(payload), EVENT) == rendered


def test_a_payload_that_is_a_json_string_is_a_string() -> None:
    assert render_payload('"run {flow_run_id}"', EVENT) == "run r1"


def test_a_payload_string_that_is_no_json_is_a_text_at_delivery() -> None:
    assert render_payload("run {flow_run_id}", EVENT) == "run r1"


def test_the_default_payload_is_the_whole_event_but_its_actions() -> None:
    payload = default_payload(EVENT)
    assert set(payload) == set(AutomationEvent._fields) - {"actions"} | {"event_type"}
    assert payload["event_type"] == FLOW_RUN_STATE_CHANGED
    assert payload["timestamp"] == "2023-11-14T22:13:20.123Z"
    assert payload["flow_link"] is None


def test_default_messages_are_those_of_the_products_documentation() -> None:
    assert default_message(EVENT._replace(state_message="boom")) == (
        "Run brave-otter of flow etl entered state Failed with message boom. "
        "See https://ui/acme/flow-run/r1 for more details."
    )
    assert default_message(SLA) == (
        "Run brave-otter (r1) of flow etl failed STARTED_NOT_FINISHED SLA (s1) after 60 seconds. "
        "See https://ui/acme/flow-run/r1 for more details."
    )
    assert default_message(AGENTS) == (
        "Agents sharing the config c1 have failed the minimum healthy count of 1. "
        "The following agents are unhealthy: x, y"
    )


def test_an_event_of_an_unknown_kind_says_its_name() -> None:
    assert default_message(EVENT._replace(event_name="Later")) == "Later"
    assert attributes_of("Later") == frozenset()


def test_names_are_found_in_texts_payloads_and_json_strings() -> None:
    assert names_in("{a} {{b}} {c.d} {}") == {"a", "c.d"}
    assert names_in({"{a}": ["{b}", 1, {"x": "{c}"}]}) == {"a", "b", "c"}
    assert payload_names('{"x": "{a}"}') == {"a"}


@pytest.mark.parametrize("event", [EVENT, SLA, AGENTS], ids=lambda event: event.event_name)
def test_each_event_knows_the_names_in_its_own_default_message(event: AutomationEvent) -> None:
    assert all(name in AutomationEvent._fields for name in attributes_of(event.event_name))
    assert set(ALIASES.values()) <= set(AutomationEvent._fields)
    assert unknown_names({"message"}, event.event_name) == []


def test_an_unknown_name_is_told_with_a_remedy() -> None:
    assert unknown_names({"flow_run_nam"}, FLOW_RUN_STATE_CHANGED) == [
        "{flow_run_nam} is no attribute of FlowRunStateChangedEvent; did you mean {flow_run_name}?"
    ]
    assert "write {{ and }}" in unknown_names({'"a": 1'}, FLOW_RUN_STATE_CHANGED)[0]
    assert "agent_ids" in unknown_names({"kind"}, AGENT_SLA_FAILED)[0]
    assert unknown_names({"agent_ids"}, FLOW_RUN_STATE_CHANGED)
    assert unknown_names({"duration", "flow_sla_type", "event_id"}, FLOW_SLA_FAILED) == []


@given(st.integers(0, 253_402_300_799_999))
def test_times_survive_as_text(instant_ms: int) -> None:
    assert parse_rfc3339(rfc3339(instant_ms)) == instant_ms


@pytest.mark.parametrize(
    ("text", "instant_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00.5+01:00", 500),
        ("1970-01-01 00:00:00.123456789z", 123),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_times_are_read_in_every_form_of_rfc_3339(text: str, instant_ms: int) -> None:
    assert parse_rfc3339(text) == instant_ms


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+99:00"],
)
def test_what_is_no_rfc_3339_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be an RFC 3339 time|no such date or time"):
        parse_rfc3339(text)
