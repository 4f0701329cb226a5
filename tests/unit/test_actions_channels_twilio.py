"""Who gets a text message, who is asked again, and who never twice."""

import base64
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.channels import twilio
from actions.channels.channel import Services
from actions.exchange import Answer, Failure, Outcome, Verdict
from tests.doubles.http_service import Said
from tests.doubles.twilio import Twilio, refusal
from tests.unit.actions_events import EVENT
from tests.unit.conversations import begun, event, held, held_with_server, job

NUMBERS = ["+15551230000", "+15551230001", "+15551230002"]
CONFIG = {
    "account_sid": Twilio.sid, "auth_token_secret": "TOKEN", "messaging_service_sid": Twilio.service_sid,
    "phone_numbers": NUMBERS,
}  # fmt: skip
SECRETS = {"TOKEN": Twilio.token}
HAD = Answer(201, b"{}")


def said(told: Said, retry_after: str | None = None) -> Answer:
    return Answer(told.status, told.body.encode(), retry_after)


def texted(*replies: Answer | Failure, left: tuple[int, ...] | None = None) -> tuple[list[str], Outcome]:
    """The numbers asked, and what came of it."""
    asked, outcome = held(twilio.exchange(job(CONFIG, SECRETS, recipients_left=left)), *replies)
    return [parse_qs(request.body.decode())["To"][0] for request in asked], outcome


def test_each_number_is_a_request_to_the_accounts_messages() -> None:
    asked, outcome = held(twilio.exchange(job(CONFIG, SECRETS)), HAD, HAD, HAD)
    assert {request.url for request in asked} == {
        f"https://api.twilio.com/2010-04-01/Accounts/{Twilio.sid}/Messages.json"
    }
    credentials = base64.b64encode(f"{Twilio.sid}:{Twilio.token}".encode()).decode()
    assert all(dict(request.headers)["Authorization"] == f"Basic {credentials}" for request in asked)
    assert all(request.trusted for request in asked)
    assert [parse_qs(request.body.decode()) for request in asked] == [
        {"To": [number], "MessagingServiceSid": [Twilio.service_sid], "Body": [EVENT.message]} for number in NUMBERS
    ]
    assert outcome == Outcome(Verdict.DONE, None, 201, recipients_left=())


def test_only_those_who_are_left_are_asked() -> None:
    assert texted(HAD, left=(2,)) == ([NUMBERS[2]], Outcome(Verdict.DONE, None, 201, recipients_left=()))
    assert texted(HAD, left=(1, 1, 7, -1))[0] == [NUMBERS[1]]
    assert texted(left=()) == ([], Outcome(Verdict.DONE, None, None, recipients_left=()))


def test_a_number_that_is_refused_keeps_no_other_from_it() -> None:
    asked, outcome = texted(said(refusal(400, 21211)), HAD, said(refusal(400, 21610)))
    assert asked == NUMBERS
    assert outcome == Outcome(Verdict.FINAL, "http_400: 21211", 400, None, (0, 2))


def test_while_one_may_still_get_it_there_is_another_attempt_for_all_who_have_not_had_it() -> None:
    _, outcome = texted(said(refusal(400, 21211)), said(refusal(500, 20500), "3"), said(refusal(503, 20503), "20"))
    assert outcome == Outcome(Verdict.RETRY, "http_500: 20500", 500, "20", (0, 1, 2))


@pytest.mark.parametrize(
    ("reply", "verdict", "reason"),
    [
        (said(refusal(429, 20429), "9"), Verdict.RETRY, "http_429: 20429"),
        (said(refusal(400, 20429), "9"), Verdict.RETRY, "http_400: 20429"),
        (said(refusal(401, 20003)), Verdict.FINAL, "http_401: 20003"),
        (said(refusal(404, 20404)), Verdict.FINAL, "http_404: 20404"),
        (Failure("connect_timeout"), Verdict.RETRY, "connect_timeout"),
        (Failure("egress_denied", final=True), Verdict.FINAL, "egress_denied"),
    ],
)
def test_what_would_be_so_for_all_ends_the_attempt(reply: Answer | Failure, verdict: Verdict, reason: str) -> None:
    asked, outcome = texted(HAD, reply)
    assert asked == NUMBERS[:2]
    assert (outcome.verdict, outcome.reason, outcome.recipients_left) == (verdict, reason, (1, 2))


