"""What holds when runners are killed, asked to leave, or joined by others; and where secrets never show."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.actions_world import (
    committed,
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
from topology.topics import ACTION_RESULTS, AUTOMATION_EVENTS, RETRY_1M

pytestmark = pytest.mark.kafka

CANARY = "c4n4ry-7f3a"


def test_a_killed_runner_loses_nothing_and_repeats_only_what_was_not_committed(
    settings: Settings, tmp_path: Path
) -> None:
    """SIGKILL in the middle of 300 deliveries: each arrives, and only the last moments' arrive twice."""
    make_topics(settings)
    with receiving(delay_s=0.02) as receiver:
        url = receiver.url("/hook")
        events = [event(f"e{n}", [webhook("a", url)], run=f"run-{n % 50}") for n in range(300)]
        with running(settings, tmp_path / "log") as first:
            publish(settings, *events)
            until(lambda: len(receiver.received) >= 120, what="the middle")
            first.kill()
        at_kill = set(receiver.event_ids("/hook"))
        assert len(at_kill) < 300
        done_before = committed(settings)
        assert done_before > 0
        with running(settings, tmp_path / "log"):
            until(lambda: committed(settings) == 300, 40, "the last commit")
        arrived = Counter(receiver.event_ids("/hook"))
        assert set(arrived) == {one.id for one in events}
        repeated = {one for one, times in arrived.items() if times > 1}
        print(f"{len(at_kill)} had arrived, {done_before} were committed, {len(repeated)} were repeated")
        assert repeated <= at_kill
        assert {f"e{n}" for n in range(done_before)} & repeated == set()
        # About 300 deliveries a second, 8 in flight, a commit each 100 ms.
        assert len(repeated) <= 80
        assert max(arrived.values()) <= 2

        def succeeded() -> set[str]:
            return {one.event_id for one in results(settings) if one.status == "succeeded"}

        # What the killed one left open is ended by the brokers at its timeout, and hides later results until then.
        until(lambda: succeeded() == set(arrived), 60, "the results")


def test_sigterm_lets_requests_end_and_leaves_retries_to_the_next_process(settings: Settings, tmp_path: Path) -> None:
    make_topics(settings)
    with receiving(delay_s=1.5) as slow, receiving() as failing:
        failing.answers["/hook"] = [500, 500]
        in_flight = event("in-flight", [webhook("a", slow.url("/hook"))], run="1")
        waiting = event("waiting", [webhook("a", failing.url("/hook"))], run="2")
        with running(settings, tmp_path / "log") as first:
            publish(settings, waiting)
            until(lambda: len(failing.received) == 2, what="a retry")
            publish(settings, in_flight)
            until(lambda: len(slow.received) == 1, what="a request in flight")
            code, took_s = first.terminate()
        assert code == 0
        assert took_s < 10
        before = {(one.event_id, one.status) for one in results(settings)}
        assert ("in-flight", "succeeded") in before
        with running(settings, tmp_path / "log"):
            until(lambda: committed(settings) == 2, 40, "the last commit")
        assert set(failing.event_ids("/hook")) == {"waiting"}
        last = [one for one in results(settings) if one.event_id == "waiting"][-1]
        assert last.status == "succeeded"


def test_an_idle_runner_leaves_at_once_and_commits_what_it_did(settings: Settings, tmp_path: Path) -> None:
    make_topics(settings)
    with receiving() as receiver, running(settings, tmp_path / "log") as process:
        publish(settings, event("e1", [webhook("a", receiver.url("/hook"))]))
        until(lambda: len(receiver.received) == 1, what="the delivery")
        code, took_s = process.terminate()
        assert code == 0
        assert took_s < 5
        assert committed(settings) == 1


def test_runners_that_join_and_leave_share_the_work_and_lose_nothing(settings: Settings, tmp_path: Path) -> None:
    """A rebalance gives partitions over after what was in flight is committed: nothing arrives twice."""
    settings = settings.model_copy(update={"partitions": {**settings.partitions, AUTOMATION_EVENTS: 4}})
    make_topics(settings)
    with receiving(delay_s=0.05) as receiver, running(settings, tmp_path / "log1") as first:
        url = receiver.url("/hook")
        publish(settings, *(event(f"e{n}", [webhook("a", url)], run=f"run-{n % 97}") for n in range(1200)))
        until(lambda: len(receiver.received) >= 100, what="a beginning")
        with running(settings, tmp_path / "log2") as second:
            until(lambda: '"delivery succeeded"' in second.log.read_text(), what="its share")
            until(lambda: len(receiver.received) >= 700, 40, "more")
            assert first.terminate()[0] == 0
            until(lambda: committed(settings) == 1200, 60, "the last commit")
        arrived = Counter(receiver.event_ids("/hook"))
        repeated = sum(times - 1 for times in arrived.values())
        print(f"{repeated} of 1200 were repeated")
        assert len(arrived) == 1200
        # What is done beyond a record in flight is only known to the process that gives the partition up.
        assert repeated <= 16


