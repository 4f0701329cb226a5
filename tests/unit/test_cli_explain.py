"""What a person reads, and a program gets, when a run or an agent config is explained."""

import json
from typing import Any

import pytest

from cli.explain_agent_lines import config_lines
from cli.explain_json import config_json, run_json
from cli.explain_lines import Line, run_lines
from cli.explain_sources import Span
from cli.explain_words import Clock, span_text
from cli.explained import ConfigFound, Delivery, EventFound, RunFound
from cli.main import run
from schemas.ids import delivery_id
from schemas.records import ActionResult
from streams.position import POSITION_KEY, decode
from tests.scenarios.explaining import app_of, driven, explained, explained_configs
from tests.scenarios.world import World
from topology.names import AGENT_HEARTBEAT, FLOW_RUN_STATE

DAY_S = 86_400
"""The stories begin a day after 1970, so that a time of theirs has a date."""


def found_of(world: World, end: float, run_id: str = "r") -> RunFound:
    """A run as it is found on the topics after a story's end; its events are there, one delivery succeeded."""
    driver = driven(world.history(end), world.rules)
    told = explained(driver)["t", run_id]
    log = driver.logs[FLOW_RUN_STATE, 0]
    events = {event.id: EventFound(event, [delivered(event.id)]) for event in told.events}
    span = Span("flow-run-state", 0, 0, len(log.records), log.records[0].log_ms, cut=False)
    position = decode(log.changelog[POSITION_KEY])
    timing = app_of(driver).options.timing
    return RunFound(run_id, "group", timing, span, "changelog", position, [told], [], events)


def delivered(event_id: str) -> Delivery:
    own_id = delivery_id(event_id, "page")
    result = ActionResult(
        own_id, event_id, "page", "SlackNotificationAction", "NF", "t", "succeeded", 2, None, 200, 0, 90_000_000,
        destination="hooks.slack.com",
    )  # fmt: skip
    return Delivery(own_id, "page", "tell", "SlackNotificationAction", [result])


def text_of(lines: Any) -> str:
    shown: list[Line] = list(lines)
    return "\n".join(" ".join(text for text, _ in line) for line in shown)


def world() -> World:
    return World(partitions=1).on_failed(DAY_S, name="failures").sla("NF", DAY_S).sla("NS", DAY_S)


def test_the_answer_comes_first_then_what_it_rests_on() -> None:
    story = world().state(DAY_S + 100, "Running", 1).state(DAY_S + 161, "Failed", 2, message="KeyError\n'amount'")
    found = found_of(story, DAY_S + 1_000)
    failed, late = found.events
    assert text_of(run_lines(found)) == (
        f"""run etl/run r (r) of tenant t-slug
now v2 Failed; 2 fired, 0 not judged yet, 1 automation did not fire
judged by group up to 1970-01-02T00:16:40.000Z
times are UTC, of 1970-01-02 where no date is given

FIRED
  NF (not finished within 1 min)
    v1 Running at 00:01:40.000 + 1 min: v2 Failed occurred 00:02:41.000, 1 s too late
    event {late} detected at 00:02:41.000
    tell (SlackNotificationAction): succeeded at 01:00:00.000 attempt 2 to hooks.slack.com HTTP 200
  failures (enters Failed)
    the run entered v2 Failed at 00:02:41.000
    event {failed} detected at 00:02:41.000
    tell (SlackNotificationAction): succeeded at 01:00:00.000 attempt 2 to hooks.slack.com HTTP 200

DID NOT FIRE
  NS (not started within 1 min)
    no record of the run waits to be started

RECORDS in flow-run-state[0], searched from 00:01:40.000, at their log times
  00:01:40.000 v1 Running offset 0 occurred then
  00:02:41.000 v2 Failed offset 1 occurred then "KeyError 'amount'"

DEADLINES that the records arm, whatever is asked of them
  not finished from 00:01:40.000, by v1 Running met after 1 min 1 s by v2 Failed"""
    )


