"""How a simulated flow run behaves: a script of states, and what it injects."""

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

from cli.simulation import FAILED, FLOW_NAMES, LATE, LEAD_MS, STUCK, Emission, FleetShape, Injected
from schemas.ids import uuid5_url
from schemas.records import FlowRunState
from topology.names import FLOW_RUN_STATE

_ADJECTIVES = ("amber", "brisk", "calm", "daring", "eager", "fabled", "gentle", "happy", "ivory", "jolly")
_ANIMALS = ("ant", "bear", "crane", "deer", "eagle", "fox", "gull", "hare", "ibis", "jay", "kite", "lynx")

DUPLICATE_SHARE = 0.08
"""Share of records that a producer sends twice."""
FLUSHED_LATE_SHARE = 0.08
"""Share of records that leave their producer some tenths of a second after their timestamp."""


class Step(NamedTuple):
    """A run enters ``state`` ``after_ms`` after it was scheduled."""

    after_ms: int
    state: str
    message: str | None = None


class Script(NamedTuple):
    """All states of a run in order, and what went wrong: pairs of a kind and when (after scheduling)."""

    steps: list[Step]
    injected: list[tuple[str, int]]


def _soon(rng: Random, deadline_ms: int) -> int:
    """A time so short that it meets the deadline even on a machine that falls behind."""
    return rng.randint(deadline_ms // 20, deadline_ms // 4)


def _begin(shape: FleetShape, rng: Random) -> tuple[list[Step], int]:
    """Scheduled, Submitted and Running in good time; returns when it runs."""
    runs_ms = LEAD_MS + _soon(rng, shape.late_ms)
    steps = [Step(0, "Scheduled", "Flow run scheduled."), Step(runs_ms - 40, "Submitted")]
    return [*steps, Step(runs_ms, "Running")], runs_ms


def _succeeds(shape: FleetShape, rng: Random) -> Script:
    steps, at_ms = _begin(shape, rng)
    return Script([*steps, Step(at_ms + _soon(rng, shape.stuck_ms), "Success", "All tasks succeeded.")], [])


def _fails(shape: FleetShape, rng: Random) -> Script:
    steps, at_ms = _begin(shape, rng)
    end_ms = at_ms + _soon(rng, shape.stuck_ms)
    message = rng.choice(("Some reference tasks failed.", "KeyError: 'amount'", "connection reset by peer"))
    return Script([*steps, Step(end_ms, "Failed", message)], [(FAILED, end_ms)])


def _times_out(shape: FleetShape, rng: Random) -> Script:
    steps, at_ms = _begin(shape, rng)
    end_ms = at_ms + _soon(rng, shape.stuck_ms)
    return Script([*steps, Step(end_ms, "TimedOut", "A task timed out.")], [(FAILED, end_ms)])


def _fails_then_succeeds(shape: FleetShape, rng: Random) -> Script:
    """Fails, is scheduled again by its user, succeeds: one failure, and a second attempt in good time."""
    steps, injected = _fails(shape, rng)
    again_ms = steps[-1].after_ms + 300
    runs_ms = again_ms + _soon(rng, shape.late_ms)
    done_ms = runs_ms + _soon(rng, shape.stuck_ms)
    more = [Step(again_ms, "Scheduled", "Run again."), Step(runs_ms, "Running"), Step(done_ms, "Success")]
    return Script([*steps, *more], injected)


def _retries(shape: FleetShape, rng: Random) -> Script:
    """A retry moves no deadline: both tries together stay within it."""
    steps, at_ms = _begin(shape, rng)
    first_ms, pause_ms, second_ms = (_soon(rng, shape.stuck_ms) // 3 + 1 for _ in range(3))
    retry_ms = at_ms + first_ms
    again_ms = retry_ms + pause_ms
    more = [Step(retry_ms, "Retrying", "Retrying (1 of 3)"), Step(again_ms, "Running")]
    return Script([*steps, *more, Step(again_ms + second_ms, "Success")], [])


def _cancelled_before_start(shape: FleetShape, rng: Random) -> Script:
    return Script([Step(0, "Scheduled"), Step(LEAD_MS + _soon(rng, shape.late_ms), "Cancelled", "Not needed.")], [])


def _never_starts(shape: FleetShape, rng: Random) -> Script:
    steps = [Step(0, "Scheduled", "Flow run scheduled.")]
    if rng.random() < 0.5:
        steps.append(Step(LEAD_MS, "Submitted", "Submitted for execution."))
    return Script(steps, [(LATE, LEAD_MS + shape.late_ms)])


def _starts_late(shape: FleetShape, rng: Random) -> Script:
    runs_ms = LEAD_MS + shape.late_ms + shape.settle_ms
    steps = [Step(0, "Scheduled"), Step(runs_ms, "Running")]
    end = Step(runs_ms + _soon(rng, shape.stuck_ms), "Success")
    return Script([*steps, end], [(LATE, LEAD_MS + shape.late_ms)])


def _never_finishes(shape: FleetShape, rng: Random) -> Script:
    steps, at_ms = _begin(shape, rng)
    return Script(steps, [(STUCK, at_ms + shape.stuck_ms)])


def _finishes_late(shape: FleetShape, rng: Random) -> Script:
    """Stuck, and in the end a failure: two things to be told."""
    steps, at_ms = _begin(shape, rng)
    end_ms = at_ms + shape.stuck_ms + shape.settle_ms
    end = Step(end_ms, "Failed", "Gave up.")
    return Script([*steps, end], [(STUCK, at_ms + shape.stuck_ms), (FAILED, end_ms)])


_BEHAVIOURS: dict[str, tuple[int, Callable[[FleetShape, Random], Script]]] = {
    "succeeds": (10, _succeeds),
    "fails": (2, _fails),
    "times out": (1, _times_out),
    "fails, then succeeds": (1, _fails_then_succeeds),
    "retries": (2, _retries),
    "is cancelled before it starts": (1, _cancelled_before_start),
    "never starts": (1, _never_starts),
    "starts late": (1, _starts_late),
    "never finishes": (1, _never_finishes),
    "finishes late, failed": (1, _finishes_late),
}

DECK: tuple[str, ...] = tuple(name for name, (count, _) in _BEHAVIOURS.items() for _ in range(count))
"""Names of the behaviours of as many runs as a deck has, each as often as its share says."""


def run_emissions(
    shape: FleetShape, rng: Random, behaviour: str, number: int, start_ms: int, truth: list[Injected]
) -> Iterator[Emission]:
    """The records of the ``number``-th run, which is scheduled at ``start_ms``; appends to ``truth``."""
    script = _BEHAVIOURS[behaviour][1](shape, rng)
    flow = number % len(FLOW_NAMES)
    run_id = uuid5_url(f"simulated:{shape.tenant_id}/{start_ms}/{number}")
    name = f"{rng.choice(_ADJECTIVES)}-{rng.choice(_ANIMALS)}-{number}"
    for kind, after_ms in script.injected:
        truth.append(Injected(kind, run_id, start_ms + after_ms, f"{FLOW_NAMES[flow]}/{name} {behaviour}"))
    for version, step in enumerate(script.steps, start=1):
        at_ms = start_ms + step.after_ms
        record = FlowRunState(
            tenant_id=shape.tenant_id,
            tenant_slug=shape.tenant_slug,
            flow_id=flow_id(shape.tenant_id, flow),
            flow_name=FLOW_NAMES[flow],
            flow_group_id=flow_group_id(shape.tenant_id, flow),
            flow_run_id=run_id,
            flow_run_name=name,
            version=version,
            state=step.state,
            state_message=step.message,
            timestamp=at_ms,
            scheduled_start_time=start_ms + LEAD_MS if version == 1 else None,
        )
        flushed_ms = at_ms + (rng.randint(100, 600) if rng.random() < FLUSHED_LATE_SHARE else 0)
        yield Emission(flushed_ms, FLOW_RUN_STATE, record)
        if rng.random() < DUPLICATE_SHARE:
            yield Emission(flushed_ms + rng.randint(1, 1500), FLOW_RUN_STATE, record)


def flow_id(tenant_id: str, flow: int) -> str:
    """Id of the tenant's flow of that number (an index into ``FLOW_NAMES``)."""
    return uuid5_url(f"simulated:{tenant_id}/flow/{FLOW_NAMES[flow]}")


def flow_group_id(tenant_id: str, flow: int) -> str:
    """Id of the flow group that the tenant's flow of that number belongs to."""
    return uuid5_url(f"simulated:{tenant_id}/flow_group/{FLOW_NAMES[flow]}")
