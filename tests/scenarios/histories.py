"""Random histories and random executions of them, drawn so that hypothesis can shrink what fails."""

from __future__ import annotations

from random import Random

from streams.app import Place
from streams.testing import Driver, Process
from tests.oracle.oracle import Appended, Control, History, Rules
from tests.scenarios.world import World, append, appends, driver_for, events_of

STATES = ("Scheduled", "Pending", "Running", "running", "Cancelling", "Retrying", "Success", "Failed", "TIMEDOUT",
          "Cancelled", "Odd", "Extra")  # fmt: skip
HOUR, DAY = 3_600, 86_400


def rules(random: Random) -> Rules:
    """Settings drawn small, so that every border is met often."""
    return Rules(
        grace_ms=random.choice([0, 2_000, 10_000]),
        clock_tolerance_ms=random.choice([0, 5_000, 60_000]),
        late_ms=random.choice([120_000, 2 * DAY * 1_000]),
        finished_states=frozenset(random.choice([(), ("Extra",)])),
        ui_base_url=random.choice([None, "https://ui.example/"]),
    )


def history(random: Random, size: int) -> tuple[World, float]:
    """A world of about ``size`` records, and its end in seconds."""
    world = World(partitions=random.choice([1, 2, 3]))
    world.rules = rules(random)
    now = float(random.choice([0, 10]))
    runs = [(f"run-{n}", random.choice("tu"), random.choice("gh")) for n in range(random.randint(1, 4))]
    versions = dict.fromkeys(runs, 0)
    _control(world, random, now)
    for _ in range(size):
        now += _pause(random)
        kind = random.random()
        if kind < 0.55:
            run = random.choice(runs)
            _state(world, random, now, run, versions)
        elif kind < 0.8:
            _beat(world, random, now)
        else:
            _control(world, random, now)
    if random.random() < 0.3:
        world.first_start = random.choice([0, now / 3, now])
    return world, now + random.choice([0.001, 1, 70, DAY, 40 * DAY])


def _pause(random: Random) -> float:
    """Mostly seconds, sometimes none, sometimes so long that state is dropped."""
    kind = random.random()
    if kind < 0.15:
        return 0
    if kind < 0.9:
        return random.choice([0.001, 1, 2, 5, 10, 30, 59, 60, 61])
    if kind < 0.97:
        return random.choice([300, HOUR, HOUR + 1])
    return random.choice([DAY, 3 * DAY + 1, 31 * DAY])


def _state(
    world: World, random: Random, now: float, run: tuple[str, str, str], versions: dict[tuple[str, str, str], int]
) -> None:
    run_id, tenant, group = run
    if random.random() < 0.7:
        versions[run] += random.choice([1, 1, 1, 2, 3])
        version = versions[run]
    else:
        version = random.randint(1, versions[run] + 1)
    at = now + random.choice([0, 0, 0, 0, -1, -3, -5, -20, -70, -300, 1, 4, 30, 5_000])
    scheduled = random.choice([None, None, now - 30, now, now + 20, now + 100])
    world.state(
        now, random.choice(STATES), version, run=run_id, at=max(0, at),
        scheduled=None if scheduled is None else max(0, scheduled), tenant=tenant, group=group,
        message=random.choice([None, "ok", "x" * 1_500]),
    )  # fmt: skip


def _beat(world: World, random: Random, now: float) -> None:
    at = max(0, now + random.choice([0, 0, 0, -1, -10, -60, -400]))
    status = "STOPPED" if random.random() < 0.15 else "ACTIVE"
    world.beat(
        now, random.choice("ab"), at=round(at), status=status, config=random.choice("cd"),
        tenant=random.choice("ttu"),
    )  # fmt: skip


