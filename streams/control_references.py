"""Do control records refer to what is there, within their tenant, and does it suit them? Pure."""

from collections.abc import Iterable, Mapping

from schemas.control import (
    Action,
    AgentConfig,
    Automation,
    ControlRecord,
    FlowSLAConfig,
    check_pairing,
)


def users_of(record: ControlRecord, among: Iterable[ControlRecord]) -> list[Automation]:
    """The automations that refer to ``record``."""
    return [
        automation
        for automation in among
        if isinstance(automation, Automation)
        and automation.tenant_id == record.tenant_id
        and _refers(automation, record)
    ]


def _refers(automation: Automation, record: ControlRecord) -> bool:
    if isinstance(record, Action):
        return record.id in automation.action_ids
    if isinstance(record, FlowSLAConfig):
        return automation.flow_sla_config_id == record.id
    if isinstance(record, AgentConfig):
        return automation.agent_config_id == record.id
    return False


def reference_problems(after: Mapping[str, ControlRecord], written: set[str]) -> list[str]:
    """What is wrong with the references of the automations that are written or use what is written."""
    touched = [record for key, record in after.items() if key in written]
    automations = {
        user.id: user
        for record in touched
        for user in ([record] if isinstance(record, Automation) else users_of(record, after.values()))
    }
    return [problem for automation in automations.values() for problem in _problems(automation, after)]


def _problems(automation: Automation, after: Mapping[str, ControlRecord]) -> list[str]:
    wanted = [("action", action_id) for action_id in automation.action_ids]
    if automation.flow_sla_config_id is not None:
        wanted.append(("flow_sla_config", automation.flow_sla_config_id))
    if automation.agent_config_id is not None:
        wanted.append(("agent_config", automation.agent_config_id))
    problems: list[str] = []
    actions: list[Action] = []
    for kind, record_id in wanted:
        record = after.get(f"{kind}:{record_id}")
        if record is None or record.tenant_id != automation.tenant_id:
            problems.append(
                f"automation {automation.name!r}: there is no {kind} {record_id} in its tenant; "
                "apply it too, or take the reference out"
            )
        elif isinstance(record, Action):
            actions.append(record)
    misfits = check_pairing(automation, actions)
    return problems + [f"automation {automation.name!r}: {misfit}" for misfit in misfits]
