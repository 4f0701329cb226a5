"""The words of the simulation: what a fleet looks like, what it emits, what was injected."""

from typing import NamedTuple

from schemas.records import AgentHeartbeat, FlowRunState

FAILED = "run failed"
LATE = "late start"
STUCK = "run stuck"
LOST = "agents lost"
"""What can be injected; each has one automation in the demo."""

KINDS = (FAILED, LATE, STUCK, LOST)

FLOW_NAMES = ("etl", "reports", "billing", "ingest", "training", "cleanup", "export", "sync")


LEAD_MS = 500
"""A run is scheduled that long before it is to start."""


class Emission(NamedTuple):
    """A record to produce at ``at_ms`` to the topic named without prefix."""

    at_ms: int
    topic: str
    record: FlowRunState | AgentHeartbeat


class Injected(NamedTuple):
    """Something went wrong, once: ``subject`` is a flow run's id or an agent config's id."""

    kind: str
    subject: str
    at_ms: int
    what: str
    """For a person: the name of the run and how it went wrong."""


class FleetShape(NamedTuple):
    """A tenant's fleet.

    ``late_ms`` and ``stuck_ms`` are the deadlines by which a run must have started and finished, and
    ``unhealthy_ms`` the silence after which an agent is unhealthy, as the automations watching it have
    them. ``settle_ms`` is by how much bad behaviour passes these (more than the consumer's grace).
    """

    tenant_id: str
    tenant_slug: str
    runs_per_second: float
    agent_config_ids: tuple[str, ...] = ()
    agents_per_config: int = 3
    late_ms: int = 60_000
    stuck_ms: int = 60_000
    unhealthy_ms: int = 30_000
    settle_ms: int = 15_000
    heartbeat_ms: int = 1_000

    @property
    def drain_ms(self) -> int:
        """How long after the last run or outage began all that it does is over and every deadline passed."""
        late_ms = self.late_ms + self.stuck_ms // 4
        stuck_ms = self.late_ms // 4 + self.stuck_ms
        return LEAD_MS + max(late_ms, stuck_ms, self.unhealthy_ms) + self.settle_ms
