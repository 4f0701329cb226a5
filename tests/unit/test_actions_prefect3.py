"""What Prefect 3 is asked, and what its answers mean; a real server is asked in the tests on Kafka."""

import json
from base64 import b64decode
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.channels import prefect
from actions.channels.channel import Channel, Job, Services
from actions.exchange import Answer, Failure, MailAnswer, Outcome, Reply, Request, Verdict
from schemas.records import AutomationEvent
from tests.unit.actions_events import EVENT
from tests.unit.conversations import begun, held

RUN, GROUP = str(uuid4()), str(uuid4())
OF_RUN = EVENT._replace(flow_run_id=RUN, flow_group_id=GROUP)
ALL = (prefect.CANCEL, prefect.PAUSE, prefect.CREATE)
API = "https://prefect.example.com/api/"


def job(event: AutomationEvent = OF_RUN, *, url: str | None = API, key: str | None = None, **config: Any) -> Job:
    services = Services(prefect_api_url=url, prefect_api_key_secret=None if key is None else "KEY")
    return Job(event, config, {} if not key else {"KEY": key}, services, "delivery-1", 0)


def asked(channel: Channel, it: Job) -> Request:
    step = begun(channel.exchange(it))
    assert isinstance(step, Request)
    return step


def outcome(channel: Channel, it: Job, *replies: Reply) -> Outcome:
    return held(channel.exchange(it), *replies)[1]


def answer(status: int, state: str, word: str, **more: Any) -> Answer:
    said = {"state": {"id": str(uuid4()), "type": state, "name": "x"}, "status": word, "details": {"reason": "text"}}
    return Answer(status, json.dumps(said | more).encode())


def test_cancelling_proposes_a_state_with_the_message() -> None:
    request = asked(prefect.CANCEL, job(message="{flow_run_name} is {state}"))
    assert request.method == "POST"
    assert request.url == f"https://prefect.example.com/api/flow_runs/{RUN}/set_state"
    assert json.loads(request.body) == {
        "state": {"type": "CANCELLING", "name": "Cancelling", "message": "r is Failed"}, "force": False
    }  # fmt: skip
    assert dict(request.headers) == {"Content-Type": "application/json"}


def test_pausing_and_starting_go_to_the_deployment_of_the_flow_groups_id() -> None:
    other = str(uuid4())
    assert asked(prefect.PAUSE, job()).url.endswith(f"/api/deployments/{GROUP}/pause_deployment")
    assert asked(prefect.PAUSE, job(flow_group_id=other)).url.endswith(f"/{other}/pause_deployment")
    request = asked(prefect.CREATE, job(flow_group_id=other))
    assert request.url.endswith(f"/api/deployments/{other}/create_flow_run")
    assert json.loads(request.body) == {"idempotency_key": "delivery-1", "tags": ["automation:failures"]}


def test_a_key_is_a_bearer_token_and_user_with_password_are_basic() -> None:
    assert ("Authorization", "Bearer pnu_1") in asked(prefect.PAUSE, job(key="pnu_1")).headers
    (basic,) = [value for name, value in asked(prefect.PAUSE, job(key="admin:pä:s")).headers if name == "Authorization"]
    assert b64decode(basic.removeprefix("Basic ")).decode() == "admin:pä:s"


def test_only_the_operators_own_address_is_asked_and_it_needs_no_leave_to_be_private() -> None:
    for channel in ALL:
        assert asked(channel, job(flow_group_id=GROUP)).trusted
        assert channel.destination(OF_RUN, {}, job().services) == "prefect:prefect.example.com:443"


@pytest.mark.parametrize(
    ("url", "destination"),
    [("http://p:4200/api", "prefect:p:4200"), ("http://p/api", "prefect:p:80"), (None, "prefect:"),
     ("http://[::1", "prefect:"), ("http://p:x/", "prefect:")],
)  # fmt: skip
def test_a_destination_is_host_and_port(url: str | None, destination: str) -> None:
    assert prefect.CANCEL.destination(OF_RUN, {}, job(url=url).services) == destination


@given(st.text(max_size=60) | st.uuids().map(str))
def test_no_id_leads_to_another_address(text: str) -> None:
    for it in (text, f"../{text}", f"{GROUP}/../{text}"):
        for channel in ALL:
            step = begun(channel.exchange(job(OF_RUN._replace(flow_run_id=it), flow_group_id=it)))
            if isinstance(step, Outcome):
                assert step.verdict is Verdict.FINAL
                continue
            assert isinstance(step, Request)
            thing, thing_id, verb = step.url.removeprefix(API).split("/")
            assert str(UUID(thing_id)) == thing_id
            assert (thing, verb) in {("flow_runs", "set_state"), ("deployments", "pause_deployment"),
                                     ("deployments", "create_flow_run")}  # fmt: skip


@given(st.text(max_size=3_000))
def test_any_message_is_one_that_a_server_can_store(message: str) -> None:
    said = json.loads(asked(prefect.CANCEL, job(OF_RUN._replace(message=message))).body)["state"]["message"]
    assert len(said) <= 1_024
    assert "\0" not in said
    said.encode()  # which a half of a pair of surrogates would not let it


