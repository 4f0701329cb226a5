"""What probes and Prometheus can rely on."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from streams.http_endpoints import Endpoints
from streams.metrics import ACTIONS, COMMIT_SECONDS, LAG_RECORDS, METRICS, Metrics
from streams.telemetry import librdkafka_logger


class State:
    """What the probes of a test say."""

    health: str | None = None
    readiness: str | None = None


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def endpoints(state: State, metrics: Metrics) -> Iterator[Endpoints]:
    served = Endpoints(0, metrics.registry, lambda: state.health, lambda: state.readiness, host="127.0.0.1")
    served.start()
    yield served
    served.stop()


def get(endpoints: Endpoints, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{endpoints.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_healthy_and_ready_service_answers_200(endpoints: Endpoints) -> None:
    assert get(endpoints, "/healthz") == (200, "ok\n")
    assert get(endpoints, "/readyz") == (200, "ok\n")


def test_a_reason_is_told_with_503_and_goes_away_again(endpoints: Endpoints, state: State) -> None:
    state.health, state.readiness = "the loop stands still", "partition 3 is being restored"
    assert get(endpoints, "/healthz") == (503, "the loop stands still\n")
    assert get(endpoints, "/readyz") == (503, "partition 3 is being restored\n")
    state.health = state.readiness = None
    assert get(endpoints, "/readyz")[0] == 200


def test_metrics_are_served_under_their_names(endpoints: Endpoints, metrics: Metrics) -> None:
    metrics[ACTIONS].labels("WebhookAction", "succeeded").inc()
    metrics[LAG_RECORDS].labels("flow-run-state", "3").set(7)
    metrics[COMMIT_SECONDS].observe(0.02)
    status, text = get(endpoints, "/metrics?x=1")
    assert status == 200
    assert 'automations_actions_total{action_type="WebhookAction",status="succeeded"} 1.0' in text
    assert 'automations_lag_records{partition="3",topic="flow-run-state"} 7.0' in text
    assert "automations_commit_seconds_count 1.0" in text
    assert all(f"# HELP {spec.name}" in text for spec in METRICS)


def test_another_path_is_404_and_says_what_there_is(endpoints: Endpoints) -> None:
    status, text = get(endpoints, "/")
    assert status == 404
    assert "/healthz" in text


def test_a_stopped_server_frees_its_port(metrics: Metrics) -> None:
    first = Endpoints(0, metrics.registry, lambda: None, lambda: None, host="127.0.0.1")
    first.start()
    first.stop()
    second = Endpoints(first.port, metrics.registry, lambda: None, lambda: None, host="127.0.0.1")
    second.stop()
    assert second.port == first.port


def test_every_metric_has_a_help_text_and_one_name() -> None:
    assert all(spec.help.endswith(".") and spec.name.startswith("automations_") for spec in METRICS)
    assert len({spec.name for spec in METRICS}) == len(METRICS)


class LogSettings(NamedTuple):
    log_level: str
    log_format: str


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_log_entry_is_one_line_on_stderr_without_the_values_of_a_traceback(log_format: str) -> None:
    script = f"""
import logging, structlog
from streams.telemetry import configure_logging
from tests.unit.test_http_endpoints import LogSettings
configure_logging(LogSettings("info", {log_format!r}))
log = structlog.get_logger()
log.debug("unseen")
log.info("delivered", event_id="e1")
logging.getLogger("library").warning("heard %s", "too")
def fail(secret):
    raise ValueError("it failed")
try:
    fail("c4n4ry")
except ValueError:
    log.exception("broken")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert "unseen" not in done.stderr
    assert "e1" in done.stderr
    assert "heard too" in done.stderr
    assert "ValueError: it failed" in done.stderr
    assert 'secret="c4n4ry"' not in done.stderr
    assert "secret = 'c4n4ry'" not in done.stderr
    if log_format == "json":
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert [line["event"] for line in lines] == ["delivered", "heard too", "broken"]
        assert [line["level"] for line in lines] == ["info", "warning", "error"]
        assert logging.getLevelNamesMapping()[lines[0]["level"].upper()] == logging.INFO


def test_what_librdkafka_repeats_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    logger = librdkafka_logger()
    for number in range(20):
        logger.error(
            "FAIL [rdkafka#consumer-1] [thrd:127.0.0.1:9092/1]: Connect to the broker's address failed %d",
            number,
        )
    logger.error("another")
    assert len(caplog.records) == 2
    assert librdkafka_logger().filters == logger.filters
