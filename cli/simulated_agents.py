"""How simulated agents behave: they beat, one leaves and comes back, a whole config goes silent."""

import heapq
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from cli.simulation import LOST, Emission, FleetShape, Injected
from schemas.records import ACTIVE, STOPPED, AgentHeartbeat
from topology.names import AGENT_HEARTBEAT

DUPLICATE_SHARE = 0.05


class Silences(NamedTuple):
    """Agents are silent for ``length_ms`` from ``begin_ms`` on, and so again each ``period_ms``.

    None begins at or after ``last_ms``. ``stops``: the agent says that it leaves. Half-open windows.
    """

    begin_ms: int
    length_ms: int
    period_ms: int
    last_ms: int
    stops: bool = False

    def at(self, time_ms: int) -> int | None:
        """Beginning of the silence that holds ``time_ms``, or ``None``."""
        if time_ms < self.begin_ms:
            return None
        into_ms = (time_ms - self.begin_ms) % self.period_ms
        began_ms = time_ms - into_ms
        return began_ms if into_ms < self.length_ms and began_ms < self.last_ms else None


def agent_emissions(
    shape: FleetShape, rng: Random, first_ms: int, last_ms: int, end_ms: int, truth: list[Injected]
) -> Iterator[Emission]:
    """Heartbeats of all agents from ``first_ms`` to ``end_ms``; nothing new goes wrong from ``last_ms``.

    The first config, and each second one, loses all of its agents from time to time; of the others one agent
    leaves for a while, and enough stay.
    """
    streams = []
    outage_ms = shape.unhealthy_ms + shape.settle_ms
    outages = Silences(first_ms + 2 * shape.unhealthy_ms, outage_ms, 2 * outage_ms, last_ms)
    absences = Silences(first_ms + shape.unhealthy_ms, outage_ms, 2 * outage_ms, last_ms, stops=True)
    for position, config_id in enumerate(shape.agent_config_ids):
        for agent in range(shape.agents_per_config):
            silences: Silences | None = outages
            if position % 2:
                silences = absences if 0 < agent == shape.agents_per_config - 1 else None
            # One agent of a config tells of the outage that they all share.
            tells = truth if agent == 0 and position % 2 == 0 else None
            agent_rng = Random(rng.random())  # noqa: S311 - a simulation, no secret
            streams.append(_beats(shape, agent_rng, (config_id, agent), (first_ms, end_ms), silences, tells))
    return heapq.merge(*streams, key=lambda emission: emission.at_ms)


def _beats(
    shape: FleetShape,
    rng: Random,
    agent: tuple[str, int],
    span: tuple[int, int],
    silences: Silences | None,
    truth: list[Injected] | None,
) -> Iterator[Emission]:
    config_id, number = agent
    name = f"agent-{number + 1}"
    at_ms = span[0] + rng.randint(0, shape.heartbeat_ms // 2)
    known: int | None = None
    while at_ms < span[1]:
        silence = None if silences is None else silences.at(at_ms)
        begins = silence is not None and silence != known
        known = silence
        if begins and truth is not None:
            what = f"all {shape.agents_per_config} agents of config {config_id} silent"
            truth.append(Injected(LOST, config_id, at_ms + shape.unhealthy_ms, what))
        leaves = begins and silences is not None and silences.stops
        if silence is None or leaves:
            beat = AgentHeartbeat(
                tenant_id=shape.tenant_id,
                tenant_slug=shape.tenant_slug,
                agent_config_id=config_id,
                agent_id=f"{config_id[:8]}-{name}",
                agent_name=name,
                timestamp=at_ms,
                status=STOPPED if leaves else ACTIVE,
            )
            yield Emission(at_ms, AGENT_HEARTBEAT, beat)
            if rng.random() < DUPLICATE_SHARE:
                yield Emission(at_ms, AGENT_HEARTBEAT, beat)
        at_ms += shape.heartbeat_ms + rng.randint(-shape.heartbeat_ms // 10, shape.heartbeat_ms // 10)
