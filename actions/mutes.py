"""Which automations have been switched off, so that nothing more of them is sent.

Law: an event is muted if its automation is disabled or deleted now, or has been since the event was detected or
redriven: what was held back then doesn't come later, when the automation is switched on again. An automation
that nothing was read of is not muted.
"""

import json
from typing import NamedTuple

from schemas.records import AutomationEvent

_KIND = "automation:"


class _Switch(NamedTuple):
    """Whether an automation is off, and when it last was switched off."""

    off: bool
    off_at_ms: int


class Mutes:
    """The control topic's automations, as far as they concern deliveries. Times are log times (ms).

    Law: one thread may ``apply`` while another asks. Each change is one assignment, so nobody sees half of one.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Switch] = {}

    def apply(self, key: bytes | None, value: bytes | None, log_ms: int) -> None:
        """The next record of the control topic. One that is no automation, or can't be read, changes nothing."""
        name = (key or b"").decode("utf-8", "replace")
        if not name.startswith(_KIND):
            return
        automation_id = name.removeprefix(_KIND)
        enabled = False if value is None else _enabled(value)
        if enabled is None:
            return
        if not enabled:
            self._known[automation_id] = _Switch(True, log_ms)
        elif automation_id in self._known:
            self._known[automation_id] = self._known[automation_id]._replace(off=False)

    def muted(self, event: AutomationEvent, asked_at_ms: int) -> bool:
        """Whether nothing more of this event is to be sent, which was asked for (detected, redriven) then."""
        switch = self._known.get(event.automation_id)
        return switch is not None and (switch.off or switch.off_at_ms > asked_at_ms)


def _enabled(value: bytes) -> bool | None:
    """What a record says; ``None`` if it is none."""
    try:
        record = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    enabled = record.get("enabled", True)
    return enabled if isinstance(enabled, bool) else None
