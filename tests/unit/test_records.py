"""Records, their schemas and their ids agree with each other and with the reference."""

from collections.abc import Callable
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro_schemas import RECORD_KINDS, RecordKind, load_schema
from schemas.codec import cut
from schemas.ids import (
    agent_sla_event_id,
    delivery_id,
    flow_sla_event_id,
    named_record_id,
    state_change_event_id,
    uuid5_url,
)
from schemas.states import FINISHES, RUNS, STARTS, WAITS, state_classes

each_kind = pytest.mark.parametrize("kind", RECORD_KINDS, ids=lambda kind: kind.name)


@each_kind
def test_the_fields_of_a_record_are_those_of_its_schema_in_the_same_order(kind: RecordKind) -> None:
    assert list(kind.record._fields) == [field["name"] for field in load_schema(kind.name)["fields"]]


@each_kind
def test_nullable_fields_put_null_first_and_default_to_it(kind: RecordKind) -> None:
    for field in load_schema(kind.name)["fields"]:
        if isinstance(field["type"], list):
            assert field["type"][0] == "null"
            assert field["default"] is None
        else:
            assert "default" not in field


@each_kind
def test_every_time_is_marked_as_milliseconds_for_other_readers(kind: RecordKind) -> None:
    times = {
        "timestamp",
        "scheduled_start_time",
        "detected_at",
        "started_at",
        "finished_at",
        "next_attempt_at",
    }
    for field in load_schema(kind.name)["fields"]:
        bare = field["type"][1] if isinstance(field["type"], list) else field["type"]
        assert (bare == {"type": "long", "logicalType": "timestamp-millis"}) == (field["name"] in times)


@given(st.text(st.characters(codec="utf-8")))
def test_ids_are_uuid5_in_the_url_namespace(name: str) -> None:
    assert uuid5_url(name) == str(uuid5(NAMESPACE_URL, name))


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda: state_change_event_id("t", "a", "r", 3), "automations:t/a/r/3"),
        (
            lambda: flow_sla_event_id("t", "a", "r", "STARTED_NOT_FINISHED", 1700000000000),
            "automations:t/a/r/STARTED_NOT_FINISHED/1700000000000",
        ),
        (lambda: agent_sla_event_id("t", "a", "c", 1700000000000), "automations:t/a/c/1700000000000"),
        (lambda: delivery_id("e", "x"), "automations:e/x"),
        (lambda: named_record_id("t", "action", "page"), "automations:t/action/page"),
    ],
)
def test_each_id_is_made_from_what_it_names(made: Callable[[], str], text: str) -> None:
    assert made() == str(uuid5(NAMESPACE_URL, text))


@given(st.text(max_size=50), st.integers(1, 40))
def test_a_cut_text_is_never_longer_than_its_limit_and_shows_that_it_was_cut(text: str, limit: int) -> None:
    shorter = cut(text, limit)
    assert len(shorter) <= limit
    assert shorter == text if len(text) <= limit else shorter == text[: limit - 1] + "…"


def test_nothing_to_cut_stays_nothing() -> None:
    assert cut(None, 5) is None


def test_states_are_classed_without_case_and_further_finished_ones_can_be_named() -> None:
    classes = state_classes(["Archived"])
    found: Any = [classes["scheduled"], classes["cancelling"], classes["running"], classes["timedout"]]
    assert found == [WAITS, STARTS, RUNS, FINISHES]
    assert classes["archived"] == FINISHES
    assert "clientfailed" not in classes
