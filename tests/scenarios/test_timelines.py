"""The worked timelines of the semantics page: each case live, read long afterwards, and by the oracle."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.oracle.oracle import expected_events
from tests.scenarios.world import World, afterwards, live

END = 1_000


def case_1(w: World) -> list[int]:
    """A failed run fires once, its duplicate not."""
    w.on_failed().state(10, "Running", 1).state(20, "Failed", 2).state(25, "Failed", 2)
    return [20]


def case_2(w: World) -> list[int]:
    """A late version still fires its own state change, once."""
    w.on_failed().state(10, "Running", 1).state(30, "Success", 3)
    w.state(31, "Failed", 2, at=20).state(40, "Failed", 2, at=20)
    return [20]


def case_3(w: World) -> list[int]:
    """An automation does not fire for what happened before it was made, whenever that is read."""
    w.on_failed(50).state(10, "Failed", 1)
    return []


def case_4(w: World) -> list[int]:
    """An edit while the consumer is down does not hide a failure from before it."""
    w.on_failed().state(10, "Failed", 1).on_failed(50, states=["Failed", "TimedOut"])
    return [10]


def case_5(w: World) -> list[int]:
    """A run that never finishes fires when progress has passed its deadline and grace."""
    w.sla("NF").state(100, "Running", 1)
    return [160]


def case_6(w: World) -> list[int]:
    """A finish that occurred in time and came within grace is in time."""
    w.sla("NF").state(100, "Running", 1).state(161, "Success", 2, at=159)
    return []


def case_7(w: World) -> list[int]:
    """A finish that occurred too late is a miss by proof, though it came within grace."""
    w.sla("NF").state(100, "Running", 1).state(161, "Success", 2)
    return [160]


def case_8(w: World) -> list[int]:
    """A run that finished in time never fires, however late both records are read."""
    w.sla("NF").state(100, "Running", 1).state(150, "Success", 2)
    return []


def case_9(w: World) -> list[int]:
    """A run that finished too late fires once, however late both records are read."""
    w.sla("NF").state(100, "Running", 1).state(400, "Success", 2)
    return [160]


def case_10(w: World) -> list[int]:
    """A producer's clock that is far behind does not make a run late."""
    w.sla("NF").state(100, "Running", 1, at=-20).state(130, "Success", 2)
    return []


def case_11(w: World) -> list[int]:
    """A producer's clock that is a day ahead does not hide a stuck run."""
    w.sla("NF").state(100, "Running", 1, at=86_500)
    return [160]


def case_12(w: World) -> list[int]:
    """Retries do not move the deadline of an attempt."""
    w.sla("NF").state(100, "Running", 1).state(120, "Retrying", 2)
    w.state(150, "Running", 3).state(170, "Success", 4)
    return [160]


def case_13(w: World) -> list[int]:
    """A late first Running moves the base to when it occurred."""
    w.sla("NF").state(150, "Running", 3).state(151, "Running", 1, at=148).state(209, "Success", 4)
    return [208]


def case_14(w: World) -> list[int]:
    """A Running that comes after its Success arms nothing that is missed."""
    w.sla("NF").state(130, "Success", 2).state(131, "Running", 1, at=125)
    return []


def case_15(w: World) -> list[int]:
    """A run that is scheduled again after it failed has a new attempt with a new deadline."""
    w.sla("NS").state(90, "Scheduled", 1, scheduled=100).state(105, "Running", 2).state(110, "Failed", 3)
    w.state(500, "Scheduled", 4, scheduled=100).state(520, "Running", 5).state(530, "Success", 6)
    return []


def case_16(w: World) -> list[int]:
    """Each attempt that does not start in time fires for itself."""
    w.sla("NS").state(90, "Scheduled", 1, scheduled=100).state(200, "Running", 2).state(210, "Failed", 3)
    w.state(500, "Scheduled", 4, scheduled=100)
    return [160, 560]


def case_17(w: World) -> list[int]:
    """Another schedule time meets the old deadline and arms a new one."""
    w.sla("NS").state(90, "Scheduled", 1, scheduled=100).state(120, "Scheduled", 2, scheduled=200)
    w.state(300, "Scheduled", 3, scheduled=400)
    return [260, 460]


def case_18(w: World) -> list[int]:
    """A run that is cancelled or deleted before it starts is not late."""
    w.sla("NS").state(90, "Scheduled", 1, scheduled=100, run="r").state(95, "Cancelled", 2, run="r")
    w.state(90, "Scheduled", 1, scheduled=100, run="q").state(130, "Deleted", 2, run="q")
    return []


def case_19(w: World) -> list[int]:
    """Waiting again without a schedule time does not move the deadline."""
    w.sla("NS").state(100, "Scheduled", 1).state(130, "Scheduled", 2).state(155, "Scheduled", 3)
    return [160]


def case_20(w: World) -> list[int]:
    """An automation made when a run is past its deadline never fires for it."""
    w.sla("NF", 200).state(100, "Running", 1, run="r").state(150, "Running", 1, run="q")
    return [210]


def case_21(w: World) -> list[int]:
    """Disabled over a deadline, that deadline is gone; a rename changes nothing."""
    w.sla("NF").state(100, "Running", 1, run="r")
    w.sla("NF", 130, enabled=False).sla("NF", 200)
    w.state(300, "Running", 1, run="q")
    w.sla("NF", 361, action_ids=["none"])
    return [360]


def case_22(w: World) -> list[int]:
    """A longer duration moves deadlines not yet passed; one shortened past a deadline loses it."""
    w.sla("NF").state(100, "Running", 1, run="r").sla("NF", 150, 120)
    w.state(300, "Running", 1, run="q").sla("NF", 410, 60)
    return [220]


def case_23(w: World) -> list[int]:
    """Another tenant's run of the same id is another run."""
    w.sla("NF").state(100, "Running", 1).state(110, "Success", 2, tenant="u")
    return [160]


def case_24(w: World) -> list[int]:
    """Agents that never came, and agents that went away."""
    w.agents().beat(400).beat(410)
    return [300, 710]


def case_25(w: World) -> list[int]:
    """Two of three agents suffice; one that stops on purpose is not missed; a repeat does not revive it."""
    w.agents(minimum=2).beat(10, "a").beat(10, "b").beat(290, "a").beat(295, "b", status="STOPPED")
    w.beat(330, "d").beat(340, "b", at=10).beat(580, "a").beat(600, "d").beat(870, "a")
    return [900]


CASES: list[Callable[[World], list[int]]] = [
    case_1, case_2, case_3, case_4, case_5, case_6, case_7, case_8, case_9, case_10, case_11, case_12, case_13,
    case_14, case_15, case_16, case_17, case_18, case_19, case_20, case_21, case_22, case_23, case_24, case_25,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__doc__)
def test_each_worked_timeline_gives_its_events_live_and_afterwards(case: Callable[[World], list[int]]) -> None:
    world = World()
    expected = [seconds * 1000 for seconds in case(world)]
    history = world.history(END)
    assert [event["timestamp"] for event in expected_events(history, world.rules)] == expected
    for events in (live(history, world.rules), afterwards(history, world.rules), afterwards(history, world.rules, 1)):
        assert events == expected_events(history, world.rules)


def test_a_deadline_fires_only_once_progress_has_passed_it_and_grace() -> None:
    for end, expected in ((162, []), (163, [160_000])):
        world = World()
        case_5(world)
        assert [event["timestamp"] for event in live(world.history(end), world.rules)] == expected
