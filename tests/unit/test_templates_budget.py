"""Nobody's template can fill the memory of a process or hold it up: what is rendered has a bound."""

import json
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.channels.channel import Job, Services
from actions.channels.webhook import request
from actions.channels.wording import MAX_WORDS, message_of
from actions.exchange import Failure
from schemas.templates import MAX_RENDERED, TooLarge, render_payload, render_text
from tests.unit.actions_events import EVENT

LONG = EVENT._replace(message="m" * 8_000, unhealthy_agent_ids=["agent"] * 2_000)
AMPLIFIED = "{message}" * 20_000


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that ``work`` has at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python ``work`` runs."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


AMPLIFIERS: list[Any] = [
    AMPLIFIED,
    json.dumps(AMPLIFIED),
    [AMPLIFIED],
    ["{message}"] * 20_000,
    {"text": {"deep": [AMPLIFIED]}},
    {AMPLIFIED: 1},
    {f"{{message}}{number}": number for number in range(20_000)},
    {"{unhealthy_agent_ids}": "{unhealthy_agent_ids}" * 20_000},
]


@pytest.mark.parametrize("payload", AMPLIFIERS, ids=lambda payload: str(payload)[:20])
def test_a_payload_that_grows_beyond_its_bound_is_refused_before_it_has_grown(payload: Any) -> None:
    def refused() -> None:
        with pytest.raises(TooLarge):
            render_payload(payload, LONG)

    assert peak_bytes(refused) < 16 * MAX_RENDERED


def test_too_large_is_a_value_error_that_shows_nothing_of_the_payload() -> None:
    with pytest.raises(ValueError, match=r"^more than 1048576 characters$"):
        render_payload(AMPLIFIED, LONG)


def test_the_bound_is_on_all_texts_of_a_payload_together() -> None:
    half = MAX_RENDERED // 2
    event = EVENT._replace(message="m" * (half - 1))
    assert render_payload({"a": "{message}", "b": "{message}"}, event) == {"a": event.message, "b": event.message}
    with pytest.raises(TooLarge):
        render_payload({"a": "{message}", "b": "{message}x"}, event)


def test_a_text_stops_at_its_bound_and_shows_so() -> None:
    text = render_text(AMPLIFIED, LONG)
    assert len(text) == MAX_RENDERED
    assert text.endswith("m…")
    assert peak_bytes(lambda: render_text(AMPLIFIED, LONG)) < 16 * MAX_RENDERED
    job = Job(LONG, {"message": AMPLIFIED}, {}, Services(), "d1", 0)
    assert len(message_of(job, escape=lambda text: text.replace("m", "\\m"))) == MAX_WORDS


def nested(depth: int) -> Any:
    payload: Any = "{state}"
    for _ in range(depth):
        payload = [payload]
    return payload


def test_a_payload_nested_too_deeply_is_too_large_too() -> None:
    assert render_payload(nested(100), EVENT) != nested(100)
    with pytest.raises(TooLarge, match=r"^nested too deeply$"):
        render_payload(nested(5_000), EVENT)


@pytest.mark.parametrize(
    "config", [{"payload": AMPLIFIED}, {"payload": nested(5_000)}, {"headers": {"X-Words": AMPLIFIED}}]
)
def test_a_webhook_that_grows_beyond_the_bound_is_dead_with_a_reason(config: dict[str, Any]) -> None:
    job = Job(LONG, {"url": "https://hooks.test/x", **config}, {}, Services(), "d1", 0)
    assert request(job) == Failure("payload_too_large", final=True)


tokens = st.lists(st.sampled_from(["{message}", "{state}", "{{", "}}", "{nobody}", "ab", "c", "{"]), max_size=8)


@given(tokens.map("".join), st.text(max_size=5), st.integers(1, 40))
def test_a_bounded_text_is_the_beginning_of_the_whole(template: str, message: str, most: int) -> None:
    event = EVENT._replace(message=message)
    whole = render_text(template, event)
    assert render_text(template, event, most) == (whole if len(whole) <= most else whole[: most - 1] + "…")


def equal_keys(count: int) -> dict[str, Any]:
    """A payload whose keys differ, all of one length, and come out equal: null attributes spell their numbers."""
    nothing = ("{flow_link}", "{state_message}")
    return {
        "{state}" + "".join(nothing[number >> bit & 1] for bit in range(13)): number for number in range(count)
    }  # fmt: skip


def test_keys_that_come_out_equal_take_no_more_work_each_when_there_are_more() -> None:
    def work(count: int) -> int:
        payload = equal_keys(count)
        return lines_run(lambda: render_payload(payload, EVENT))

    assert work(800) < 4.4 * work(200)


def test_thousands_of_keys_that_come_out_equal_are_numbered_in_their_order() -> None:
    names = ["Failed", *(f"Failed_{number}" for number in range(2, 6_001))]
    assert render_payload(equal_keys(6_000), EVENT) == dict(zip(names, range(6_000), strict=True))
