"""How deliveries end other than at once: muted, redriven, tried out, taken up from the retry topics."""

import json
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from cli.main import run
from schemas.ids import delivery_id
from schemas.records import AutomationEvent
from tests.kafka.actions_world import (
    CODEC,
    by_delivery,
    dead_letters,
    event,
    kept,
    make_topics,
    publish,
    receiving,
    results,
    running,
    until,
    webhook,
)
from topology.settings import Settings
from topology.topics import AUTOMATION_TESTS, AUTOMATIONS, RETRY_1M

pytestmark = pytest.mark.kafka


def put(settings: Settings, topic: str, key: str, value: bytes | None) -> None:
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
    producer.produce(settings.topic(topic), value, key)
    assert producer.flush(10) == 0


def automation(settings: Settings, automation_id: str, *, enabled: bool | None) -> None:
    """Put an automation; ``enabled`` ``None`` deletes it."""
    record = {"id": automation_id, "tenant_id": "tenant", "enabled": enabled}
    value = None if enabled is None else json.dumps(record).encode()
    put(settings, AUTOMATIONS, f"automation:{automation_id}", value)


def of(automation_id: str, event_id: str, url: str) -> AutomationEvent:
    return event(event_id, [webhook("a", url)], run=event_id)._replace(automation_id=automation_id)


def statuses(settings: Settings) -> dict[str, list[str]]:
    found = by_delivery(results(settings))
    return {group[0].event_id: [one.status for one in group] for group in found.values()}


def test_what_waits_of_an_automation_that_is_switched_off_is_muted(settings: Settings, tmp_path: Path) -> None:
    """Disabled or deleted while a retry waits: nothing more is sent, and nothing later when it is on again."""
    make_topics(settings)
    for name in ("kept", "disabled", "deleted", "back"):
        automation(settings, name, enabled=True)
    with receiving() as receiver, running(settings, tmp_path / "log", factor=4):
        receiver.usual = lambda _: 500
        for name in ("kept", "disabled", "deleted", "back"):
            publish(settings, of(name, name, receiver.url("/hook")))
        until(lambda: len(results(settings)) == 4, what="the first attempt of each")
        automation(settings, "disabled", enabled=False)
        automation(settings, "deleted", enabled=None)
        automation(settings, "back", enabled=False)
        automation(settings, "back", enabled=True)
        time.sleep(0.5)  # a bound on what is in flight, not a wait for something to come true
        receiver.usual = lambda _: 200
        asked = len(receiver.received)
        until(lambda: len(statuses(settings)) == 4 and all(s[-1] != "retrying" for s in statuses(settings).values()))
        assert {name: found[-1] for name, found in statuses(settings).items()} == {
            "kept": "succeeded",
            "disabled": "muted",
            "deleted": "muted",
            "back": "muted",
        }
        assert [one.event_id for one in receiver.received[asked:]] == ["kept"]
        publish(settings, of("back", "new", receiver.url("/hook")))
        until(lambda: statuses(settings).get("new") == ["succeeded"], what="what happens later")
        muted = next(one for one in results(settings) if one.status == "muted")
        assert (muted.attempt, muted.error) == (0, "automation_disabled_or_deleted")
        assert dead_letters(settings) == []


def test_longer_waits_pass_in_a_retry_topic_and_survive_a_kill(settings: Settings, tmp_path: Path) -> None:
    make_topics(settings)
    with receiving() as receiver:
        receiver.answers["/hook"] = [500, 503, 429]
        with running(settings, tmp_path / "log", factor=0.2) as first:
            publish(settings, event("e1", [webhook("a", receiver.url("/hook"))]))
            until(lambda: len(kept(settings, RETRY_1M)) == 1, what="the retry record")
            first.kill()
        record = kept(settings, RETRY_1M)[0]
        assert record.headers["delivery-id"] == delivery_id("e1", "a")
        assert record.headers["attempt"] == "3"
        assert record.headers["http-status"] == "429"
        decoded = CODEC.decode_event(record.value)
        assert isinstance(decoded, AutomationEvent)
        assert decoded.id == "e1"
        with running(settings, tmp_path / "log", factor=0.2):
            until(lambda: statuses(settings).get("e1", [""])[-1] == "succeeded", what="the last attempt")
        assert [one.attempt for one in results(settings)] == [1, 2, 3, 4]
        assert receiver.event_ids("/hook") == ["e1"] * 4


def test_a_dead_letter_that_is_redriven_is_delivered_once_with_the_same_id(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_topics(settings)
    monkeypatch.setenv("BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    monkeypatch.setenv("TOPIC_PREFIX", settings.topic_prefix)
    with receiving() as receiver, running(settings, tmp_path / "log", ACTION_MAX_AGE_S="20") as process:
        receiver.usual = lambda _: 410
        publish(settings, event("e1", [webhook("a", receiver.url("/hook")), webhook("b", receiver.url("/other"))]))
        until(lambda: len(dead_letters(settings)) == 2, what="the dead letters")
        receiver.usual = lambda _: 200
        assert run(["dlq", "redrive", "--delivery", delivery_id("e1", "a")]) == 0
        until(lambda: "succeeded" in {one.status for one in results(settings)}, what="the redrive")
        assert run(["dlq", "redrive", "--delivery", delivery_id("e1", "a")]) == 1
        assert receiver.event_ids("/hook") == ["e1", "e1"]
        assert receiver.event_ids("/other") == ["e1"]
        assert process.terminate()[0] == 0
    ends = [(one.action_id, one.status) for one in results(settings)]
    assert sorted(ends) == [("a", "dead"), ("a", "succeeded"), ("b", "dead")]


def test_a_test_is_sent_once_whatever_comes_of_it(settings: Settings, tmp_path: Path) -> None:
    """Also of an automation that is off; a failure is told at once."""
    make_topics(settings)
    automation(settings, "automation", enabled=False)
    with receiving() as receiver, running(settings, tmp_path / "log"):
        receiver.answers["/fails"] = [500]
        for name in ("works", "fails"):
            asked = event(name, [webhook("a", receiver.url(f"/{name}"))])
            put(settings, AUTOMATION_TESTS, name, CODEC.encode_event(asked))
        until(lambda: len(statuses(settings)) == 2, what="both results")
        assert statuses(settings) == {"works": ["succeeded"], "fails": ["dead"]}
        assert len(receiver.received) == 2
