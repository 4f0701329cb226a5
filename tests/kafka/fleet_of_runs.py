"""Tenants with their automations, and what becomes of their runs: a load whose truth the oracle knows."""

import random
from collections.abc import Sequence

from tests.kafka.consumer_world import ControlEntry, automation, on_states, sla

TENANTS = [f"tenant-{n}" for n in range(4)]
GROUPS = [f"group-{n}" for n in range(12)]
HOOKS = ("https://hooks.example/x",)


def control(random_: random.Random, hooks: Sequence[str] = HOOKS, acting: float = 1.0) -> list[ControlEntry]:
    """Two hundred automations: state changes, both SLAs, agents; most of them for some flow groups only.

    Each tenant's three actions post to ``hooks``; so many of the automations have actions.
    """
    entries: list[ControlEntry] = []
    for tenant in TENANTS:
        owner = {"tenant_id": tenant, "tenant_slug": f"{tenant}-slug"}
        actions = [f"{tenant}-action-{n}" for n in range(3)]
        for number, action_id in enumerate(actions):
            value = {
                "id": action_id, **owner, "name": action_id, "action_type": "WebhookAction",
                "config": {"url": hooks[number % len(hooks)]}, "created": "2026-01-01T00:00:00Z",
            }  # fmt: skip
            entries.append((f"action:{action_id}", value))
        for config in ("pool-0", "pool-1"):
            entries.append((f"agent_config:{tenant}-{config}", {"id": f"{tenant}-{config}", "tenant_id": tenant}))
        for n in range(50):
            groups = random_.sample(GROUPS, random_.choice([1, 1, 2, 3])) if n % 10 else None
            then = {
                **owner,
                "action_ids": random_.sample(actions, n % 3) if acting >= 1 or random_.random() < acting else [],
            }
            name = f"{tenant}-{n}"
            if n % 5 < 2:
                states = random_.sample(["Failed", "crashed", "Cancelled", "TimedOut", "Retrying", "Custom"], 2)
                entries.append(on_states(name, *states, flow_group_ids=groups, **then))
            elif n < 48:
                kind = "NS" if n % 5 == 2 else "NF"
                entries.extend(sla(name, kind, random_.choice([2, 3, 4, 5]), groups, **then))
            else:
                need = {"agent_config_id": f"{tenant}-pool-{n - 48}", "sla_min_healthy": n - 47}
                entries.append(automation(name, "AgentSLAFailedEvent", unhealthy_after_seconds=2, **need, **then))
    return entries


def life(random_: random.Random, begins_s: float) -> list[tuple[float, str, int]]:
    """What becomes of a run: (after seconds, state, version), in the order in which it is sent."""
    fate = random_.random()
    start = begins_s + random_.uniform(0, 1.5)
    end = start + random_.uniform(0.1, 1.8)
    told = [(begins_s, "Scheduled", 1), (begins_s + 0.1, "Pending", 2), (start, "Running", 3)]
    if fate < 0.04:  # never starts
        return told[:2]
    if fate < 0.10:  # starts too late
        late = begins_s + random_.uniform(2, 8)
        return [*told[:2], (late, "Running", 3), (late + 0.5, "Success", 4)]
    if fate < 0.14:  # stuck
        return told
    if fate < 0.20:  # finishes too late
        return [*told, (start + random_.uniform(2, 9), "Success", 4)]
    if fate < 0.28:  # fails and is retried
        again = end + random_.uniform(0.2, 1)
        return [
            *told, (end, "Failed", 4), (again, "Retrying", 5), (again + 0.2, "Running", 6),
            (again + 1, random_.choice(["Success", "Failed"]), 7),
        ]  # fmt: skip
    if fate < 0.36:
        return [*told, (end, random_.choice(["Failed", "Crashed", "CANCELLED", "TimedOut"]), 4)]
    if fate < 0.39:  # an older version comes last
        return [told[0], told[2], (end, "Success", 4), (end + random_.uniform(0.1, 3), "Pending", 2)]
    if fate < 0.42:  # something is sent twice, once with another state
        return [*told, (start + 0.05, "Running", 3), (end, "Success", 4), (end + 0.1, "Failed", 4)]
    if fate < 0.44:
        return [*told, (start + 0.02, "Custom", 4), (end, "Success", 5)]
    return [*told, (end, "Success", 4)]
