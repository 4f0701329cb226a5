"""Cancelling, pausing and starting on Prefect 1: against a double of its API, over real sockets."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.channels import prefect
from actions.channels.channel import Channel, Job, Services
from actions.exchange import Answer, Failure, Outcome, Request, Verdict
from actions.transport.egress import egress_policy
from actions.transport.sender import Sender
from schemas.records import AutomationEvent
from tests.doubles.http_service import Said, said_json
from tests.doubles.prefect1 import Prefect1
from tests.unit.actions_events import EVENT
from tests.unit.conversations import held

TENANT, GROUP = str(uuid4()), str(uuid4())
OF_TENANT = EVENT._replace(tenant_id=TENANT, flow_group_id=GROUP)
DONE = Outcome(Verdict.DONE, None, 200)


def job(url: str | None, event: AutomationEvent = OF_TENANT, *, key: str | None = None, **config: Any) -> Job:
    services = Services(
        prefect_backend="prefect1", prefect_api_url=url, prefect_api_key_secret=None if key is None else "KEY"
    )
    return Job(event, config, {} if key is None else {"KEY": key}, services, "delivery-1", 0)


async def act(
    double: Prefect1,
    channel: Channel,
    event: AutomationEvent = OF_TENANT,
    *,
    between: Callable[[], None] = lambda: None,
    key: str | None = None,
    **config: Any,
) -> Outcome:
    """Do an action as the runner does, with nothing private allowed; ``between`` comes after the first answer."""
    async with double.serving() as address, Sender(egress_policy(())) as sender:
        exchange = channel.exchange(job(f"{address}/graphql", event, key=key, **config))
        try:
            step = next(exchange)
            while True:
                assert isinstance(step, Request)
                reply = await sender.send(step)
                between()
                step = exchange.send(reply)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome


def of_run(run: str) -> AutomationEvent:
    return OF_TENANT._replace(flow_run_id=run)


@pytest.mark.parametrize(
    ("state", "becomes"),
    [
        ("Running", "Cancelling"), ("Scheduled", "Cancelled"), ("Pending", "Cancelled"), ("Submitted", "Cancelled"),
        ("Queued", "Cancelled"), ("Retrying", "Cancelled"), ("Paused", "Cancelled"),
    ],
)  # fmt: skip
async def test_a_run_is_cancelled_as_the_server_would_but_with_the_actions_message(state: str, becomes: str) -> None:
    double = Prefect1()
    run = double.run(double.flow(TENANT, GROUP), state)
    assert await act(double, prefect.CANCEL, of_run(run), message="{flow_name} is {state}") == DONE
    now = double.runs[run]
    assert (now.state, now.message, now.version) == (becomes, "etl is Failed", 4)


async def test_without_a_message_the_events_own_is_kept_with_the_run() -> None:
    double = Prefect1()
    run = double.run(double.flow(TENANT, GROUP), "Running")
    await act(double, prefect.CANCEL, of_run(run))
    assert double.runs[run].message == EVENT.message


@pytest.mark.parametrize(
    "state",
    ["Finished", "Success", "Cached", "Mapped", "Skipped", "Failed", "TimedOut", "TriggerFailed", "ValidationFailed",
     "Cancelled", "Looped"],
)  # fmt: skip
async def test_a_run_that_is_over_stays_as_it_ended_and_the_action_is_done(state: str) -> None:
    double = Prefect1()
    run = double.run(double.flow(TENANT, GROUP), state)
    outcome = await act(double, prefect.CANCEL, of_run(run))
    assert outcome == Outcome(Verdict.DONE, f"already_finished: {state}", 200)
    assert double.asked == ["flow_run"]


async def test_a_run_that_is_being_cancelled_gets_no_second_state() -> None:
    double = Prefect1()
    run = double.run(double.flow(TENANT, GROUP), "Running")
    await act(double, prefect.CANCEL, of_run(run))
    assert await act(double, prefect.CANCEL, of_run(run)) == Outcome(Verdict.DONE, "already_cancelling", 200)
    assert double.runs[run].version == 4


async def test_a_run_that_moved_on_meanwhile_is_looked_at_again_with_the_next_attempt() -> None:
    double = Prefect1()
    run = double.run(double.flow(TENANT, GROUP), "Scheduled", version=1)

    def starts() -> None:
        double.runs[run] = double.runs[run]._replace(state="Running", version=2)

    outcome = await act(double, prefect.CANCEL, of_run(run), between=starts)
    assert outcome == Outcome(Verdict.RETRY, "http_200: INTERNAL_SERVER_ERROR", 200)
    assert await act(double, prefect.CANCEL, of_run(run)) == DONE
    assert double.runs[run].state == "Cancelling"


async def test_no_automation_reaches_the_runs_and_flows_of_another_tenant() -> None:
    double = Prefect1()
    theirs = double.flow(str(uuid4()), GROUP, active=True)
    run = double.run(theirs, "Running")
    gone = Outcome(Verdict.FINAL, "flow_group_not_found", 200)
    assert await act(double, prefect.CANCEL, of_run(run)) == Outcome(Verdict.FINAL, "flow_run_not_found", 200)
    assert await act(double, prefect.PAUSE, flow_group_id=GROUP) == gone
    assert await act(double, prefect.CREATE, flow_group_id=GROUP) == gone
    assert double.runs[run].state == "Running"
    assert double.active == {theirs.id}
    assert len(double.runs) == 1


async def test_pausing_a_group_sets_every_schedule_in_use_inactive() -> None:
    double = Prefect1()
    double.flow(TENANT, GROUP, archived=True)
    double.flow(TENANT, GROUP, active=True)
    double.flow(TENANT, GROUP)
    double.flow(TENANT, GROUP, active=True)
    other = double.flow(TENANT, str(uuid4()), active=True)
    assert await act(double, prefect.PAUSE) == DONE
    assert double.active == {other.id}
    assert double.asked.count("set_schedule_inactive") == 2
    assert await act(double, prefect.PAUSE) == Outcome(Verdict.DONE, "already_paused", 200)


async def test_the_group_of_the_action_goes_before_the_events_own() -> None:
    double, other = Prefect1(), str(uuid4())
    mine, named = double.flow(TENANT, GROUP, active=True), double.flow(TENANT, other, active=True)
    assert await act(double, prefect.PAUSE, flow_group_id=other) == DONE
    assert double.active == {mine.id}
    assert named.id not in double.active


async def test_a_schedule_that_was_not_set_is_tried_again() -> None:
    double = Prefect1()
    flow = double.flow(TENANT, GROUP, active=True)

    def goes() -> None:
        double.flows.pop(flow.id, None)

    outcome = await act(double, prefect.PAUSE, between=goes)
    assert outcome == Outcome(Verdict.RETRY, "http_200: success_false", 200)


async def test_one_delivery_starts_one_run_even_if_the_flow_is_registered_anew_between_attempts() -> None:
    double = Prefect1()
    double.flow(TENANT, GROUP)
    newest = double.flow(TENANT, GROUP)
    double.flow(TENANT, GROUP, archived=True)
    assert await act(double, prefect.CREATE, flow_group_id=GROUP) == DONE
    (run,) = double.runs.values()
    assert (run.flow_id, run.state, run.idempotency_key) == (newest.id, "Scheduled", "delivery-1")
    double.flow(TENANT, GROUP)
    assert await act(double, prefect.CREATE, flow_group_id=GROUP) == DONE
    assert len(double.runs) == 1


async def test_a_flow_without_a_group_of_versions_is_run_by_its_own_id() -> None:
    double = Prefect1()
    flow = double.flow(TENANT, GROUP, version_group_id=None)
    for _ in range(2):
        assert await act(double, prefect.CREATE, flow_group_id=GROUP) == DONE
    assert [run.flow_id for run in double.runs.values()] == [flow.id]


async def test_the_key_opens_the_api_and_a_wrong_one_is_final() -> None:
    double = Prefect1(key="k-1")
    run = double.run(double.flow(TENANT, GROUP), "Running")
    refused = Outcome(Verdict.FINAL, "http_401: UNAUTHENTICATED", 401)
    assert await act(double, prefect.CANCEL, of_run(run)) == refused
    assert await act(double, prefect.CANCEL, of_run(run), key="k-2") == refused
    assert await act(double, prefect.CANCEL, of_run(run), key="k-1") == DONE


async def test_an_id_that_is_none_is_final() -> None:
    outcome = await act(Prefect1(), prefect.CANCEL, of_run("no uuid"))
    assert outcome == Outcome(Verdict.FINAL, "http_400: BAD_USER_INPUT", 400)


@pytest.mark.parametrize("name", ["flow_run", "set_flow_run_states"])
async def test_what_fails_inside_the_api_is_tried_again_and_its_text_goes_no_further(name: str) -> None:
    double = Prefect1()
    double.failing = {name}
    outcome = await act(double, prefect.CANCEL, of_run(double.run(double.flow(TENANT, GROUP), "Running")))
    assert outcome == Outcome(Verdict.RETRY, "http_200: INTERNAL_SERVER_ERROR", 200)


def errors(*codes: Any) -> dict[str, Any]:
    return {"data": None, "errors": [{"message": "secret text", "extensions": {"code": code}} for code in codes]}


@pytest.mark.parametrize(
    ("said", "verdict", "reason"),
    [
        (said_json(200, errors("API_ERROR")), Verdict.RETRY, "http_200: API_ERROR"),
        (said_json(400, errors("API_ERROR")), Verdict.RETRY, "http_400: API_ERROR"),
        (said_json(400, errors("GRAPHQL_VALIDATION_FAILED")), Verdict.FINAL, "http_400: GRAPHQL_VALIDATION_FAILED"),
        (said_json(200, errors("UNAUTHENTICATED")), Verdict.FINAL, "http_200: UNAUTHENTICATED"),
        (said_json(200, errors("a text of theirs")), Verdict.RETRY, "http_200: graphql_errors"),
        (said_json(200, errors("a text", "FORBIDDEN")), Verdict.FINAL, "http_200: FORBIDDEN"),
        (said_json(200, {"errors": [{"message": "secret text"}]}), Verdict.RETRY, "http_200: graphql_errors"),
        (said_json(400, {"errors": "secret text"}), Verdict.FINAL, "http_400: graphql_errors"),
        (said_json(200, {"data": None}), Verdict.RETRY, "http_200: answer_unreadable"),
        (Said(200, "<html>log in</html>"), Verdict.RETRY, "http_200: answer_unreadable"),
        (Said(429, "", {"Retry-After": "7"}), Verdict.RETRY, "http_429"),
        (Said(503, "secret text"), Verdict.RETRY, "http_503"),
        (Said(404, "secret text"), Verdict.FINAL, "http_404"),
        (Said(302, "", {"Location": "/login"}), Verdict.FINAL, "http_302"),
    ],
)
async def test_what_the_api_says_in_trouble(said: Said, verdict: Verdict, reason: str) -> None:
    for channel in (prefect.CANCEL, prefect.PAUSE, prefect.CREATE):
        double = Prefect1()
        double.tell(said)
        outcome = await act(double, channel, of_run(str(uuid4())), flow_group_id=GROUP)
        assert (outcome.verdict, outcome.reason, outcome.http_status) == (verdict, reason, said.status)
        assert outcome.retry_after == ("7" if said.status == 429 else None)


def test_no_answer_is_tried_again() -> None:
    exchange = prefect.CANCEL.exchange(job("http://p/graphql", of_run("r")))
    assert held(exchange, Failure("timeout"))[1] == Outcome(Verdict.RETRY, "timeout")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["data", "errors", "flow_run", "flow", "flow_group", "state", "version", "id", "extensions",
                         "code", "states", "set_flow_run_states", "create_flow_run", "success"]), inner, max_size=3
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.sampled_from([prefect.CANCEL, prefect.PAUSE, prefect.CREATE]), st.lists(_JSON, min_size=9, max_size=9))
def test_no_answer_makes_it_raise_or_shows_in_a_reason(channel: Channel, answers: list[Any]) -> None:
    replies = [Answer(200, json.dumps({"data": said} | (said if isinstance(said, dict) else {})).encode())
               for said in answers]  # fmt: skip
    exchange = channel.exchange(job("http://p/graphql", of_run("r"), flow_group_id=GROUP))
    try:
        next(exchange)
        for reply in replies:
            exchange.send(reply)
    except StopIteration as end:
        outcome: Outcome = end.value
        known = {"flow_run_not_found", "flow_group_not_found", "already_paused", "http_200: answer_unreadable", None,
                 "http_200: graphql_errors", "http_200: not_set", "http_200: success_false",
                 "http_200: not_created"}  # fmt: skip
        assert outcome.reason in known
