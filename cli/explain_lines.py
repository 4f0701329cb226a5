"""An explanation as lines for a person who was woken up: the answer first, then what it rests on. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cli.explain_words import (
    Clock,
    Scene,
    condition_text,
    deadline_words,
    record_text,
    span_text,
    state_words,
    unarmed_words,
)
from cli.explained import Delivery, EventFound, RunFound
from cli.tail_lines import Part, one_line, time_text
from consumer import explanation as why
from consumer.explanation import DeadlineVerdicts, RecordRead, RunExplained, Verdict
from schemas.records import SCHEDULED_NOT_STARTED

Line = list[Part]
MESSAGE_SHOWN = 120
_SAID = {
    why.LATE_VERSION: "late version",
    why.DUPLICATE: "duplicate, changes nothing",
    why.CONFLICT: "duplicate of a version that had another state, changes nothing",
    why.UNREAD: "not read by the consumer yet",
    why.FROM_STATE: "not in the log as searched, told from the consumer's state",
}
_STATUS = {"succeeded": "good", "retrying": "note", "dead": "bad", "expired": "note", "muted": "note"}


def run_lines(found: RunFound) -> Iterator[Line]:
    """The explanation of a run, one for each tenant that uses its id."""
    for run in found.runs:
        yield from _Story(found, run).lines()
    for record in found.unreadable:
        yield [(f"offset {record.offset} can't be read and was dead-lettered: {one_line(record.detail)}", "bad")]


class _Story:
    """One run's explanation."""

    def __init__(self, found: RunFound, run: RunExplained) -> None:
        self._found = found
        self._run = run
        self._clock = Clock(run.records[0].log_ms if run.records else 0)
        position = found.position
        read = [one for one in run.records if one.version is not None]
        self._scene = Scene(
            self._clock,
            {one.version: one for one in reversed(read) if one.version is not None},
            run.latest.flow_group_id,
            position.progress_ms if position is not None else -1,
            found.timing.grace_ms,
        )
        self._said = list(self._sentences())

    def lines(self) -> Iterator[Line]:
        """All of it."""
        fired = sorted((one for one in self._said if one[0].fired), key=lambda one: one[0].judged_ms or 0)
        pending = [one for one in self._said if one[0].reason == why.NOT_DUE_YET or one[0].pending]
        settled = {verdict.automation_id for verdict, _ in (*fired, *pending)}
        quiet = {verdict.automation_id for verdict, _ in self._said} - settled
        # Of an automation that fired, its other deadlines are of interest, the states that it passed over are not.
        rest = [
            one for one in self._said
            if one[0].automation_id in quiet or (one[0].due_ms is not None and one not in fired and one not in pending)
        ]  # fmt: skip
        yield from self._heading(len(fired), len(quiet), len(pending))
        if fired:
            yield from self._section("fired", fired, "bad")
        if pending:
            yield from self._section("not judged yet", pending, "note")
        if rest:
            yield from self._section("did not fire", rest, "title")
        yield from self._unexplained()
        yield from self._records()
        yield from self._deadlines()

    def _unexplained(self) -> Iterator[Line]:
        """Events that are there although the replay does not give them."""
        told = {event.id for event in self._run.events}
        for event_id, found in self._found.events.items():
            if event_id not in told and found.event.tenant_id == self._run.tenant_id:
                name = one_line(found.event.automation_name)
                words = f"event {event_id} of {name} is on its topic, but these settings and records do not give it:"
                yield [(words, "bad"), (NOT_GIVEN, "note")]
                yield from event_lines(self._clock, event_id, found)

    def _heading(self, fired: int, quiet: int, pending: int) -> Iterator[Line]:
        run, found = self._run, self._found
        latest = run.latest
        name = one_line(f"{latest.flow_name}/{latest.flow_run_name} ({latest.flow_run_id})")
        yield [("run", "quiet"), (name, "title"), (one_line(f"of tenant {latest.tenant_slug}"), "")]
        last = run.records[-1]
        did_not = f"{quiet} automation{'' if quiet == 1 else 's'}"
        yield [
            (f"now v{latest.version} {one_line(latest.state)};", ""),
            (f"{fired} fired, {pending} not judged yet, {did_not} did not fire", "bad" if fired else "good"),
        ]
        if found.position is None:
            stands = f"consumer group {found.group} has never read {found.span.topic}[{found.span.partition}]"
            yield [(f"{stands}: nothing is judged", "bad")]
        else:
            progress_ms = found.position.progress_ms
            behind = "" if last.outcome != why.UNREAD else ", which is behind this run's records"
            yield [(f"judged by {found.group} up to {time_text(max(0, progress_ms))}{behind}", "quiet")]
        yield [(f"times are UTC, of {self._clock.day} where no date is given", "quiet")]

    def _sentences(self) -> Iterator[tuple[Verdict, str]]:
        """Each verdict with its words; of states that automations don't name only what helps."""
        run, scene = self._run, self._scene
        named = {v.automation_id for state in run.states for v in state.verdicts if v.reason != why.STATE_NOT_NAMED}
        entered = ", ".join(dict.fromkeys(one_line(state.state) for state in run.states))
        passed: set[str] = set()
        for state in run.states:
            for verdict in state.verdicts:
                if verdict.reason != why.STATE_NOT_NAMED:
                    yield verdict, state_words(scene, verdict, state)
                elif verdict.automation_id not in named and verdict.automation_id not in passed:
                    passed.add(verdict.automation_id)
                    yield verdict, f"the run only entered {entered}"
        for deadline in run.deadlines:
            for verdict in deadline.verdicts:
                yield verdict, deadline_words(scene, verdict, deadline)
        for verdict in run.unarmed:
            yield verdict, unarmed_words(verdict, bool(run.states))

    def _section(self, title: str, said: list[tuple[Verdict, str]], style: str) -> Iterator[Line]:
        yield [("", "")]
        yield [(title.upper(), style)]
        last = ""
        for verdict, words in said:
            name = one_line(verdict.automation_name or verdict.automation_id)
            if name != last:
                yield [(f"  {name}", "title"), (f"({condition_text(verdict)})", "quiet")]
            last = name
            yield [(f"    {words}", "")]
            if verdict.event_id is not None:
                yield from event_lines(self._clock, verdict.event_id, self._found.events.get(verdict.event_id))

    def _records(self) -> Iterator[Line]:
        span, run = self._found.span, self._run
        yield [("", "")]
        since = "" if span.first_ms is None else f" searched from {self._clock.text(span.first_ms)},"
        yield [(f"RECORDS in {span.topic}[{span.partition}],{since} at their log times", "title")]
        if any(one.outcome == why.FROM_STATE for one in run.records):
            yield [("  of the oldest only the consumer's state tells: retention, or --since, leaves them out", "note")]
        for record in run.records:
            yield self._record(record)
        for forgotten_ms in run.forgotten_ms:
            yield [(f"  state dropped after {self._clock.text(forgotten_ms)}: what came later began anew", "note")]

    def _record(self, record: RecordRead) -> Line:
        clock = self._clock
        offset = "" if record.offset is None else f"offset {record.offset}"
        parts = [(f"  {clock.text(record.log_ms)}", "quiet"), (f"v{record.version} {one_line(record.state or '')}", "")]
        parts.append((offset, "quiet"))
        parts.append((occurrence_text(clock, record, self._found.timing.clock_tolerance_ms), "quiet"))
        if record.scheduled_ms is not None:
            parts.append((f"scheduled for {clock.text(record.scheduled_ms)}", ""))
        if record.outcome == why.REJECTED:
            parts.append((f"dead-lettered: {one_line(record.detail)}", "bad"))
        elif record.outcome in _SAID:
            parts.append((_SAID[record.outcome], "note"))
        if record.message:
            text = one_line(record.message)
            parts.append((f'"{text[:MESSAGE_SHOWN]}{"…" if len(text) > MESSAGE_SHOWN else ""}"', "quiet"))
        return [part for part in parts if part[0]]

    def _deadlines(self) -> Iterator[Line]:
        if not self._run.deadlines:
            return
        yield [("", "")]
        yield [("DEADLINES that the records arm, whatever is asked of them", "title")]
        for deadline in self._run.deadlines:
            yield self._deadline(deadline)

    def _deadline(self, deadline: DeadlineVerdicts) -> Line:
        clock, armed, scene = self._clock, deadline.armed, self._scene
        kind = "not started" if deadline.kind == SCHEDULED_NOT_STARTED else "not finished"
        parts = [
            (f"  {kind}", "title"),
            (f"from {clock.text(armed.base_ms)}, by {record_text(scene, armed.version)}", ""),
        ]
        if armed.from_ms != armed.base_ms:
            parts.append((f"(by silence from {clock.text(armed.from_ms)}, its log time)", "quiet"))
        if deadline.moved_by is not None:
            parts.append((f"replaced by {record_text(scene, deadline.moved_by)}", "note"))
        elif armed.met_version:
            after = span_text(armed.met_ms - armed.base_ms)
            parts.append((f"met after {after} by {record_text(scene, armed.met_version)}", "good"))
        else:
            parts.append(("not met", "note"))
        return parts