def test_a_runner_that_was_stopped_past_its_session_writes_nothing_more_and_nothing_is_lost(
    settings: Settings, tmp_path: Path
) -> None:
    """SIGSTOP for 12 s with a session of 6 s: the other takes over, and each delivery has one final result."""
    settings = settings.model_copy(update={"partitions": {**settings.partitions, AUTOMATION_EVENTS: 4}})
    make_topics(settings)
    with (
        receiving(delay_s=0.02) as receiver,
        running(settings, tmp_path / "log1") as first,
        running(settings, tmp_path / "log2") as second,
    ):
        for process in (first, second):
            until(lambda process=process: "partitions assigned" in process.log.read_text(), what="both at work")  # type: ignore[misc]
        url = receiver.url("/hook")
        publish(settings, *(event(f"e{n}", [webhook("a", url)], run=f"run-{n % 97}") for n in range(2000)))
        until(lambda: len(receiver.received) >= 100, what="a beginning")
        first.pause()
        until(lambda: len(set(receiver.event_ids("/hook"))) == 2000, 40, "what the other one takes over")
        first.resume()
        until(lambda: len([one for one in results(settings) if one.status == "succeeded"]) >= 2000, 40, "all results")
        # Asked to leave while it is still finding its place again, it may have to be cut off.
        first.terminate()
        assert second.terminate()[0] == 0
    finals = Counter(one.event_id for one in results(settings))
    assert len(finals) == 2000
    assert set(finals.values()) == {1}
    assert sum(Counter(receiver.event_ids("/hook")).values()) - 2000 <= 128


def test_a_stalled_process_blames_no_receiver(settings: Settings, tmp_path: Path) -> None:
    """Stopped for 3 s with requests under way: it goes on where it was, and nothing waits in a retry topic."""
    make_topics(settings)
    with receiving(delay_s=0.02) as receiver, running(settings, tmp_path / "log") as process:
        url = receiver.url("/hook")
        publish(settings, *(event(f"e{n}", [webhook("a", url)], run=f"run-{n}") for n in range(600)))
        until(lambda: len(receiver.received) >= 50, what="a beginning")
        process.pause()
        publish(settings, *(event(f"f{n}", [webhook("a", url)], run=f"run-{n}") for n in range(600)))
        time.sleep(3)  # the stall itself
        process.resume()
        until(lambda: len(receiver.received) == 1200, 30, "all")
        assert kept(settings, RETRY_1M) == []


def test_two_processes_with_one_instance_id_do_not_fight(settings: Settings, tmp_path: Path) -> None:
    """The one that is shut out ends with exit code 2 and says why."""
    make_topics(settings)
    with running(settings, tmp_path / "log1", INSTANCE_ID="twin") as first:
        until(lambda: "partitions assigned" in first.log.read_text(), what="the first at work")
        with running(settings, tmp_path / "log2", INSTANCE_ID="twin") as second:
            until(lambda: not (first.running and second.running), 40, "the end of one of them")
            ended = second if first.running else first
            assert ended.wait(1) == 2
            assert "another process has INSTANCE_ID=twin" in ended.log.read_text()


def test_a_secrets_value_shows_nowhere(settings: Settings, tmp_path: Path) -> None:
    """Used as an address, missing first, refused, unreachable or malformed: only its name is ever written."""
    make_topics(settings)
    folder = tmp_path / "secrets"
    (folder / "acme").mkdir(parents=True)
    (folder / "MALFORMED").write_text(f"{CANARY} is no address")
    (folder / "USERINFO").write_text(f"http://user:{CANARY}@127.0.0.1/hook")
    (folder / "DENIED").write_text(f"http://10.0.0.1/{CANARY}")
    (folder / "REDIRECT").write_text(f"http://127.0.0.1:1/{CANARY}")
    with receiving() as receiver:
        receiver.answers[f"/gone/{CANARY}"] = [410]
        (folder / "GONE").write_text(receiver.url(f"/gone/{CANARY}"))
        (folder / "acme" / "GOOD").write_text(receiver.url(f"/good/{CANARY}") + "\n")

        def slack(name: str) -> dict[str, object]:
            config = {"webhook_url_secret": name}
            return {
                "id": name, "name": name, "action_type": "SlackNotificationAction", "config": config
            }  # fmt: skip

        names = ["MALFORMED", "USERINFO", "DENIED", "GONE", "GOOD", "LATER", "from.env"]
        env: dict[str, Any] = {
            "SECRETS_DIR": str(folder),
            "SECRET_FROM_ENV": receiver.url(f"/env/{CANARY}"),
            "LOG_LEVEL": "debug",
        }
        with running(settings, tmp_path / "log", **env) as process:
            publish(settings, event("e1", [slack(name) for name in names] + [slack("REDIRECT")]))
            until(lambda: any(one.action_id == "LATER" for one in results(settings)), what="a missing secret")
            (folder / "LATER").write_text(receiver.url(f"/later/{CANARY}"))
            until(lambda: len(receiver.received) == 4, what="all that can arrive")
            until(lambda: sum(one.status == "succeeded" for one in results(settings)) == 3, what="results")
            metrics = process.get("/metrics")
            process.terminate()
        found = {one.action_id: one for one in results(settings)}
        assert {name: found[name].error for name in names} == {
            "MALFORMED": "invalid_url",
            "USERINFO": "credentials_in_url",
            "DENIED": "egress_denied: private",
            "GONE": "http_410",
            "GOOD": None,
            "LATER": None,
            "from.env": None,
        }
        missing = next(one for one in results(settings) if one.action_id == "LATER")
        assert (missing.status, missing.error) == ("retrying", "secret_missing: LATER")
        assert json.dumps(receiver.received[0].body) == '{"text": "Run run-1 failed"}'
        written = [str(kept(settings, topic)) for topic in (ACTION_RESULTS, AUTOMATION_EVENTS)]
        everything = [*written, str(dead_letters(settings)), process.log.read_text(), metrics]
        assert all(everything)
        assert not any(CANARY in text for text in everything)
