"""What an e-mail action sends, to whom, and what the mail server's answers come to."""

from collections.abc import Mapping
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.channels.channel import Job, Services
from actions.channels.email import CHANNEL, MAX_SUBJECT
from actions.exchange import Answer, Failure, Mail, MailAnswer, Outcome, Reply, Verdict
from actions.transport.smtp import Mailer, MailServer
from tests.doubles.smtp_server import SmtpServer
from tests.unit.actions_events import AT_MS, EVENT

SERVICES = Services(smtp_host="mail.test", smtp_port=587, email_from="Automations <ops@sender.test>")
TWO = {"to_emails": ["a@x.test", "b@x.test"]}


def job(config: Mapping[str, Any] = TWO, services: Services = SERVICES, **more: Any) -> Job:
    return Job(EVENT, config, {}, services, "d1", AT_MS, **more)


def run(attempt: Job, *replies: Reply) -> tuple[list[Mail], Outcome]:
    """The mails of an exchange that is answered so, and its outcome."""
    exchange, answers = CHANNEL.exchange(attempt), iter(replies)
    sent: list[Mail] = []
    reply: Reply | None = None
    while True:
        try:
            step = next(exchange) if reply is None else exchange.send(reply)
        except StopIteration as stop:
            return sent, stop.value
        assert isinstance(step, Mail)
        sent.append(step)
        reply = next(answers, MailAnswer({}))


def mail(attempt: Job) -> Mail:
    [one], _ = run(attempt)
    return one


def parsed(one: Mail) -> EmailMessage:
    message = message_from_bytes(one.message, policy=default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def test_without_texts_of_its_own_it_says_what_the_event_says() -> None:
    one = mail(job())
    message = parsed(one)
    assert (one.sender, one.recipients) == ("ops@sender.test", ("a@x.test", "b@x.test"))
    assert message["From"] == "Automations <ops@sender.test>"
    assert message["To"] == "a@x.test, b@x.test"
    assert message["Subject"] == "FlowRunStateChangedEvent: failures"
    assert message["Date"].datetime.isoformat() == "2026-07-01T12:00:00+00:00"
    assert message["Message-ID"] == "<d1@sender.test>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-PREFECT-EVENT-ID"] == "e1"
    assert body(message, "plain") == EVENT.message + "\n"
    assert EVENT.message in body(message, "html")


def test_subject_and_body_are_templates() -> None:
    message = parsed(mail(job({**TWO, "subject": "{flow_name} is {state}", "body": "Run {flow_run_name}.\nSee it."})))
    assert message["Subject"] == "etl is Failed"
    assert body(message, "plain") == "Run r.\nSee it.\n"
    assert "Run r.<br>\nSee it." in body(message, "html")


def test_what_a_value_holds_is_text_in_html_and_links_can_be_clicked() -> None:
    event = EVENT._replace(
        state_message="<script>alert(1)</script> & see https://x.test/a?b=1&c=2, (http://y.test/). javascript:alert(1)"
    )
    html = body(parsed(mail(job({**TWO, "body": "{state_message}"})._replace(event=event))), "html")
    links: list[str | None] = []
    tags: set[str] = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            tags.add(tag)
            links.extend(value for name, value in attributes if name == "href")

    Reader().feed(html)
    assert tags == {"html", "body", "p", "a"}
    assert links == ["https://x.test/a?b=1&c=2", "http://y.test/"]
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    "broken", ["\r\nBcc: evil@x.test\r\n\r\nhello", "\nX: y", "\r", "\u2028a", "\x00\x0b", "\ud800"]
)
def test_a_line_break_in_a_value_makes_no_header(broken: str) -> None:
    event = EVENT._replace(automation_name=f"n{broken}", id=f"e{broken}", message=f"m{broken}")
    one = mail(job()._replace(event=event, delivery_id=f"d{broken}"))
    message = parsed(one)
    assert "Bcc" not in message
    assert "X" not in message
    assert message["Message-ID"].startswith("<d")
    assert one.recipients == ("a@x.test", "b@x.test")


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=40))
def test_any_text_makes_a_message_that_servers_and_readers_take(subject: str, text: str, value: str) -> None:
    """ASCII, short lines that end in CR LF, and the headers that were meant: whatever a person or an event wrote."""
    config = {**TWO, "subject": subject + "{state}", "body": text}
    attempt = job(config)._replace(event=EVENT._replace(state=value, id=value, message=value), delivery_id=value)
    one = mail(attempt)
    assert one.message.isascii()
    assert all(len(line) <= 998 and b"\n" not in line and b"\r" not in line for line in one.message.split(b"\r\n"))
    message = message_from_bytes(one.message, policy=default)
    assert sorted(message.keys()) == sorted(
        ("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-PREFECT-EVENT-ID", "MIME-Version",
         "Content-Type")
    )  # fmt: skip
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert mail(attempt) == one


