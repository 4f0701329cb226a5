"""Whose deliveries are held back: those of automations that are off, or have been since."""

import json
from typing import Any

import pytest

from actions.mutes import Mutes
from schemas.records import AutomationEvent
from tests.unit.actions_events import EVENT

DETECTED = EVENT.detected_at
KEY = b"automation:au"


def record(**fields: Any) -> bytes:
    return json.dumps({"id": "au", **fields}).encode()


def muted(mutes: Mutes, event: AutomationEvent) -> bool:
    return mutes.muted(event, event.detected_at)


def test_what_nothing_was_read_of_is_not_muted() -> None:
    mutes = Mutes()
    assert not muted(mutes, EVENT)
    mutes.apply(b"automation:other", record(enabled=False), DETECTED + 1)
    mutes.apply(b"action:au", record(enabled=False), DETECTED + 1)
    mutes.apply(None, None, DETECTED + 1)
    mutes.apply(b"\xff", b"\xff", DETECTED + 1)
    assert not muted(mutes, EVENT)


@pytest.mark.parametrize("value", [record(enabled=False), None], ids=["disabled", "deleted"])
def test_off_mutes_also_what_was_detected_before_and_after(value: bytes | None) -> None:
    mutes = Mutes()
    mutes.apply(KEY, value, DETECTED + 10)
    assert muted(mutes, EVENT)
    assert muted(mutes, EVENT._replace(detected_at=DETECTED + 20))


def test_on_again_older_events_stay_muted_and_newer_ones_are_not() -> None:
    mutes = Mutes()
    mutes.apply(KEY, record(enabled=False), DETECTED + 10)
    mutes.apply(KEY, record(enabled=True), DETECTED + 20)
    assert muted(mutes, EVENT)
    assert not muted(mutes, EVENT._replace(detected_at=DETECTED + 30))
    mutes.apply(KEY, None, DETECTED + 40)
    assert muted(mutes, EVENT._replace(detected_at=DETECTED + 50))


def test_changed_but_on_all_the_time_is_not_muted() -> None:
    mutes = Mutes()
    mutes.apply(KEY, record(enabled=True), DETECTED - 10)
    mutes.apply(KEY, record(name="new"), DETECTED + 10)
    assert not muted(mutes, EVENT)


def test_off_before_the_event_and_on_again_before_it_is_not_muted() -> None:
    mutes = Mutes()
    mutes.apply(KEY, record(enabled=False), DETECTED - 20)
    mutes.apply(KEY, record(enabled=True), DETECTED - 10)
    assert not muted(mutes, EVENT)


@pytest.mark.parametrize(
    "value", [b"", b"no json", b"[]", b"\xff", b'{"enabled": "no"}', b'{"enabled": null}', b"[" * 100_000]
)
def test_a_record_that_can_not_be_read_changes_nothing(value: bytes) -> None:
    on, off = Mutes(), Mutes()
    off.apply(KEY, record(enabled=False), DETECTED + 10)
    for mutes in (on, off):
        mutes.apply(KEY, value, DETECTED + 20)
    assert not muted(on, EVENT)
    assert muted(off, EVENT)


def test_a_redrive_after_it_is_on_again_is_sent() -> None:
    mutes = Mutes()
    mutes.apply(KEY, record(enabled=False), DETECTED + 10)
    mutes.apply(KEY, record(enabled=True), DETECTED + 20)
    assert mutes.muted(EVENT, DETECTED)
    assert not mutes.muted(EVENT, DETECTED + 30)
