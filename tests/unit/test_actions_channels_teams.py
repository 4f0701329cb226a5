"""What a Teams channel gets to see, of both kinds of webhooks, and what their answers mean."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.channels import teams
from actions.exchange import Answer, Outcome, Request, Verdict
from schemas.records import AutomationEvent
from tests.doubles.http_service import Said, said_json
from tests.doubles.teams import TeamsConnector, TeamsWorkflow, undelivered
from tests.unit.actions_events import EVENT
from tests.unit.conversations import begun, event, held, held_with_server, job

WORKFLOW = "https://prod-1.westeurope.logic.azure.com/workflows/0a1b/triggers/manual/paths/invoke?sig=s"
CONNECTOR = "https://contoso.webhook.office.com/webhookb2/x/IncomingWebhook/y/z"
CONFIG = {"webhook_url_secret": "S"}
LINK = "https://ui.example.com/acme/flow-run/r1"


def posted(url: str, config: dict[str, Any] | None = None, what: AutomationEvent = EVENT) -> Request:
    made = begun(teams.exchange(job(CONFIG | (config or {}), {"S": url}, event=what)))
    assert isinstance(made, Request)
    assert made.url == url
    assert len(made.body) <= teams.MAX_BODY_BYTES
    return made


def card(config: dict[str, Any] | None = None, what: AutomationEvent = EVENT) -> Any:
    """The Adaptive Card that a workflow gets."""
    message = json.loads(posted(WORKFLOW, config, what).body)
    assert message["type"] == "message"
    (attachment,) = message["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    return attachment["content"]


def texts(config: dict[str, Any] | None = None, what: AutomationEvent = EVENT) -> tuple[str, str]:
    title, text = card(config, what)["body"]
    return title["text"], text["text"]


def test_a_workflow_gets_a_card_with_title_message_and_a_way_to_the_run() -> None:
    made = card(what=event(flow_run_link=LINK))
    assert (made["type"], made["version"]) == ("AdaptiveCard", "1.4")
    assert [block["text"] for block in made["body"]] == ["FlowRunStateChangedEvent: failures", EVENT.message]
    assert all(block["wrap"] for block in made["body"])
    assert made["actions"] == [{"type": "Action.OpenUrl", "title": "Open the flow run", "url": LINK}]
    assert "actions" not in card()


def test_an_action_may_have_its_own_title_and_message() -> None:
    shown = texts({"title": "{flow_name}\nis {state}", "message": "**{state}**: [run](https://x)"})
    assert shown == ("etl is Failed", "**Failed**: [run](https://x)")


def test_a_connector_gets_a_message_card() -> None:
    made = json.loads(posted(CONNECTOR, what=event(flow_run_link=LINK)).body)
    assert made["@type"] == "MessageCard"
    assert made["title"] == made["summary"] == "FlowRunStateChangedEvent: failures"
    assert made["text"] == EVENT.message
    assert made["potentialAction"][0]["targets"] == [{"os": "default", "uri": LINK}]


@pytest.mark.parametrize(
    ("url", "connector"),
    [
        (CONNECTOR, True),
        ("https://CONTOSO.webhook.office.com/x", True),
        ("https://outlook.office.com/webhook/x", True),
        (WORKFLOW, False),
        ("https://default0a.1b.environment.api.powerplatform.com:443/powerautomate/x", False),
        ("https://example.com/webhook.office.com", False),
        ("https://evilwebhook.office.com.example.com/", False),
        ("http://[", False),
    ],
)
def test_the_addresss_host_tells_the_kind_of_webhook(url: str, connector: bool) -> None:
    assert teams.is_connector(url) is connector


def test_what_an_event_says_makes_no_link_no_mention_and_no_markup() -> None:
    nasty = event(state_message="[bank](http://evil) <at>all</at> **b** _i_ `c` my_flow_1 &lt; & \\")
    _, text = texts({"message": "{state_message}"}, nasty)
    assert text == r"\[bank\](http://evil) \<at\>all\</at\> \*\*b\*\* \_i\_ \`c\` my_flow_1 \&lt; & \\"
    shown = json.loads(posted(CONNECTOR, {"message": "{state_message}"}, nasty).body)["text"]
    assert "<" not in shown
    assert shown.startswith(r"\[bank\](http://evil) &lt;at&gt;all")


@given(st.text(alphabet="[]()<>\\*_`~&x \n", max_size=40))
def test_no_value_brings_an_unescaped_bracket_to_a_card(value: str) -> None:
    for text in texts({"title": "{state}.", "message": "{state}."}, event(state=value)):
        bare = text.replace("\\\\", "")
        assert all(bare[max(0, place - 1)] == "\\" for place, mark in enumerate(bare) if mark in "[]<>*`")


@pytest.mark.parametrize("url", [WORKFLOW, CONNECTOR])
@pytest.mark.parametrize("what", ["x", "語", "<", '"', "*"])
def test_a_card_that_would_be_too_large_has_its_text_cut(url: str, what: str) -> None:
    long = event(message=what * 60_000, automation_name=what * 4_000)
    body = posted(url, what=long).body
    assert len(body) > teams.MAX_BODY_BYTES - 20
    assert "…" in body.decode()
    posted(url, {"message": "{message}"}, event(message="ends"))


@pytest.mark.parametrize(
    ("answer", "verdict", "reason"),
    [
        (Answer(202), Verdict.DONE, None),
        (Answer(200, b"anything"), Verdict.DONE, None),
        (Answer(204), Verdict.FINAL, "http_204"),
        (
            Answer(400, b'{"error":{"code":"TriggerInputSchemaMismatch","message":"m"}}'),
            Verdict.FINAL,
            "http_400: TriggerInputSchemaMismatch",
        ),
        (Answer(404, b'{"error":{"code":"see https://x"}}'), Verdict.FINAL, "http_404"),
        (Answer(404, b'{"error":"text"}'), Verdict.FINAL, "http_404"),
        (Answer(429), Verdict.RETRY, "http_429"),
        (Answer(502), Verdict.RETRY, "http_502"),
    ],
)
def test_answers_of_workflows(answer: Answer, verdict: Verdict, reason: str | None) -> None:
    _, outcome = held(teams.exchange(job(CONFIG, {"S": WORKFLOW})), answer)
    assert outcome == Outcome(verdict, reason, answer.status)


def failing(status: int) -> bytes:
    return undelivered(status).body.encode()


@pytest.mark.parametrize(
    ("answer", "verdict", "reason"),
    [
        (Answer(200, b"1"), Verdict.DONE, None),
        (Answer(200, failing(429)), Verdict.RETRY, "http_200: http_429"),
        (Answer(200, failing(503)), Verdict.RETRY, "http_200: http_503"),
        (Answer(200, failing(413)), Verdict.FINAL, "http_200: http_413"),
        (Answer(200, failing(403)), Verdict.FINAL, "http_200: http_403"),
        (Answer(200, b"Summary or Text is required."), Verdict.FINAL, "http_200"),
        (Answer(202), Verdict.FINAL, "http_202"),
        (Answer(400, b"Summary or Text is required."), Verdict.FINAL, "http_400"),
        (Answer(410), Verdict.FINAL, "http_410"),
        (Answer(429), Verdict.RETRY, "http_429"),
    ],
)
def test_a_connectors_200_is_success_only_if_its_text_says_so(
    answer: Answer, verdict: Verdict, reason: str | None
) -> None:
    _, outcome = held(teams.exchange(job(CONFIG, {"S": CONNECTOR})), answer)
    assert outcome == Outcome(verdict, reason, answer.status)


async def test_a_workflow_posts_the_card_and_is_asked_again_when_it_is_busy() -> None:
    service = TeamsWorkflow()
    service.tell(Said(429, "", {"Retry-After": "10"}), said_json(404, {"error": {"code": "WorkflowNotFound"}}))
    async with service.serving() as url:
        secrets = {"S": url + TeamsWorkflow.path}
        outcomes = [await held_with_server(teams.exchange(job(CONFIG, secrets))) for _ in range(3)]
        wrong = await held_with_server(teams.exchange(job(CONFIG, {"S": f"{url}/workflows/other"})))
    assert [outcome.reason for outcome in outcomes] == ["http_429", "http_404: WorkflowNotFound", None]
    assert outcomes[0].retry_after == "10"
    assert outcomes[2].http_status == 202
    assert [made["body"][1]["text"] for made in service.cards] == [EVENT.message]
    assert wrong.reason == "http_401: DirectApiAuthorizationRequired"


async def test_a_connector_posts_the_card_and_its_failure_in_a_200_is_none() -> None:
    service = TeamsConnector()
    service.tell(undelivered(429))
    async with service.serving() as url:
        there = url + TeamsConnector.path
        busy, done = [await held_with_server(teams.exchange(job(CONFIG, {"S": CONNECTOR})), there) for _ in range(2)]
        large = event(message="x" * 60_000)
        cut = await held_with_server(teams.exchange(job(CONFIG, {"S": CONNECTOR}, event=large)), there)
    assert (busy.verdict, busy.reason) == (Verdict.RETRY, "http_200: http_429")
    assert done.verdict is cut.verdict is Verdict.DONE
    assert service.cards[0]["text"] == EVENT.message
