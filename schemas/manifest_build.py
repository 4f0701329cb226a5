"""Makes control records of the YAML form: ids for names, references between records, flows by name."""

from typing import Any, NamedTuple

from schemas.control import check_pairing
from schemas.control_models import Action, AgentConfig, Automation, ControlRecord, FlowSLAConfig
from schemas.ids import named_record_id
from schemas.manifest_models import (
    AgentSLASpec,
    AutomationSpec,
    DocumentSpec,
    FlowSLASpec,
    IdSpec,
    StateChangeSpec,
)
from schemas.problems import FieldProblem, nearest
from schemas.yaml_source import Document, Problem

Path = tuple[str | int, ...]


class Source(NamedTuple):
    """A document and what it says."""

    document: Document
    spec: DocumentSpec


class FlowReference(NamedTuple):
    """A flow given by name: the draft at ``place`` needs its group's id, else ``where`` is a problem."""

    tenant_id: str
    name: str
    place: int
    where: Problem


class Build:
    """Collects ``drafts``, ``flows`` and ``problems``, kind by kind, so that names are known when used."""

    def __init__(self) -> None:
        self.drafts: list[ControlRecord] = []
        self.flows: list[FlowReference] = []
        self.problems: list[Problem] = []
        self._places: dict[str, int] = {}
        self._ids: dict[tuple[str, str, str], list[str]] = {}

    def add(self, sources: list[Source]) -> None:
        """All records of ``sources``."""
        slugs: dict[str, str] = {}
        for source in sources:
            tenant = source.spec.tenant
            if slugs.setdefault(tenant.id, tenant.slug) != tenant.slug:
                text = f"is {tenant.slug} here but {slugs[tenant.id]} elsewhere for the same tenant: choose one"
                self._problem(source, ("tenant", "slug"), text)
        for add in (self._actions, self._agent_configs, self._flow_sla_configs, self._automations):
            for source in sources:
                add(source)

    def _actions(self, source: Source) -> None:
        tenant = source.spec.tenant
        for place, spec in enumerate(source.spec.actions):
            record = Action(
                id=spec.id or named_record_id(tenant.id, Action.RECORD_KIND, spec.name),
                tenant_id=tenant.id,
                tenant_slug=tenant.slug,
                name=spec.name,
                action_type=spec.type,
                config=spec.config,
                delivery=spec.delivery,
            )
            self._take(record, spec.name, source, ("actions", place))

    def _agent_configs(self, source: Source) -> None:
        tenant = source.spec.tenant
        for place, spec in enumerate(source.spec.agent_configs):
            record_id = spec.id or named_record_id(tenant.id, AgentConfig.RECORD_KIND, spec.name or "")
            record = AgentConfig(id=record_id, tenant_id=tenant.id, name=spec.name)
            self._take(record, spec.name, source, ("agent_configs", place))

    def _flow_sla_configs(self, source: Source) -> None:
        for place, spec in enumerate(source.spec.flow_sla_configs):
            record = FlowSLAConfig(tenant_id=source.spec.tenant.id, **spec.model_dump())
            self._take(record, None, source, ("flow_sla_configs", place))

    def _automations(self, source: Source) -> None:
        tenant = source.spec.tenant
        for place, spec in enumerate(source.spec.automations):
            path: Path = ("automations", place)
            condition = self._condition(spec, source, path)
            named = [self._action_id(one, source, (*path, "then", at)) for at, one in enumerate(spec.then)]
            action_ids = [one for one in named if one is not None]
            if condition is None or len(action_ids) < len(named):
                continue
            record = Automation(
                id=spec.id or named_record_id(tenant.id, Automation.RECORD_KIND, spec.name),
                tenant_id=tenant.id,
                tenant_slug=tenant.slug,
                name=spec.name,
                enabled=spec.enabled,
                event_type=spec.when.event,
                action_ids=action_ids,
                **condition,
            )
            taken = self._take(record, spec.name, source, path)
            if taken is not None and isinstance(spec.when, StateChangeSpec):
                self._name_flows(spec.when.flows, taken, source, (*path, "when", "flows"))
            for text in check_pairing(record, [one for one in self.drafts if isinstance(one, Action)]):
                self._problem(source, (*path, "then"), text)

    def _condition(self, spec: AutomationSpec, source: Source, path: Path) -> dict[str, Any] | None:
        when = spec.when
        if isinstance(when, StateChangeSpec):
            return {"states": when.states, "flow_group_ids": when.flow_group_ids}
        if isinstance(when, FlowSLASpec):
            config_id = self._sla_config(spec.name, when, source, (*path, "when"))
            return {"flow_sla_config_id": config_id}
        agent_config_id = self._agent_config_id(when, source, (*path, "when"))
        if agent_config_id is None:
            return None
        return {
            "agent_config_id": agent_config_id,
            "sla_min_healthy": when.sla_min_healthy,
            "unhealthy_after_seconds": when.unhealthy_after_seconds,
        }

    def _sla_config(self, name: str, when: FlowSLASpec, source: Source, path: Path) -> str:
        tenant_id = source.spec.tenant.id
        config_id = when.flow_sla_config_id or named_record_id(tenant_id, FlowSLAConfig.RECORD_KIND, name)
        if when.kind is None or when.duration_seconds is None:
            self._same_tenant(FlowSLAConfig, config_id, source, (*path, "flow_sla_config_id"))
            return config_id
        record = FlowSLAConfig(
            id=config_id,
            tenant_id=tenant_id,
            kind=when.kind,
            duration_seconds=when.duration_seconds,
            flow_group_ids=when.flow_group_ids,
        )
        taken = self._take(record, None, source, path)
        if taken is not None:
            self._name_flows(when.flows, taken, source, (*path, "flows"))
        return config_id

    def _agent_config_id(self, when: AgentSLASpec, source: Source, path: Path) -> str | None:
        if when.agent_config_id is not None:
            self._same_tenant(AgentConfig, when.agent_config_id, source, (*path, "agent_config_id"))
            return when.agent_config_id
        remedy = "give agent_config_id instead"
        return self._id_of(AgentConfig, when.agent_config or "", remedy, source, (*path, "agent_config"))

    def _action_id(self, one: str | IdSpec, source: Source, path: Path) -> str | None:
        if isinstance(one, IdSpec):
            return one.id
        return self._id_of(Action, one, "write {id: …} instead", source, path)

    def _id_of(
        self, model: type[Action | AgentConfig], name: str, remedy: str, source: Source, path: Path
    ) -> str | None:
        tenant_id, kind = source.spec.tenant.id, model.RECORD_KIND
        ids = self._ids.get((kind, tenant_id, name), [])
        if len(ids) == 1:
            return ids[0]
        if ids:
            self._problem(source, path, f"{len(ids)} of kind {kind} are called {name}: {remedy}")
        else:
            names = [one for of_kind, of_tenant, one in self._ids if (of_kind, of_tenant) == (kind, tenant_id)]
            self._problem(source, path, f"there is no {kind} called {name} here; {nearest(name, names)}")
        return None

    def _take(self, record: ControlRecord, name: str | None, source: Source, path: Path) -> int | None:
        """Place of ``record`` among the drafts, or ``None`` if its key is another's already."""
        known = self._places.get(record.key)
        if known is not None:
            # Automations may share an SLA config: each then has it whole, with the same id.
            if isinstance(record, FlowSLAConfig) and record == self.drafts[known]:
                return known
            if name is None:
                text = f"the id {record.id} is that of another one with other values: give another id"
            else:
                text = f"{name} stands twice: choose another name, or give each its id"
            self._problem(source, path, text)
            return None
        self._places[record.key] = len(self.drafts)
        self.drafts.append(record)
        if name is not None:
            self._ids.setdefault((record.RECORD_KIND, record.tenant_id, name), []).append(record.id)
        return self._places[record.key]

    def _same_tenant(
        self, model: type[FlowSLAConfig | AgentConfig], record_id: str, source: Source, path: Path
    ) -> None:
        place = self._places.get(f"{model.RECORD_KIND}:{record_id}")
        if place is not None and self.drafts[place].tenant_id != source.spec.tenant.id:
            self._problem(source, path, "belongs to another tenant: use one of the same tenant")

    def _name_flows(self, names: list[str] | None, place: int, source: Source, path: Path) -> None:
        for at, name in enumerate(names or []):
            text = f"no flow called {name} has been seen: check the name, or give flow_group_ids instead"
            where = source.document.problem((*path, at), FieldProblem((*path, at), text).sentence())
            self.flows.append(FlowReference(source.spec.tenant.id, name, place, where))

    def _problem(self, source: Source, path: Path, text: str) -> None:
        self.problems.append(source.document.problem(path, FieldProblem(path, text).sentence()))