@pytest.mark.parametrize(
    ("story", "end", "sentence"),
    [
        (world().state(DAY_S + 100, "Running", 1), 1_000, "nothing had met it by 00:02:40.000 and 2 s of grace"),
        (world().state(DAY_S + 100, "Running", 1), 120, "judged once the consumer has read past 00:02:42.000"),
        (
            world().state(DAY_S + 100, "Running", 1).state(DAY_S + 130, "Success", 2), 1_000,
            "in time: v2 Success occurred 00:02:10.000, 30 s before the limit, 00:02:40.000",
        ),
        (
            world().state(DAY_S + 100, "Running", 1, at=DAY_S - 20).state(DAY_S + 130, "Success", 2), 1_000,
            "occurred at its log time: its timestamp 1970-01-01 23:59:40.000 is 2 min behind it, more than 10 s",
        ),
        (
            world().state(DAY_S + 100, "Running", 1).sla("NF", DAY_S + 130, enabled=False), 1_000,
            "it was disabled from 00:02:10.000 on",
        ),
        (
            world().state(DAY_S + 100, "Running", 1).sla("NF", DAY_S + 130, enabled=False), 140,
            "as things stand it will not fire: it was disabled from 00:02:10.000 on",
        ),
        (
            World(partitions=1).state(DAY_S + 100, "Running", 1).sla("NF", DAY_S + 200), 1_000,
            "it was made 40 s later, at 00:03:20.000",
        ),
        (
            World(partitions=1).state(DAY_S + 100, "Failed", 1).on_failed(DAY_S + 150), 1_000,
            "v1 Failed at 00:01:40.000: it was made 50 s later, at 00:02:30.000",
        ),
        (
            world().state(DAY_S + 150, "Running", 3).state(DAY_S + 151, "Running", 1, at=DAY_S + 148)
            .state(DAY_S + 209, "Success", 4), 1_000,
            "v3 Running at 00:02:30.000 + 1 min: v1 Running came and put another deadline in its place",
        ),
        (
            World(partitions=1).sla("NF", DAY_S, groups=["other"]).state(DAY_S + 100, "Running", 1), 1_000,
            "it does not cover the run's flow group, g",
        ),
        (
            world().state(DAY_S + 100, "Running", 1).state(DAY_S + 101, "Running", 1), 1_000,
            "v1 Running offset 1 occurred then duplicate, changes nothing",
        ),
        (world().state(DAY_S + 100, "Running", 1), 1_000, "failures (enters Failed)\n    the run only entered Running"),
    ],
)  # fmt: skip
def test_each_reason_is_a_sentence(story: World, end: float, sentence: str) -> None:
    shown = text_of(run_lines(found_of(story, DAY_S + end)))
    assert sentence in shown


def test_an_event_that_is_not_on_its_topic_is_told() -> None:
    found = found_of(world().state(DAY_S + 100, "Running", 1), DAY_S + 1_000)
    assert "retention has deleted it, or GRACE_MS" in text_of(run_lines(found._replace(events={})))


def test_an_event_that_the_settings_given_do_not_explain_is_told() -> None:
    found = found_of(world().state(DAY_S + 100, "Running", 1), DAY_S + 1_000)
    (event,) = found.events.values()
    more = {**found.events, "e2": event._replace(event=event.event._replace(id="e2"))}
    shown = text_of(run_lines(found._replace(events=more)))
    assert "event e2 of NF is on its topic, but these settings and records do not give it" in shown


def test_a_partition_that_no_consumer_has_read_is_told() -> None:
    found = found_of(world().state(DAY_S + 100, "Running", 1), DAY_S + 1_000)
    assert "has never read flow-run-state[0]: nothing is judged" in text_of(run_lines(found._replace(position=None)))


