"""The flow groups and agents that the consumer has seen, for the tools to name them.

Written on change, agents' last heartbeat at most each 30 s. What is remembered is only what was written
lately: it lives in memory, and a restart writes each once more to the compacted topic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from schemas.records import AgentHeartbeat, FlowRunState
from schemas.times import rfc3339
from streams.partition import Output
from topology.names import AUTOMATION_CATALOG

EVERY_MS = 30_000


class Catalog:
    """What one partition has written of what it saw."""

    def __init__(self) -> None:
        self._flow_groups: dict[tuple[str, str], tuple[str, str]] = {}
        self._agents: dict[tuple[str, str, str], tuple[tuple[str | None, str], int]] = {}

    def flow_group(self, run: FlowRunState) -> Output | None:
        """The record to write for a run's flow group, if it is new or has changed."""
        group, shown = (run.tenant_id, run.flow_group_id), (run.flow_id, run.flow_name)
        if self._flow_groups.get(group) == shown:
            return None
        self._flow_groups[group] = shown
        fields = {
            "id": run.flow_group_id,
            "tenant_id": run.tenant_id,
            "tenant_slug": run.tenant_slug,
            "name": run.flow_name,
            "flow_id": run.flow_id,
        }
        return _output(f"flow_group:{run.tenant_id}/{run.flow_group_id}", fields)

    def agent(self, beat: AgentHeartbeat, log_ms: int) -> Output | None:
        """The record to write for an agent, if it changed or its last heartbeat is old there."""
        agent = (beat.tenant_id, beat.agent_config_id, beat.agent_id)
        shown = (beat.agent_name, beat.status)
        known = self._agents.get(agent)
        if known is not None and known[0] == shown and log_ms < known[1] + EVERY_MS:
            return None
        self._agents[agent] = (shown, log_ms)
        fields = {
            "id": beat.agent_id,
            "tenant_id": beat.tenant_id,
            "tenant_slug": beat.tenant_slug,
            "agent_config_id": beat.agent_config_id,
            "name": beat.agent_name,
            "status": beat.status,
            "last_heartbeat": rfc3339(log_ms),
        }
        return _output(f"agent:{beat.tenant_id}/{beat.agent_config_id}/{beat.agent_id}", fields)

    def clear(self) -> None:
        """What was to be written may not have been: write it again."""
        self._flow_groups.clear()
        self._agents.clear()


def _output(key: str, fields: Mapping[str, str | None]) -> Output:
    value = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    return Output(AUTOMATION_CATALOG, key.encode(), value.encode())
