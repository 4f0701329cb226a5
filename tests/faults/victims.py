"""A world with consumers in it, and consumers that are killed or frozen at a chosen point."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from tests.faults.lives import QUICK, watched
from tests.kafka.consumer_process import ConsumerProcess, Fleet, consumers, until
from tests.kafka.consumer_world import ControlEntry, EventReader, make_topics, put_control, reading_events
from topology.names import AGENT_HEARTBEAT, FLOW_RUN_STATE
from topology.settings import Settings

START_S = 120
"""How long a busy machine has for starting a consumer, and for what may take as long."""
POINTED = ("tests.faults.points",)


class Case(NamedTuple):
    """Topics, consumers, and a reader of the events."""

    settings: Settings
    fleet: Fleet
    reader: EventReader
    folder: Path

    def victim(self, plan: str = "", **env: str) -> "Victim":
        """Starts a consumer that does at a point what its plan says; see ``tests.faults.points``."""
        return Victim(self.fleet, self.folder, plan, **env)

    def owns_all(self, process: ConsumerProcess) -> bool:
        """Whether a process works on every partition of the inputs, with nothing left to restore."""
        wanted = sum(self.settings.partitions[name] for name in (FLOW_RUN_STATE, AGENT_HEARTBEAT))
        return process.is_ready() and partitions_at_work(process) == wanted


@contextmanager
def case(
    settings: Settings,
    folder: Path,
    control: Iterable[ControlEntry] | None = None,
    runs: int = 8,
    agents: int = 2,
    env: dict[str, str] | None = None,
) -> Iterator[Case]:
    """Topics with so many partitions, automations of every kind unless told, and no consumer yet."""
    partitions = {**settings.partitions, FLOW_RUN_STATE: runs, AGENT_HEARTBEAT: agents}
    settings = settings.model_copy(update={"partitions": partitions})
    make_topics(settings)
    put_control(settings, watched() if control is None else control)
    with consumers(settings, folder, **{**QUICK, **(env or {})}) as fleet, reading_events(settings) as reader:
        yield Case(settings, fleet, reader, folder)


def partitions_at_work(process: ConsumerProcess) -> int:
    """Of how many partitions a process tells the lag: those that it works on."""
    return sum(line.startswith("automations_lag_records{") for line in process.get("/metrics").splitlines())


class Victim:
    """A consumer process with a plan for its end."""

    def __init__(self, fleet: Fleet, folder: Path, plan: str, **env: str) -> None:
        self._plan = folder / f"plan-{uuid4()}"
        if plan:
            self.plan(plan)
        self.process = fleet.run(POINTED, {**env, "FAULT_PLAN": str(self._plan)})

    def plan(self, plan: str) -> None:
        """Tells it what to do where: ``<point> <n> <signal>``."""
        self._plan.write_text(plan)

    def acts(self, timeout_s: float) -> None:
        """Waits until it has done what its plan says."""
        until(lambda: not self._plan.exists(), timeout_s, "it does as planned")

    def dies(self, timeout_s: float = 20) -> None:
        """Waits until it has been killed as planned."""
        assert self.process.wait(timeout_s) == -signal.SIGKILL, self.process.log.read_text()[-2000:]
        assert not self._plan.exists(), "it was killed by somebody else"

    def freezes(self, timeout_s: float = 20) -> None:
        """Waits until it stands still as planned."""
        until(lambda: not self._plan.exists() and self._state() == "T", timeout_s, "it stands still")

    def _state(self) -> str:
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
