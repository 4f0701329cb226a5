"""What is to be written of deliveries: results, retry records and dead letters, as records to produce."""

from typing import NamedTuple

from actions.decide import RETRYING, Decision
from actions.delivery import Delivery
from actions.order import ORDERED_MS, encode_order
from actions.schedule import Schedule
from schemas.codec import Codec
from schemas.delivery_headers import DeliveryHeaders, encode_headers
from schemas.records import ActionResult
from topology.topics import ACTION_RESULTS, EVENTS_DLQ


class Record(NamedTuple):
    """A record to produce; ``topic`` is named without prefix."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]]


class Entry(NamedTuple):
    """What is written together: ``records``, and what became of the delivery in its source's partition.

    It ``ends`` there, or was tried and goes on; ``None`` = that has been counted.
    """

    delivery: Delivery
    records: tuple[Record, ...]
    ends: bool | None = True


def result_of(
    delivery: Delivery, decision: Decision, started_ms: int, finished_ms: int, host: str | None
) -> ActionResult:
    """The result record of an attempt, or of an end without one."""
    event = delivery.event
    return ActionResult(
        delivery_id=delivery.id,
        event_id=event.id,
        action_id=delivery.action.id,
        action_type=delivery.action.action_type,
        automation_id=event.automation_id,
        tenant_id=event.tenant_id,
        status=decision.status,
        attempt=decision.attempt,
        error=decision.reason,
        http_status=decision.http_status,
        started_at=started_ms,
        finished_at=max(started_ms, finished_ms),
        flow_run_id=event.flow_run_id,
        agent_config_id=event.agent_config_id,
        flow_group_id=event.flow_group_id,
        destination=host,
        next_attempt_at=None if decision.delay_ms is None else max(started_ms, finished_ms) + decision.delay_ms,
    )


def result_record(result: ActionResult, codec: Codec) -> Record:
    """A result, keyed by its delivery."""
    return Record(ACTION_RESULTS, result.delivery_id.encode(), codec.encode_result(result), [])


def retry_record(delivery: Delivery, decision: Decision, schedule: Schedule, now_ms: int) -> Record:
    """What takes a delivery up again in ``decision.delay_ms``, from the retry topic that fits."""
    assert decision.delay_ms is not None
    tier = schedule.tier(decision.delay_ms)
    return _of_event(delivery, decision, tier.topic, not_before_ms=now_ms + decision.delay_ms)


def dead_letter(delivery: Delivery, decision: Decision) -> Record:
    """What remains of a delivery that failed for good."""
    return _of_event(delivery, decision, EVENTS_DLQ, not_before_ms=None)


def _of_event(delivery: Delivery, decision: Decision, topic: str, not_before_ms: int | None) -> Record:
    """The event's own record, with headers that say which delivery of it, and how it stands."""
    source, order = delivery.source, delivery.order
    # Who was tried, or has reached some of many, has had its turn; who waits for long gives it up.
    turn_over = decision.attempt or decision.recipients_left or not_before_ms is None
    if turn_over or (decision.delay_ms or 0) > ORDERED_MS:
        order = None
    headers = DeliveryHeaders(
        delivery.id,
        delivery.action.id,
        decision.attempt,
        decision.reason or decision.status,
        decision.http_status,
        not_before_ms,
        decision.recipients_left,
        delivery.redriven_at_ms,
        None if order is None else encode_order(order),
    )
    return Record(topic, source.key, source.value, encode_headers(headers))


def unattempted(delivery: Delivery, reason: str, delay_ms: int) -> Decision:
    """A delivery that waits without an attempt having been made."""
    return Decision(RETRYING, delivery.attempt - 1, reason, delivery.http_status, delay_ms, delivery.recipients_left)
