"""The YAML form of control records as pydantic models: names instead of ids, unknown fields refused."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from schemas.action_configs import ActionType, Identifier, Text, checked_config, known_action_type
from schemas.control_models import (
    Delivery,
    FlowGroups,
    Ids,
    MinHealthy,
    Seconds,
    SLAKind,
    States,
    UnhealthyAfter,
)
from schemas.problems import only_known


class Spec(BaseModel):
    """A part of the YAML form."""

    model_config = ConfigDict(
        frozen=True, extra="allow", strict=True, json_schema_extra={"additionalProperties": False}
    )

    @model_validator(mode="before")
    @classmethod
    def _knows_its_fields(cls, value: Any) -> Any:
        # Before anything else, and not pydantic's own refusal: a misspelt name is the cause of a missing one.
        return only_known(value, cls)


class TenantSpec(Spec):
    """Whose records these are."""

    id: Identifier
    slug: Text


class ActionSpec(Spec):
    """An action, known by its name."""

    id: Identifier | None = None
    name: Text
    type: Annotated[ActionType, BeforeValidator(known_action_type)]
    config: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    delivery: Delivery | None = None

    @field_validator("config")
    @classmethod
    def _fits_type(cls, config: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        action_type = info.data.get("type")
        return config if action_type is None else checked_config(action_type, config, unknown_too=True)

    @field_validator("delivery", mode="before")
    @classmethod
    def _known_delivery(cls, delivery: Any) -> Any:
        return only_known(delivery, Delivery)


class AgentConfigSpec(Spec):
    """An agent config; one without a name needs an id."""

    id: Identifier | None = None
    name: Text | None = None

    @model_validator(mode="after")
    def _is_known_somehow(self) -> Self:
        if self.id is None and self.name is None:
            raise ValueError("needs a name, or an id")
        return self


class FlowSLAConfigSpec(Spec):
    """An SLA config that no automation here holds in its own ``when``."""

    id: Identifier
    kind: SLAKind
    duration_seconds: Seconds
    flow_group_ids: Ids | None = None


class StateChangeSpec(Spec):
    """When runs enter states; without ``flow_group_ids`` and ``flows``, runs of all flows."""

    event: Literal["FlowRunStateChangedEvent"]
    states: States
    flow_group_ids: FlowGroups | None = None
    flows: Annotated[list[Text], Field(min_length=1)] | None = None


class FlowSLASpec(Spec):
    """When runs start or finish too late; ``flow_sla_config_id`` alone refers to a config kept elsewhere."""

    event: Literal["FlowSLAFailedEvent"]
    kind: SLAKind | None = None
    duration_seconds: Seconds | None = None
    flow_group_ids: Ids | None = None
    flows: Annotated[list[Text], Field(min_length=1)] | None = None
    flow_sla_config_id: Identifier | None = None

    @property
    def is_reference(self) -> bool:
        """Whether it only names a config."""
        return self.kind is None and self.duration_seconds is None and self.flow_sla_config_id is not None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.is_reference:
            if self.flow_group_ids is not None or self.flows is not None:
                raise ValueError("give kind and duration_seconds too, or flow_sla_config_id alone")
        else:
            for name in ("kind", "duration_seconds"):
                if getattr(self, name) is None:
                    raise ValueError(f"{name} is missing: add it")
        return self


class AgentSLASpec(Spec):
    """When too few agents of a config, given by name or id, are healthy."""

    event: Literal["AgentSLAFailedEvent"]
    agent_config: Text | None = None
    agent_config_id: Identifier | None = None
    sla_min_healthy: MinHealthy = 1
    unhealthy_after_seconds: UnhealthyAfter = 300

    @model_validator(mode="after")
    def _one_config(self) -> Self:
        if (self.agent_config is None) == (self.agent_config_id is None):
            raise ValueError("give agent_config (a name) or agent_config_id, one of them")
        return self


BY_NAME, BY_ID = "by name", "by id"


class IdSpec(Spec):
    """Something by its id, where no name will do."""

    id: Identifier


class AutomationSpec(Spec):
    """An automation: when something happens, then do the actions of these names."""

    id: Identifier | None = None
    name: Text
    enabled: bool = True
    when: Annotated[StateChangeSpec | FlowSLASpec | AgentSLASpec, Field(discriminator="event")]
    then: list[
        Annotated[
            Annotated[Text, Tag(BY_NAME)] | Annotated[IdSpec, Tag(BY_ID)],
            Discriminator(lambda value: BY_ID if isinstance(value, dict | IdSpec) else BY_NAME),
        ]
    ]


class DocumentSpec(Spec):
    """One document: a tenant and some of its records."""

    tenant: TenantSpec
    actions: list[ActionSpec] = []
    agent_configs: list[AgentConfigSpec] = []
    flow_sla_configs: list[FlowSLAConfigSpec] = []
    automations: list[AutomationSpec] = []