@pytest.mark.parametrize("body", ["", " \n", "{agent_ids}"])
def test_a_body_that_comes_out_empty_is_the_events_own_message(body: str) -> None:
    sent = parsed(mail(job({**TWO, "body": body})))
    text = sent.get_body(("plain",))
    assert text is not None
    assert text.get_content().strip() == EVENT.message


def test_a_subject_is_cut_where_it_is_too_long() -> None:
    subject = parsed(mail(job({**TWO, "subject": "x" * 5_000})))["Subject"]
    assert len(subject) == MAX_SUBJECT
    assert subject.endswith("…")


def test_all_attempts_have_one_message_id_and_ask_for_those_left_only() -> None:
    later = job(recipients_left=(1,))._replace(now_ms=AT_MS + 60_000)
    first, second = mail(job()), mail(later)
    assert parsed(first)["Message-ID"] == parsed(second)["Message-ID"]
    assert second.recipients == ("b@x.test",)


@pytest.mark.parametrize(
    ("refused", "outcome"),
    [
        ({}, Outcome(Verdict.DONE, recipients_left=())),
        ({1: 550}, Outcome(Verdict.FINAL, "smtp_550", recipients_left=(1,))),
        ({0: 451}, Outcome(Verdict.RETRY, "smtp_451", recipients_left=(0,))),
        ({0: 550, 1: 451}, Outcome(Verdict.RETRY, "smtp_451", recipients_left=(0, 1))),
        ({0: 554, 1: 550}, Outcome(Verdict.FINAL, "smtp_554", recipients_left=(0, 1))),
    ],
)
def test_it_is_done_when_nobody_is_left_and_tried_again_while_that_can_help(
    refused: dict[int, int], outcome: Outcome
) -> None:
    _, found = run(job(), MailAnswer(refused))
    assert found == outcome


def test_places_of_those_left_are_those_of_the_actions_own_list() -> None:
    config = {"to_emails": ["a@x.test", "b@x.test", "c@x.test", "d@x.test"]}
    [one], outcome = run(job(config, recipients_left=(1, 3)), MailAnswer({1: 450}))
    assert one.recipients == ("b@x.test", "d@x.test")
    assert outcome.recipients_left == (3,)


@given(st.lists(st.sampled_from([None, 250, 450, 550]), min_size=1, max_size=6), st.data())
def test_over_all_attempts_everybody_has_it_at_most_once_and_nobody_is_forgotten(
    first: list[int | None], data: st.DataObject
) -> None:
    config = {"to_emails": [f"r{number}@x.test" for number in range(len(first))]}
    had: list[str] = []
    left: tuple[int, ...] | None = None
    for _ in range(4):
        sent, outcome = run(job(config, recipients_left=left), _refusing(first))
        had += [address for place, address in enumerate(sent[0].recipients) if place not in _refusing(first).refused]
        left = outcome.recipients_left
        assert left is not None
        assert sorted([*had, *(f"r{place}@x.test" for place in left)]) == sorted(config["to_emails"])
        if outcome.verdict is not Verdict.RETRY:
            return
        first = data.draw(st.lists(st.sampled_from([None, 450, 550]), min_size=len(left), max_size=len(left)))


def _refusing(codes: list[int | None]) -> MailAnswer:
    return MailAnswer({place: code for place, code in enumerate(codes) if code is not None and code >= 400})


