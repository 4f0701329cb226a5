"""Writes control records as YAML: one document a tenant, names where they will do, ids where they won't."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import yaml

from schemas.control_models import Action, AgentConfig, Automation, ControlRecord, FlowSLAConfig
from schemas.ids import named_record_id
from schemas.records import AGENT_SLA_FAILED, FLOW_RUN_STATE_CHANGED


def dump(records: Iterable[ControlRecord]) -> str:
    """The YAML that loads as ``records`` again, apart from ``created``, ``updated`` and ``revision``."""
    tenants: dict[str, list[ControlRecord]] = {}
    for record in records:
        tenants.setdefault(record.tenant_id, []).append(record)
    found = [_Tenant(tenant_id, tenants[tenant_id]).document() for tenant_id in sorted(tenants)]
    text: str = yaml.safe_dump_all(found, sort_keys=False, allow_unicode=True, width=100)
    return text


class _Tenant:
    """Records of one tenant, and which of their names are unique."""

    def __init__(self, tenant_id: str, records: list[ControlRecord]) -> None:
        self._id = tenant_id
        self._actions = sorted((one for one in records if isinstance(one, Action)), key=_by_name)
        self._agent_configs = sorted((one for one in records if isinstance(one, AgentConfig)), key=_by_name)
        self._automations = sorted((one for one in records if isinstance(one, Automation)), key=_by_name)
        self._sla_configs = {one.id: one for one in records if isinstance(one, FlowSLAConfig)}
        named: list[Action | AgentConfig | Automation] = [
            *self._actions,
            *self._agent_configs,
            *self._automations,
        ]
        self._names = Counter((one.RECORD_KIND, one.name) for one in named)

    def document(self) -> dict[str, Any]:
        slugs = [one.tenant_slug for one in self._automations] + [one.tenant_slug for one in self._actions]
        used = {one.flow_sla_config_id for one in self._automations}
        unused = [one for one in self._sla_configs.values() if one.id not in used]
        sections = {
            "actions": [self._action(one) for one in self._actions],
            "agent_configs": [
                self._with_id(one, {} if one.name is None else {"name": one.name}) for one in self._agent_configs
            ],
            "flow_sla_configs": [{"id": one.id, **_sla(one)} for one in sorted(unused, key=lambda config: config.id)],
            "automations": [self._automation(one) for one in self._automations],
        }
        tenant = {"id": self._id, "slug": slugs[0] if slugs else self._id}
        return {"tenant": tenant, **{name: items for name, items in sections.items() if items}}

    def _with_id(self, record: Action | AgentConfig | Automation, fields: dict[str, Any]) -> dict[str, Any]:
        unique = self._names[record.RECORD_KIND, record.name] == 1
        derived = named_record_id(self._id, record.RECORD_KIND, record.name or "")
        if unique and record.name is not None and record.id == derived:
            return fields
        return {"id": record.id, **fields}

    def _action(self, action: Action) -> dict[str, Any]:
        fields = {"name": action.name, "type": action.action_type, "config": action.config}
        if action.delivery is not None:
            fields["delivery"] = action.delivery.model_dump(exclude_none=True)
        return self._with_id(action, fields)

    def _automation(self, automation: Automation) -> dict[str, Any]:
        fields: dict[str, Any] = {"name": automation.name}
        if not automation.enabled:
            fields["enabled"] = False
        fields["when"] = {"event": automation.event_type, **self._condition(automation)}
        fields["then"] = [self._action_reference(one) for one in automation.action_ids]
        return self._with_id(automation, fields)

    def _condition(self, automation: Automation) -> dict[str, Any]:
        if automation.event_type == FLOW_RUN_STATE_CHANGED:
            return {"states": automation.states, **_groups(automation.flow_group_ids)}
        if automation.event_type == AGENT_SLA_FAILED:
            return {
                **self._agent_config_reference(automation.agent_config_id),
                "sla_min_healthy": automation.sla_min_healthy,
                "unhealthy_after_seconds": automation.unhealthy_after_seconds,
            }
        config_id = automation.flow_sla_config_id
        config = self._sla_configs.get(config_id or "")
        derived = named_record_id(self._id, FlowSLAConfig.RECORD_KIND, automation.name)
        by_id = {} if config and config_id == derived else {"flow_sla_config_id": config_id}
        return {**(_sla(config) if config else {}), **by_id}

    def _action_reference(self, action_id: str) -> Any:
        for action in self._actions:
            if action.id == action_id and self._names[Action.RECORD_KIND, action.name] == 1:
                return action.name
        return {"id": action_id}

    def _agent_config_reference(self, config_id: str | None) -> dict[str, Any]:
        for config in self._agent_configs:
            if config.id == config_id and config.name and self._names[AgentConfig.RECORD_KIND, config.name] == 1:
                return {"agent_config": config.name}
        return {"agent_config_id": config_id}


def _by_name(record: Action | AgentConfig | Automation) -> tuple[str, str]:
    return (record.name or "", record.id)


def _sla(config: FlowSLAConfig) -> dict[str, Any]:
    return {
        "kind": config.kind,
        "duration_seconds": config.duration_seconds,
        **_groups(config.flow_group_ids),
    }


def _groups(flow_group_ids: list[str] | None) -> dict[str, Any]:
    return {} if flow_group_ids is None else {"flow_group_ids": flow_group_ids}
