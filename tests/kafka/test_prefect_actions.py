"""Runs that are late, on a real Prefect server: what the three actions do there."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from actions.channels import prefect
from actions.channels.channel import Channel, Job, Services
from actions.exchange import Outcome, Request, Verdict
from actions.transport.egress import egress_policy
from actions.transport.sender import Sender
from schemas.records import SCHEDULED_NOT_STARTED, STARTED_NOT_FINISHED
from tests.kafka.actions_world import results, running
from tests.kafka.consumer_process import consumers, until
from tests.kafka.consumer_world import make_topics, put_control, put_states, sla, state
from tests.prefect_server import KEY, PrefectServer, prefect_server
from tests.unit.actions_events import EVENT
from topology.settings import Settings

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("prefect")) as started:
        yield started


def act(server: PrefectServer, channel: Channel, *, run: str | None = None, key: str = KEY, **config: Any) -> Outcome:
    """Do an action on the server as the runner does, with nothing private allowed."""
    delivery_id = config.pop("delivery_id", "d1")
    services = Services(prefect_api_url=server.url, prefect_api_key_secret="PREFECT")
    assert channel.secret_names(config, services) == ("PREFECT",)
    event = EVENT._replace(flow_run_id=run, flow_group_id=None)
    return asyncio.run(_exchanged(channel, Job(event, config, {"PREFECT": key}, services, delivery_id, 0)))


async def _exchanged(channel: Channel, job: Job) -> Outcome:
    exchange = channel.exchange(job)
    async with Sender(egress_policy(())) as sender:
        try:
            step = next(exchange)
            while True:
                assert isinstance(step, Request)
                step = exchange.send(await sender.send(step))
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome


@pytest.fixture(scope="module")
def deployment(server: PrefectServer) -> str:
    return server.deployment("etl")


def test_a_running_run_is_cancelled_with_the_actions_message_and_only_once(
    server: PrefectServer, deployment: str
) -> None:
    run = server.run(deployment, "RUNNING")
    assert act(server, prefect.CANCEL, run=run, message="{flow_run_name} took too long") == Outcome(
        Verdict.DONE, None, 201
    )
    assert server.state(run) == ("CANCELLING", "r took too long")
    assert act(server, prefect.CANCEL, run=run, message="again") == Outcome(Verdict.DONE, "already_cancelling", 200)
    assert server.state(run) == ("CANCELLING", "r took too long")


def test_a_run_without_a_message_of_the_action_gets_the_events_own(server: PrefectServer, deployment: str) -> None:
    run = server.run(deployment, "PENDING")
    assert act(server, prefect.CANCEL, run=run).verdict is Verdict.DONE
    assert server.state(run) == ("CANCELLING", EVENT.message)


def test_a_run_that_has_not_started_is_cancelled_at_once(server: PrefectServer, deployment: str) -> None:
    run = server.run(deployment, "SCHEDULED")
    assert act(server, prefect.CANCEL, run=run) == Outcome(Verdict.DONE, None, 201)
    assert server.state(run)[0] == "CANCELLED"
    assert act(server, prefect.CANCEL, run=run) == Outcome(Verdict.DONE, "already_finished: CANCELLED", 200)


@pytest.mark.parametrize("finished", ["COMPLETED", "FAILED", "CRASHED"])
def test_a_run_that_is_over_stays_as_it_ended(server: PrefectServer, deployment: str, finished: str) -> None:
    run = server.run(deployment, "RUNNING")
    server.set_state(run, finished)
    assert act(server, prefect.CANCEL, run=run) == Outcome(Verdict.DONE, f"already_finished: {finished}", 200)
    assert server.state(run)[0] == finished


def test_a_run_or_deployment_that_is_gone_is_final(server: PrefectServer) -> None:
    gone = str(uuid4())
    assert act(server, prefect.CANCEL, run=gone) == Outcome(Verdict.FINAL, "http_404: no_such_flow_run", 404)
    for channel in (prefect.PAUSE, prefect.CREATE):
        found = act(server, channel, flow_group_id=gone)
        assert found == Outcome(Verdict.FINAL, "http_404: no_such_deployment", 404)


def test_an_address_that_is_not_the_api_s_is_told_from_a_run_that_is_gone(server: PrefectServer) -> None:
    elsewhere = PrefectServer(0)
    elsewhere.url = server.url.removesuffix("/api")
    assert act(elsewhere, prefect.CANCEL, run=str(uuid4())) == Outcome(Verdict.FINAL, "http_404", 404)


def test_a_wrong_key_is_final_and_changes_nothing(server: PrefectServer, deployment: str) -> None:
    run = server.run(deployment, "RUNNING")
    for key in ("admin:wrong", "a-bearer-key"):
        assert act(server, prefect.CANCEL, run=run, key=key) == Outcome(Verdict.FINAL, "http_401", 401)
    assert server.state(run)[0] == "RUNNING"


def test_a_deployment_is_paused_also_when_it_is_asked_twice(server: PrefectServer) -> None:
    deployment = server.deployment("nightly")
    for _ in range(2):
        assert act(server, prefect.PAUSE, flow_group_id=deployment) == Outcome(Verdict.DONE, None, 200)
        assert server.call("GET", f"deployments/{deployment}")["paused"] is True


def test_one_delivery_starts_one_run_however_often_it_is_tried(server: PrefectServer) -> None:
    deployment = server.deployment("repair", tags=["own"])
    assert act(server, prefect.CREATE, flow_group_id=deployment) == Outcome(Verdict.DONE, None, 201)
    again = act(server, prefect.CREATE, flow_group_id=deployment)
    assert again == Outcome(Verdict.DONE, "already_created", 200)
    (run,) = server.runs_of(deployment)
    assert run["state_type"] == "SCHEDULED"
    assert sorted(run["tags"]) == ["automation:failures", "own"]
    assert act(server, prefect.CREATE, flow_group_id=deployment, delivery_id="d2").verdict is Verdict.DONE
    assert len(server.runs_of(deployment)) == 2


def cancelling(automation_id: str) -> dict[str, Any]:
    return {
        "id": f"cancel-{automation_id}", "tenant_id": "t", "tenant_slug": "t-slug", "name": "cancel that run",
        "action_type": "CancelFlowRunAction", "config": {"message": "{kind} after {duration_seconds} s"},
        "created": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def test_late_runs_are_cancelled_and_one_in_time_goes_on(
    kafka: str, settings: Settings, server: PrefectServer, tmp_path: Path
) -> None:
    """The documentation's example: cancel runs that don't finish in time, and those that don't start in time."""
    deployment = server.deployment("example")
    slow, stuck, quick = (server.run(deployment, kind) for kind in ("RUNNING", "SCHEDULED", "RUNNING"))
    make_topics(settings)
    for automation_id in ("slow", "stuck"):
        action = cancelling(automation_id)
        put_control(settings, [(f"action:{action['id']}", action)])
    put_control(settings, sla("slow", "NF", 3, action_ids=["cancel-slow"]))
    put_control(settings, sla("stuck", "NS", 3, action_ids=["cancel-stuck"]))
    prefect_env: dict[str, Any] = {
        "PREFECT_API_URL": server.url, "PREFECT_API_KEY_SECRET": "PREFECT", "SECRET_PREFECT": KEY,
        "PREFECT_BACKEND": "prefect3", "EGRESS_ALLOW": "",
    }  # fmt: skip
    with (
        consumers(settings, tmp_path) as fleet,
        running(settings, tmp_path / "actions.log", **prefect_env),
    ):
        fleet.start(GRACE_MS="500").ready()
        put_states(
            settings,
            state(slow, 1, "Running"),
            state(stuck, 1, "Scheduled"),
            state(quick, 1, "Running"),
            state(quick, 2, "Success"),
        )
        server.set_state(quick, "COMPLETED")
        until(lambda: server.state(slow)[0] == "CANCELLING", 60, "the slow run is cancelled")
        until(lambda: server.state(stuck)[0] == "CANCELLED", 60, "the stuck run is cancelled")
        until(lambda: len(results(settings)) >= 2, 30, "there is a result of each")
    assert server.state(slow) == ("CANCELLING", f"{STARTED_NOT_FINISHED} after 3 s")
    assert server.state(quick)[0] == "COMPLETED"
    found = {result.flow_run_id: result for result in results(settings)}
    assert set(found) == {slow, stuck}, f"{SCHEDULED_NOT_STARTED} and {STARTED_NOT_FINISHED}, one each"
    for result in found.values():
        assert (result.status, result.attempt, result.error, result.http_status) == ("succeeded", 1, None, 201)
        assert result.action_type == "CancelFlowRunAction"
        assert result.destination == "127.0.0.1"
