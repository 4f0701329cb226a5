"""The four kinds of control records as pydantic models: fields are the JSON's, in the JSON's names.

Fields that a later version adds are kept, so that rewriting a record loses nothing.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from schemas.action_configs import ActionType, Identifier, Text, checked_config, known_action_type
from schemas.limits import MAX_INT
from schemas.records import AGENT_SLA_FAILED, FLOW_RUN_STATE_CHANGED, FLOW_SLA_FAILED
from schemas.times import parse_rfc3339, rfc3339

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
DAY_SECONDS = 86_400


def _instant(value: Any) -> Any:
    if isinstance(value, str):
        return _EPOCH + parse_rfc3339(value) * _MILLISECOND
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    raise ValueError("must be an RFC 3339 time such as 2026-07-01T12:00:00Z")


def _instant_text(value: datetime) -> str:
    return rfc3339((value - _EPOCH) // _MILLISECOND)


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    PlainSerializer(_instant_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time in UTC; in JSON RFC 3339."""


def _once(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _some_or_all(value: Any) -> Any:
    if value == []:
        raise ValueError("must not be empty: leave it out for all flows, or name some")
    return value


def _states_once(values: list[str]) -> list[str]:
    return list({value.casefold(): value for value in reversed(values)}.values())[::-1]


Ids = Annotated[list[Identifier], AfterValidator(_once)]
"""Ids, each once."""
FlowGroups = Annotated[Ids, Field(json_schema_extra={"minItems": 1}), BeforeValidator(_some_or_all)]
"""Flow groups, at least one; where null is allowed, it means all."""
States = Annotated[list[Text], Field(min_length=1), AfterValidator(_states_once)]
"""Names of states, at least one; those that differ in case alone count once."""
Seconds = Annotated[int, Field(ge=1, le=MAX_INT)]
EventType = Literal["FlowRunStateChangedEvent", "FlowSLAFailedEvent", "AgentSLAFailedEvent"]
SLAKind = Literal["SCHEDULED_NOT_STARTED", "STARTED_NOT_FINISHED"]
MinHealthy = Annotated[int, Field(ge=1, le=MAX_INT)]
# An agent silent for a day is forgotten, so no longer silence can be told from an agent that left.
UnhealthyAfter = Annotated[int, Field(ge=1, le=DAY_SECONDS)]


class Delivery(BaseModel):
    """How patiently one action is delivered; ``None`` leaves it to the settings."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    max_attempts: Annotated[int, Field(ge=1, le=100)] | None = None
    max_age_seconds: Annotated[int, Field(ge=1, le=7 * DAY_SECONDS)] | None = None
    timeout_seconds: Annotated[int, Field(ge=1, le=300)] | None = None


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    RECORD_KIND: ClassVar[str]

    id: Identifier
    tenant_id: Identifier

    @property
    def key(self) -> str:
        """Key of the record on the topic."""
        return f"{self.RECORD_KIND}:{self.id}"


class Action(_Record):
    """Something to do when an automation fires; ``config`` is that of its type, in normal form."""

    RECORD_KIND = "action"
    tenant_slug: Text
    name: Text
    action_type: Annotated[ActionType, BeforeValidator(known_action_type)]
    config: dict[str, Any]
    created: Instant | None = None
    delivery: Delivery | None = None

    @field_validator("config")
    @classmethod
    def _fits_type(cls, config: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        action_type = info.data.get("action_type")
        return config if action_type is None else checked_config(action_type, config)


class Automation(_Record):
    """When an event of ``event_type`` meets the condition, do the actions.

    ``states`` and ``flow_group_ids`` (``None`` is all) belong to state changes, ``flow_sla_config_id`` to
    flow SLAs, the other fields of the condition to agent SLAs.
    """

    RECORD_KIND = "automation"
    tenant_slug: Text
    name: Text
    enabled: bool = True
    event_type: EventType
    states: States | None = None
    flow_group_ids: FlowGroups | None = None
    flow_sla_config_id: Identifier | None = None
    agent_config_id: Identifier | None = None
    sla_min_healthy: MinHealthy = 1
    unhealthy_after_seconds: UnhealthyAfter = 300
    action_ids: Annotated[Ids, Field(max_length=16)]
    created: Instant | None = None
    updated: Instant | None = None
    revision: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        needed = _NEEDED[self.event_type]
        if getattr(self, needed) is None:
            raise ValueError(f"{needed}: is missing: {self.event_type} needs it")
        return self


class FlowSLAConfig(_Record):
    """How long a run of the flow groups may wait or last; ``None`` is all groups, an empty list none yet."""

    RECORD_KIND = "flow_sla_config"
    kind: SLAKind
    duration_seconds: Seconds
    flow_group_ids: Ids | None = None


class AgentConfig(_Record):
    """What a group of agents shares."""

    RECORD_KIND = "agent_config"
    name: Text | None = None


_NEEDED = {
    FLOW_RUN_STATE_CHANGED: "states",
    FLOW_SLA_FAILED: "flow_sla_config_id",
    AGENT_SLA_FAILED: "agent_config_id",
}

CONDITION_FIELDS = {
    FLOW_RUN_STATE_CHANGED: ("states", "flow_group_ids"),
    FLOW_SLA_FAILED: ("flow_sla_config_id",),
    AGENT_SLA_FAILED: ("agent_config_id", "sla_min_healthy", "unhealthy_after_seconds"),
}
"""Fields of an automation's condition, by its event type."""

ControlRecord = Action | Automation | FlowSLAConfig | AgentConfig

MODELS: dict[str, type[Action] | type[Automation] | type[FlowSLAConfig] | type[AgentConfig]] = {
    model.RECORD_KIND: model for model in (Action, Automation, FlowSLAConfig, AgentConfig)
}
"""The model of each kind, by the kind's name in keys."""
