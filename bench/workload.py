"""The work that is measured: a fleet's flow-run states and the automations that watch them, from a seed.

Runs go Scheduled, Submitted, Pending, Running, then Success (90 %) or Failed; 5,000 are in flight at any time,
so a state lasts 5 s of simulated time on average. 2 % of the runs never start, 2 % never finish. The 500
automations are 200 on Failed (two flow groups each), 200 that run too long and 100 that start too late.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from schemas.control import Action, Automation, ControlRecord, FlowSLAConfig
from schemas.records import (
    FLOW_RUN_STATE_CHANGED,
    FLOW_SLA_FAILED,
    SCHEDULED_NOT_STARTED,
    STARTED_NOT_FINISHED,
    FlowRunState,
)

TENANTS, GROUPS, AGENTS = 20, 500, 50
IN_FLIGHT = 5_000
RECORDS_PER_RUN = 4.9
MS_PER_RECORD = 1
"""Simulated time between two records."""
NOT_STARTED_S, NOT_FINISHED_S = 30, 20
"""Durations of the two kinds of SLA: about one in twenty runs that do start or finish is too late."""
ON_FAILED, ON_NOT_FINISHED, ON_NOT_STARTED = 200, 200, 100

_STATES = ("Scheduled", "Submitted", "Pending", "Running")
_WORDS = ("calm", "brisk", "amber", "noble", "swift", "tiny", "vivid", "wry")


class Flow(NamedTuple):
    """A flow group of the fleet."""

    tenant_id: str
    tenant_slug: str
    flow_id: str
    name: str
    group_id: str


class Fleet(NamedTuple):
    """What does not change from run to run."""

    flows: list[Flow]
    agents: list[str]


def fleet(seed: int) -> Fleet:
    """The flow groups, spread evenly over the tenants, and the agents."""
    rng = random.Random(f"fleet {seed}")
    tenants = [_uuid(rng) for _ in range(TENANTS)]
    flows = [
        Flow(tenants[i % TENANTS], f"tenant-{i % TENANTS:02d}", _uuid(rng), f"etl-flow-{i:03d}", _uuid(rng))
        for i in range(GROUPS)
    ]
    return Fleet(flows, [_uuid(rng) for _ in range(AGENTS)])


def control_records(seed: int) -> list[ControlRecord]:
    """The automations, what they refer to before them."""
    rng = random.Random(f"automations {seed}")
    flows = fleet(seed).flows
    actions: dict[str, ControlRecord] = {}
    configs: list[ControlRecord] = []
    automations: list[ControlRecord] = []
    for i in range(ON_FAILED + ON_NOT_FINISHED + ON_NOT_STARTED):
        flow = rng.choice(flows)
        tenant_id = flow.tenant_id
        action = actions.setdefault(tenant_id, _action(_uuid(rng), flow))
        common = {"tenant_id": tenant_id, "tenant_slug": flow.tenant_slug, "action_ids": [action.id]}
        if i < ON_FAILED:
            groups = rng.sample([f.group_id for f in flows if f.tenant_id == tenant_id], 2)
            condition = {
                "event_type": FLOW_RUN_STATE_CHANGED, "states": ["Failed"], "flow_group_ids": groups,
                "name": f"failed {i}",
            }  # fmt: skip
        else:
            late = i < ON_FAILED + ON_NOT_FINISHED
            config = FlowSLAConfig.model_validate(
                {
                    "id": _uuid(rng), "tenant_id": tenant_id, "flow_group_ids": [flow.group_id],
                    "kind": STARTED_NOT_FINISHED if late else SCHEDULED_NOT_STARTED,
                    "duration_seconds": NOT_FINISHED_S if late else NOT_STARTED_S,
                }
            )  # fmt: skip
            configs.append(config)
            condition = {
                "event_type": FLOW_SLA_FAILED, "flow_sla_config_id": config.id,
                "name": f"{'runs long' if late else 'starts late'} {i}",
            }  # fmt: skip
        automations.append(Automation.model_validate({"id": _uuid(rng), **common, **condition}))
    return [*actions.values(), *configs, *automations]


def states(runs: int, seed: int, end_ms: int) -> Iterator[FlowRunState]:
    """The records in the order in which they are appended; the last one's timestamp is about ``end_ms``."""
    rng = random.Random(f"runs {seed}")
    flows, agents = fleet(seed)
    active: list[list[int]] = []
    born: dict[int, tuple[Flow, str, int]] = {}
    now_ms = end_ms - round(runs * RECORDS_PER_RUN) * MS_PER_RECORD
    made = 0
    while True:
        while len(active) < IN_FLIGHT and made < runs:
            chance = rng.random()
            last = 1 if chance < 0.02 else 4 if chance < 0.04 else 5
            active.append([made, 0, last])
            born[made] = (flows[rng.randrange(GROUPS)], _uuid(rng), 0)
            made += 1
        if not active:
            return
        at = rng.randrange(len(active))
        number, step, last = active[at]
        flow, run_id, scheduled_ms = born[number]
        if step == 0:
            scheduled_ms = now_ms + 1_000
            born[number] = (flow, run_id, scheduled_ms)
        state, message = _STATES[step] if step < 4 else "Success", None
        if step == 4:
            failed = number % 10 == 0
            state = "Failed" if failed else state
            message = "Some reference tasks failed." if failed else "All reference tasks succeeded."
        yield FlowRunState(
            flow.tenant_id, flow.tenant_slug, flow.flow_id, flow.name, flow.group_id, run_id,
            f"{_WORDS[number & 7]}-heron-{number}", step + 1, state, message, now_ms, scheduled_ms,
            agents[number % AGENTS] if step else None,
        )  # fmt: skip
        now_ms += MS_PER_RECORD
        if step + 1 < last:
            active[at][1] = step + 1
        else:
            active[at] = active[-1]
            active.pop()
            del born[number]


def _action(action_id: str, flow: Flow) -> Action:
    return Action.model_validate(
        {
            "id": action_id, "tenant_id": flow.tenant_id, "tenant_slug": flow.tenant_slug,
            "name": f"page {flow.tenant_slug}", "action_type": "WebhookAction",
            "config": {"url": "https://hooks.example.com/automations"}, "created": "2026-01-01T00:00:00Z",
        }
    )  # fmt: skip


def _uuid(rng: random.Random) -> str:
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