@given(st.lists(st.sampled_from([HAD, said(refusal(400, 21610)), said(refusal(500, 20500))]), min_size=3, max_size=3))
def test_who_has_had_it_is_never_asked_again_and_nobody_is_forgotten(replies: list[Answer]) -> None:
    _, outcome = texted(*replies)
    left = tuple(index for index, reply in enumerate(replies) if reply.status != 201)
    assert outcome.recipients_left == left
    if not left:
        assert outcome.verdict is Verdict.DONE
        return
    again = any(reply.status == 500 for reply in replies)
    assert outcome.verdict is (Verdict.RETRY if again else Verdict.FINAL)
    assert texted(*[HAD] * len(left), left=left)[0] == [NUMBERS[index] for index in left]


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"", "http_400"), (b'{"code":"21211"}', "http_400"), (b'{"code":true}', "http_400"), (b"[1]", "http_400")],
)
def test_an_error_without_a_code_is_told_by_its_status(body: bytes, reason: str) -> None:
    assert texted(Answer(400, body), HAD, HAD)[1].reason == reason


def test_a_200_is_no_message_taken() -> None:
    assert texted(Answer(200), HAD, HAD)[1] == Outcome(Verdict.FINAL, "http_200", 200, None, (0,))


def test_a_message_is_cut_where_twilio_would_refuse_it() -> None:
    asked, _ = held(twilio.exchange(job(CONFIG, SECRETS, event=event(message="é" * 2_000))), HAD, HAD, HAD)
    assert parse_qs(asked[0].body.decode())["Body"] == ["é" * 1_599 + "…"]


def test_numbers_written_before_they_were_checked_are_sent_in_their_normal_form() -> None:
    config = CONFIG | {"phone_numbers": ["+1 555-123-4567", "odd"]}
    asked, _ = held(twilio.exchange(job(config, SECRETS)), HAD, HAD)
    assert [parse_qs(request.body.decode())["To"] for request in asked] == [["+15551234567"], ["odd"]]


@pytest.mark.parametrize("missing", sorted(CONFIG))
def test_a_config_that_lacks_something_is_final(missing: str) -> None:
    config: dict[str, Any] = {name: value for name, value in CONFIG.items() if name != missing}
    assert begun(twilio.exchange(job(config, SECRETS))) == Outcome(Verdict.FINAL, "invalid_config")


def test_a_sid_leads_nowhere_else() -> None:
    (asked, *_), _ = held(twilio.exchange(job(CONFIG | {"account_sid": "../x?y"}, SECRETS)), Answer(401))
    assert asked.url == "https://api.twilio.com/2010-04-01/Accounts/..%2Fx%3Fy/Messages.json"


async def test_over_real_requests_each_number_gets_one_message() -> None:
    service = Twilio(NUMBERS[2])
    service.tell(refusal(429, 20429, **{"Retry-After": "2"}))
    async with service.serving() as url:
        here = Services(twilio_base_url=url)
        busy = await held_with_server(twilio.exchange(job(CONFIG, SECRETS, services=here)))
        service.tell(refusal(500, 20500))
        left = busy.recipients_left
        some = await held_with_server(twilio.exchange(job(CONFIG, SECRETS, services=here, recipients_left=left)))
        left = some.recipients_left
        rest = await held_with_server(twilio.exchange(job(CONFIG, SECRETS, services=here, recipients_left=left)))
    assert busy == Outcome(Verdict.RETRY, "http_429: 20429", 429, "2", (0, 1, 2))
    assert some == Outcome(Verdict.RETRY, "http_500: 20500", 500, None, (0, 2))
    assert rest == Outcome(Verdict.FINAL, "http_400: 21610", 400, None, (2,))
    assert service.messages == [(NUMBERS[1], EVENT.message), (NUMBERS[0], EVENT.message)]


async def test_a_wrong_token_is_final_and_asked_once() -> None:
    service = Twilio()
    async with service.serving() as url:
        made = job(CONFIG, {"TOKEN": "wrong"}, services=Services(twilio_base_url=url))
        outcome = await held_with_server(twilio.exchange(made))
    assert outcome == Outcome(Verdict.FINAL, "http_401: 20003", 401, None, (0, 1, 2))
    assert len(service.paths) == 1