def test_programs_get_the_same_as_json() -> None:
    story = world().state(DAY_S + 100, "Running", 1)
    answer = json.loads(json.dumps(run_json(found_of(story, DAY_S + 1_000))))
    (deadline,) = answer["runs"][0]["deadlines"]
    (verdict,) = deadline["verdicts"]
    assert (verdict["automation_name"], verdict["fired"], verdict["reason"]) == ("NF", True, "fired_by_silence")
    assert (deadline["base"], verdict["deadline"]) == ("1970-01-02T00:01:40.000Z", "1970-01-02T00:02:40.000Z")
    assert verdict["event_id"] == answer["events"][0]["id"]
    assert answer["events"][0]["deliveries"][0]["results"][0]["status"] == "succeeded"
    assert answer["judged_up_to"] == "1970-01-02T00:16:40.000Z"


def agents_found(story: World, end: float) -> ConfigFound:
    driver = driven(story.history(end), story.rules)
    config = explained_configs(driver)["t", "c"]
    log = driver.logs[AGENT_HEARTBEAT, 0]
    events = {event.id: EventFound(event, []) for event in config.events}
    span = Span("agent-heartbeat", 0, 0, len(log.records), None, cut=False)
    timing = app_of(driver).options.timing
    return ConfigFound("c", "group", timing, span, "changelog", decode(log.changelog[POSITION_KEY]), [config], events)


def test_falls_and_agents_are_told_with_what_ended_them() -> None:
    story = World(partitions=1).agents(DAY_S).beat(DAY_S + 400).beat(DAY_S + 410).beat(DAY_S + 711, "b")
    shown = text_of(config_lines(agents_found(story, DAY_S + 900)))
    assert "AGENTS (at least 1 healthy, each within 5 min)" in shown
    assert "00:05:00.000 too few are healthy: FIRED (healthy: none) restored at 00:06:40.000 by a" in shown
    assert (
        "not fired: a heartbeat came within the grace of 2 s (healthy: none; silent: a) restored at 00:11:51.000"
        in shown
    )
    assert "now: enough are healthy; without another heartbeat that ends at 00:16:51.000" in shown
    assert "a 2 heartbeats, 00:06:40.000 to 00:06:50.000, 8 min 10 s before that" in shown


def test_agents_as_json_have_their_falls_and_silences() -> None:
    story = World(partitions=1).agents(DAY_S).beat(DAY_S + 10).beat(DAY_S + 400).beat(DAY_S + 401, at=DAY_S + 400)
    answer = json.loads(json.dumps(config_json(agents_found(story, DAY_S + 600))))
    (config,) = answer["configs"]
    (agent,) = config["agents"]
    assert (agent["heartbeats"], agent["repeats"]) == (2, 1)
    assert agent["silences"] == [{"from": "1970-01-02T00:00:10.000Z", "to": "1970-01-02T00:06:40.000Z"}]
    (fall,) = config["automations"][0]["falls"]
    assert (fall["instant"], fall["reason"], fall["restored_by"]) == ("1970-01-02T00:05:10.000Z", "fired", "a")


@pytest.mark.parametrize("arguments", [[], ["--run", "r", "--agent-config", "c"], ["--run", "r", "--since", "soon"]])
def test_one_subject_has_to_be_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", *arguments, "--bootstrap-servers", "localhost:1"]) == 2
    assert "--run ID or --agent-config ID" in (error := capsys.readouterr().err) or "--since" in error


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [
        (0, "0 s"), (120, "0.120 s"), (1_000, "1 s"), (12_400, "12.4 s"), (60_000, "1 min"), (200_000, "3 min 20 s"),
        (7_500_000, "2 h 5 min"), (273_600_000, "3 d 4 h"), (40 * 86_400_000, "40 d"), (-500, "0.500 s"),
    ],
)  # fmt: skip
def test_lengths_of_time_are_told_in_units_that_people_use(span_ms: int, text: str) -> None:
    assert span_text(span_ms) == text


def test_times_of_another_day_have_their_date() -> None:
    clock = Clock(DAY_S * 1000 + 5)
    assert clock.text(DAY_S * 1000 + 61_001) == "00:01:01.001"
    assert clock.text(2 * DAY_S * 1000) == "1970-01-03 00:00:00.000"