def _control(world: World, random: Random, now: float) -> None:
    name = random.choice(["one", "two"])
    groups = random.choice([None, None, ["g"], ["g", "h", "g"]])
    if random.random() < 0.05:
        world.controls.append(Control(round(now * 1000), f"automation:{name}", {"id": name, "broken": True}))
        return
    if random.random() < 0.08:
        kind = random.choice(["automation", "flow_sla_config", "agent_config"])
        world.control(now, kind, {"automation": name, "agent_config": "c"}.get(kind, f"{name}-sla"))
        return
    enabled = random.random() < 0.85
    tenant = random.choice(["t", "t", "t", "u"])
    shown = {"enabled": enabled, "tenant_id": tenant, "name": random.choice([name, f"{name} again"])}
    kind = random.choice(["state", "NS", "NF", "NF", "agents"])
    if random.random() < 0.3:
        world.control(now, "action", "act", tenant_slug="t-slug", name=random.choice(["x", "y"]),
                      action_type="CancelFlowRunAction", config={}, created="2026-01-01T00:00:00Z")  # fmt: skip
    actions = random.choice([[], ["act"]]) if kind != "agents" else []
    if kind == "state":
        states = random.sample(STATES, random.randint(1, 3))
        world.on_failed(now, name, states=states, flow_group_ids=groups, action_ids=actions, **shown)
    elif kind == "agents":
        world.control(now, "agent_config", "c", name="pool")
        world.automation(
            now, name, "AgentSLAFailedEvent", agent_config_id=random.choice("cc" + "d"), action_ids=actions,
            sla_min_healthy=random.choice([1, 1, 2]), unhealthy_after_seconds=random.choice([10, 60, 300]), **shown,
        )  # fmt: skip
    else:
        long = {"NS": "SCHEDULED_NOT_STARTED", "NF": "STARTED_NOT_FINISHED"}[kind]
        config = {"kind": long, "duration_seconds": random.choice([5, 60, 60, 120]), "flow_group_ids": groups}
        world.control(now, "flow_sla_config", f"{name}-sla", tenant_id=tenant, **config)
        world.automation(now, name, "FlowSLAFailedEvent", flow_sla_config_id=f"{name}-sla", action_ids=actions, **shown)


class _Fleet:
    """Processes that share the partitions, and what can happen to them."""

    def __init__(self, driver: Driver, random: Random) -> None:
        self._driver = driver
        self._random = random
        self._processes: list[Process] = [driver.start([])]
        for place in driver.logs:
            self._processes[0].own(place)

    def something_happens(self) -> None:
        random = self._random
        process = random.choice(self._processes)
        kind = random.random()
        if kind < 0.5:
            process.poll(random.choice([None, 1, 3]), random.choice([None, None, 0, 1]), random.random() < 0.7)
        elif kind < 0.75:
            process.commit()
        elif kind < 0.8:
            process.abort()
        elif kind < 0.9:
            self._move(process)
        elif kind < 0.95 and len(self._processes) < 3:
            self._processes.append(self._driver.start([]))
        else:
            self._crash(process)

    def _move(self, process: Process) -> None:
        """A rebalance: the owner commits and gives one partition up."""
        if process.partitions:
            place: Place = self._random.choice(list(process.partitions))
            process.commit()
            del process.partitions[place]
            self._random.choice(self._processes).own(place)

    def _crash(self, process: Process) -> None:
        """What was not committed is gone; the others, or a new process, take over."""
        self._processes.remove(process)
        if not self._processes or self._random.random() < 0.5:
            self._processes.append(self._driver.start([]))
        for place in process.partitions:
            self._random.choice(self._processes).own(place)

    def settle(self) -> None:
        """Everyone reads to the end."""
        for process in self._processes:
            process.poll()
            process.commit()


def execute(told: History, by: Rules, random: Random) -> list[dict[str, object]]:
    """The events of one execution of a history."""
    return events_of(executed(told, by, random))


def executed(told: History, by: Rules, random: Random, *, to_the_end: bool = True) -> Driver:
    """One execution of a history: lagging, batched, restarted, aborted and repartitioned at random.

    Unless ``to_the_end``, it stops somewhere on the way.
    """
    driver = driver_for(told, by)
    fleet: _Fleet | None = None
    start_ms = told.first_start_ms or 0
    haste = random.choice([0.05, 0.5, 3])
    for record in appends(told):
        if fleet is None and record.log_ms >= start_ms:
            driver.clock_ms = start_ms
            fleet = _Fleet(driver, random)
        append(driver, record)
        while fleet is not None and random.random() < haste / (1 + haste):
            fleet.something_happens()
    if fleet is None:
        driver.clock_ms = start_ms
        fleet = _Fleet(driver, random)
    driver.clock_ms = told.end_ms
    while random.random() < 0.8:
        fleet.something_happens()
    if to_the_end:
        fleet.settle()
    return driver


__all__ = ["Appended", "execute", "executed", "history", "rules"]