def occurrence_text(clock: Clock, record: RecordRead, tolerance_ms: int) -> str:
    """Which clock counts for a record, and why."""
    if record.timestamp_ms is None or record.occurred_ms is None:
        return ""
    off_ms = record.log_ms - record.timestamp_ms
    if record.occurred_ms != record.timestamp_ms:
        side = "behind" if off_ms > 0 else "ahead of"
        return (
            f"occurred at its log time: its timestamp {clock.text(record.timestamp_ms)} is {span_text(off_ms)} {side} "
            f"it, more than {span_text(tolerance_ms)}"
        )
    if off_ms == 0:
        return "occurred then"
    return f"occurred {span_text(off_ms)} {'before' if off_ms > 0 else 'after'}, by its timestamp"


def event_lines(clock: Clock, event_id: str, found: EventFound | None) -> Iterator[Line]:
    """An event and what became of its deliveries."""
    if found is None:
        yield [(f"    event {event_id} is not on its topic:", "note"), (NOT_THERE, "note")]
        return
    yield [(f"    event {event_id}", "quiet"), (f"detected at {clock.text(found.event.detected_at)}", "quiet")]
    for delivery in found.deliveries:
        yield _delivery(clock, delivery)
    if not found.deliveries:
        yield [("    the automation had no action that was there", "note")]


NOT_GIVEN = "its records are gone or lie before those searched, or GRACE_MS and the like are set otherwise here"
NOT_THERE = "retention has deleted it, or GRACE_MS and the like are set otherwise here than for the consumer"


def _delivery(clock: Clock, delivery: Delivery) -> Line:
    what = one_line(f"    {delivery.action_name} ({delivery.action_type}):")
    if not delivery.results:
        return [(what, ""), ("no result yet: waiting, or no action runner is at work", "note")]
    last = delivery.results[-1]
    parts = [(what, ""), (last.status, _STATUS.get(last.status, "")), (f"at {clock.text(last.finished_at)}", "")]
    if last.attempt:
        parts.append((f"attempt {last.attempt}", "quiet"))
    if last.destination:
        parts.append((f"to {one_line(last.destination)}", "quiet"))
    if last.http_status is not None:
        parts.append((f"HTTP {last.http_status}", ""))
    if last.error:
        parts.append((one_line(last.error), "bad"))
    if last.next_attempt_at is not None:
        parts.append((f"next at {clock.text(last.next_attempt_at)}", "note"))
    if last.status == "dead":
        parts.append((f"(automations dlq redrive --delivery {delivery.delivery_id})", "quiet"))
    return parts