def test_an_attempt_without_answer_leaves_all_who_were_left() -> None:
    _, outcome = run(job(recipients_left=(1,)), Failure("smtp_connect_failed"))
    assert outcome == Outcome(Verdict.RETRY, "smtp_connect_failed", recipients_left=(1,))
    _, outcome = run(job(), Answer(200))
    assert outcome == Outcome(Verdict.RETRY, "answer_unreadable", recipients_left=(0, 1))


def test_what_the_operator_has_not_set_yet_is_waited_for() -> None:
    assert run(job(services=Services())) == ([], Outcome(Verdict.RETRY, "smtp_host_missing"))
    assert run(job(services=Services(smtp_host="m"))) == ([], Outcome(Verdict.RETRY, "email_from_missing"))


@pytest.mark.parametrize("config", [{}, {"to_emails": []}, {"to_emails": "a@x.test"}])
def test_a_config_without_addresses_is_final(config: dict[str, Any]) -> None:
    assert run(job(config)) == ([], Outcome(Verdict.FINAL, "invalid_config"))


def test_who_has_no_address_is_left_out_and_the_others_have_it() -> None:
    config = {"to_emails": ["a@x.test", 7, "no address", "b@x.test\r\nRCPT TO:<evil@x.test>", "@", "c@x..\ud800"]}
    [one], outcome = run(job(config))
    assert one.recipients == ("a@x.test",)
    assert outcome == Outcome(Verdict.FINAL, "invalid_recipient", recipients_left=(1, 2, 3, 4, 5))


def test_a_domain_beyond_ascii_goes_in_its_ascii_form_and_a_name_in_a_message_of_its_own() -> None:
    config = {"to_emails": ["ops@bücher.test", "jörg@x.test"]}
    sent, outcome = run(job(config), MailAnswer({}), Failure("smtp_utf8_unsupported", final=True))
    assert [one.recipients for one in sent] == [("ops@xn--bcher-kva.test",), ("jörg@x.test",)]
    assert sent[0].message.isascii()
    assert parsed(sent[1])["To"] == "jörg@x.test"
    assert outcome == Outcome(Verdict.FINAL, "smtp_utf8_unsupported", recipients_left=(1,))


def test_the_mail_server_is_the_destination_and_no_secret_is_the_actions_own() -> None:
    assert CHANNEL.destination(EVENT, TWO, SERVICES) == "smtp:mail.test:587"
    assert CHANNEL.secret_names(TWO, SERVICES) == ()


async def test_a_real_server_takes_it_from_whom_it_refused_at_first_with_the_same_id() -> None:
    """Two attempts: one recipient is refused for now, and has it by the second."""
    async with SmtpServer(refuses={"b@x.test": "451 4.2.1 greylisted"}) as server:
        mailer = Mailer(MailServer("127.0.0.1", server.port, starttls=False), lambda _: None)
        left: tuple[int, ...] | None = None
        verdicts = []
        for _ in range(2):
            exchange = CHANNEL.exchange(job({**TWO, "subject": "Grüße {flow_name}"}, recipients_left=left))
            step = next(exchange)
            assert isinstance(step, Mail)
            with pytest.raises(StopIteration) as stop:
                exchange.send(await mailer.send(step))
            verdicts.append(stop.value.value.verdict)
            left = stop.value.value.recipients_left
            server.refuses.clear()
    assert verdicts == [Verdict.RETRY, Verdict.DONE]
    assert [taken.recipients for taken in server.taken] == [["a@x.test"], ["b@x.test"]]
    assert {taken.message["Message-ID"] for taken in server.taken} == {"<d1@sender.test>"}
    assert server.taken[0].message["Subject"] == "Grüße etl"


async def test_a_real_server_takes_international_addresses() -> None:
    config = {"to_emails": ["jörg@bücher.test"], "body": "Grüße"}
    async with SmtpServer() as server:
        mailer = Mailer(MailServer("127.0.0.1", server.port, starttls=False), lambda _: None)
        assert await mailer.send(mail(job(config))) == MailAnswer({})
    assert server.taken[0].recipients == ["jörg@xn--bcher-kva.test"]