@pytest.mark.parametrize(
    ("reply", "verdict", "reason"),
    [
        (answer(201, "CANCELLING", "ACCEPT"), Verdict.DONE, None),
        (answer(201, "CANCELLED", "REJECT"), Verdict.DONE, None),
        (answer(200, "CANCELLING", "REJECT"), Verdict.DONE, "already_cancelling"),
        (answer(200, "COMPLETED", "ABORT"), Verdict.DONE, "already_finished: COMPLETED"),
        (answer(200, "CANCELLED", "ABORT"), Verdict.DONE, "already_finished: CANCELLED"),
        (answer(200, "RUNNING", "WAIT"), Verdict.RETRY, "http_200: still_RUNNING"),
        (answer(200, "A TEXT", "ACCEPT"), Verdict.RETRY, "http_200: answer_unreadable"),
        (Answer(200, b"<html>"), Verdict.RETRY, "http_200: answer_unreadable"),
        (Answer(200, b"[]"), Verdict.RETRY, "http_200: answer_unreadable"),
        (Answer(201, b'{"state": 7}'), Verdict.RETRY, "http_201: answer_unreadable"),
        (Answer(503, b"database is locked", "3"), Verdict.RETRY, "http_503"),
        (Answer(401, b"{}"), Verdict.FINAL, "http_401"),
        (
            Answer(404, b'{"exception_message":"Flow run with id x not found"}'),
            Verdict.FINAL,
            "http_404: no_such_flow_run",
        ),
        (Answer(404, b'{"detail":"Not Found"}'), Verdict.FINAL, "http_404"),
        (Answer(422, b"{}"), Verdict.FINAL, "http_422"),
        (Answer(307, b""), Verdict.FINAL, "http_307"),
        (Failure("timeout"), Verdict.RETRY, "timeout"),
        (Failure("certificate_invalid", final=True), Verdict.FINAL, "certificate_invalid"),
        (MailAnswer({}), Verdict.RETRY, "answer_unreadable"),
    ],
)
def test_what_answers_to_a_cancel_mean(reply: Reply, verdict: Verdict, reason: str | None) -> None:
    found = outcome(prefect.CANCEL, job(), reply)
    assert (found.verdict, found.reason) == (verdict, reason)
    assert found.http_status == (reply.status if isinstance(reply, Answer) else None)
    assert found.retry_after == (reply.retry_after if isinstance(reply, Answer) else None)


def test_a_finished_run_whose_answer_is_too_long_to_be_read_as_a_whole_is_still_finished() -> None:
    body = answer(200, "FAILED", "ABORT", rest="x" * 20_000).body.replace(b": ", b":").replace(b", ", b",")[: 16 * 1024]
    assert outcome(prefect.CANCEL, job(), Answer(200, body)).reason == "already_finished: FAILED"


@pytest.mark.parametrize(
    ("channel", "reply", "expected"),
    [
        (prefect.PAUSE, Answer(200, b"null"), Outcome(Verdict.DONE, None, 200)),
        (prefect.PAUSE, Answer(200, b"<html>"), Outcome(Verdict.RETRY, "http_200: answer_unreadable", 200)),
        (prefect.PAUSE, Answer(404, b""), Outcome(Verdict.FINAL, "http_404", 404)),
        (prefect.CREATE, Answer(201, b'{"id":"x"'), Outcome(Verdict.DONE, None, 201)),
        (prefect.CREATE, Answer(200, b'{"id":"x"'), Outcome(Verdict.DONE, "already_created", 200)),
        (prefect.CREATE, Answer(200, b"<html>"), Outcome(Verdict.RETRY, "http_200: answer_unreadable", 200)),
        (prefect.CREATE, Answer(409, b"{}"), Outcome(Verdict.FINAL, "http_409", 409)),
        (prefect.CREATE, Answer(429, b"", "9"), Outcome(Verdict.RETRY, "http_429", 429, "9")),
    ],
)
def test_what_answers_to_a_pause_and_a_new_run_mean(channel: Channel, reply: Answer, expected: Outcome) -> None:
    assert outcome(channel, job(flow_group_id=GROUP), reply) == expected


@pytest.mark.parametrize("backend", ["prefect1", "prefect3"])
def test_what_is_missing_is_named(backend: str) -> None:
    def without(channel: Channel, it: Job) -> Outcome:
        return outcome(channel, it._replace(services=it.services._replace(prefect_backend=backend)))

    nobody = EVENT._replace(flow_run_id=None, flow_group_id=None)
    for channel in ALL:
        assert without(channel, job(url=None, flow_group_id=GROUP)) == Outcome(Verdict.RETRY, "prefect_api_url_missing")
        assert without(channel, job(key="", flow_group_id=GROUP)) == Outcome(Verdict.RETRY, "secret_missing: KEY")
    assert without(prefect.CANCEL, job(nobody)) == Outcome(Verdict.FINAL, "no_flow_run")
    assert without(prefect.PAUSE, job(nobody)) == Outcome(Verdict.FINAL, "no_flow_group")
    assert without(prefect.CREATE, job(OF_RUN)) == Outcome(Verdict.FINAL, "invalid_config")
    assert without(prefect.CREATE, job(OF_RUN, flow_group_id=7)) == Outcome(Verdict.FINAL, "invalid_config")


def test_the_key_is_the_only_secret_and_is_shown_nowhere() -> None:
    it = job(key="hunter2")
    for channel in ALL:
        assert channel.secret_names({}, it.services) == ("KEY",)
        assert channel.secret_names({}, Services()) == ()
    assert "hunter2" not in repr(asked(prefect.PAUSE, it))
