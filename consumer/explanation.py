"""What an explanation is made of: what was read, what it armed, and what was decided, each with its reason.

Values alone. `consumer.explain_runs` and `consumer.explain_agents` make them, by replaying the records through
the logic that decides.
"""

from __future__ import annotations

from typing import NamedTuple

from consumer.attempts import Armed
from consumer.automations import Condition
from schemas.records import AutomationEvent, FlowRunState

APPLIED, LATE_VERSION, DUPLICATE, CONFLICT = "applied", "late_version", "duplicate", "conflict"
REJECTED, UNREAD, FROM_STATE = "rejected", "unread", "from_state"
"""What became of a record. ``unread``: the consumer has not come to it; ``from_state``: the log has it no more."""

FIRED, STATE_NOT_NAMED, OUT_OF_SCOPE = "fired", "state_not_named", "out_of_scope"
BEFORE_FIRST_START, OTHER_CONDITION = "before_first_start", "other_condition"
PROOF, SILENCE = "fired_by_proof", "fired_by_silence"
MET_IN_TIME, NOT_DUE_YET, MOVED, FIRED_ALREADY = "met_in_time", "not_due_yet", "moved", "fired_already"
BEFORE_GAP, RUN_DROPPED, NOT_ARMED = "before_gap", "run_dropped", "not_armed"
"""Reasons of verdicts, beside those why an automation is not in force (`consumer.automations`)."""


class RecordRead(NamedTuple):
    """A record of a run, and what became of it. Log times in ms."""

    offset: int | None
    log_ms: int
    version: int | None
    state: str | None
    message: str | None
    timestamp_ms: int | None
    occurred_ms: int | None
    """When it counts as having occurred: its timestamp, or where that is too far off its log time."""
    scheduled_ms: int | None
    outcome: str
    detail: str = ""


class Verdict(NamedTuple):
    """What was decided of one automation for one state or deadline, and why."""

    automation_id: str
    automation_name: str
    reason: str
    condition: Condition | None
    judged_ms: int | None = None
    """The instant by whose automations it is judged."""
    due_ms: int | None = None
    """The deadline, for this automation's duration."""
    event_id: str | None = None
    version: int | None = None
    """Of the record that decided: it meets, proves or moves."""
    since_ms: int | None = None
    until_ms: int | None = None
    """How long what the reason says was so, where it is about the automation itself."""
    pending: bool = False
    """The deadline has not passed yet: the verdict is what holds as things stand."""

    @property
    def fired(self) -> bool:
        """Whether there is an event."""
        return self.event_id is not None


class StateVerdicts(NamedTuple):
    """What each automation on state changes did about one record."""

    version: int
    state: str
    log_ms: int
    verdicts: list[Verdict]


class DeadlineVerdicts(NamedTuple):
    """A deadline of a run, and what each automation of its kind did about it."""

    kind: str
    armed: Armed
    seen_ms: int
    """Log time at which the run's records first showed it."""
    moved_by: int | None
    """Version of the record after which they no longer did."""
    verdicts: list[Verdict]


class RunExplained(NamedTuple):
    """A run of one tenant, from its records to what was decided."""

    tenant_id: str
    latest: FlowRunState
    records: list[RecordRead]
    states: list[StateVerdicts]
    deadlines: list[DeadlineVerdicts]
    unarmed: list[Verdict]
    """Of the automations for which no record of the run armed or entered anything."""
    events: list[AutomationEvent]
    """As replayed: ``detected_at`` is the earliest that it can have been."""
    forgotten_ms: list[int]
    """When the run's state was dropped, as too old."""

    @property
    def verdicts(self) -> list[Verdict]:
        """All of them."""
        of_states = [verdict for one in self.states for verdict in one.verdicts]
        return of_states + [verdict for one in self.deadlines for verdict in one.verdicts] + self.unarmed
