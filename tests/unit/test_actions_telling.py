"""Each result is told in one log line, in the form and from the level that the operator chose."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

SCRIPT = """
import sys, structlog
from actions.telling import Telling
from schemas.records import ActionResult
from streams.metrics import Metrics
from streams.telemetry import configure_logging
from tests.unit.actions_events import AT_MS, delivery
from tests.unit.test_http_endpoints import LogSettings
configure_logging(LogSettings(sys.argv[1], sys.argv[2]))
telling = Telling(Metrics())
for status, error in (("succeeded", "already \\u2028 cancelled"), ("retrying", "http_503 \\u2028 \\ud800")):
    result = ActionResult("d1", "e1", "a1", "WebhookAction", "au", "t", status, 1, error, 200, AT_MS, AT_MS + 9,
                          destination="hooks.test")
    telling.result(delivery(), result)
telling.closed("https://hooks.test:443", "hooks.test", 30_000)
telling.opened("https://hooks.test:443")
"""


def lines(level: str, log_format: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, level, log_format], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_result_is_one_line_of_json_with_what_an_operator_searches_by() -> None:
    before = datetime.now(UTC)
    succeeded, retrying, closed, opened = map(json.loads, lines("info", "json"))
    assert before <= datetime.fromisoformat(succeeded.pop("timestamp")) <= datetime.now(UTC)
    assert succeeded == {
        "event": "delivery succeeded", "level": "info", "event_id": "e1", "delivery_id": "d1", "automation_id": "au",
        "action_type": "WebhookAction", "attempt": 1, "reason": "already \u2028 cancelled", "destination": "hooks.test",
    }  # fmt: skip
    assert (retrying["event"], retrying["level"]) == ("delivery retrying", "warning")
    assert retrying["reason"] == "http_503 \u2028 \ud800"
    assert (closed["event"], closed["level"], closed["for_s"]) == ("destination closed", "warning", 30)
    assert (opened["event"], opened["level"]) == ("destination open again", "info")


def test_a_level_that_is_off_says_nothing() -> None:
    assert [json.loads(line)["event"] for line in lines("WARNING", "json")] == [
        "delivery retrying", "destination closed"
    ]  # fmt: skip
    assert lines("error", "json") == []


def test_for_people_the_same_lines_are_no_json() -> None:
    said = lines("info", "console")
    assert len(said) == 4
    assert "delivery succeeded" in said[0]
    assert "delivery_id=d1" in said[0]
    with pytest.raises(ValueError, match=r"Expecting value|Extra data"):
        json.loads(said[0])
