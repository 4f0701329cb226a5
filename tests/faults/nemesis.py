"""What is done to the cluster: one fault after another, each healed again, chosen by a seed.

A fault is a function that makes it, heals it, and says what it did. Between two of them the nemesis waits until
things have recovered: every consumer is ready, and in each busy partition a probe sent after the healing has come
back as an event.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.faults.cluster import SESSION_MS, TRANSACTION_MS, Cluster, Fleets, Service
from tests.faults.load import Echoes, Load
from tests.faults.proxy import Disturbance, Kind
from tests.kafka.consumer_world import EventReader
from tests.oracle.deliveries import Kill
from topology.settings import Settings

RECOVERS_WITHIN_S = 300.0
"""Generous: a slow machine is no fault of the product. Who takes longer is stuck."""
SESSION_S, TRANSACTION_S = SESSION_MS / 1000, TRANSACTION_MS / 1000
FLOOD = 500
TELLS_EACH_S = 30.0


class Done(NamedTuple):
    """A fault that was made. Times in unix seconds but for ``slowest_s``: the slowest probe until recovery."""

    kind: str
    detail: str
    began_s: float
    healed_s: float
    recovered_s: float
    slowest_s: float


class Stuck(Exception):
    """The cluster did not recover from a fault."""


class World:
    """What the faults are made of."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        fleets: Fleets,
        load: Load,
        reader: EventReader,
        rng: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.cluster, self.fleets, self.load, self.rng = cluster, fleets, load, rng
        self.echoes = Echoes(load)
        self.runner_kills: list[Kill] = []
        self.say = say
        self.reader = reader

    def wait(self, seconds: float) -> None:
        """Lets time pass, while the supervisor does its work."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self.fleets.tend()
            self.echoes.look(self.reader.values)
            time.sleep(min(left, 0.1))

    def recovered(self, healed_s: float) -> bool:
        """Whether each busy partition has given back a probe sent since then, and every consumer is ready."""
        self.echoes.look(self.reader.values)
        return self.echoes.all_since(healed_s) and self.fleets.ready()

    def await_recovery(self, what: str) -> None:
        """Waits for that. Raises `Stuck`."""
        healed_s = told_s = time.monotonic()
        while not self.recovered(healed_s):
            if self.fleets.refusals:
                raise Stuck(f"after {what}: a consumer refused to start")
            if time.monotonic() - healed_s > RECOVERS_WITHIN_S:
                raise Stuck(f"{what}: no recovery within {RECOVERS_WITHIN_S:.0f} s: {self._missing(healed_s)}")
            if time.monotonic() - told_s > TELLS_EACH_S:
                told_s = time.monotonic()
                self.say(f"  {what}: not recovered yet, {self._missing(healed_s)}")
            self.wait(0.2)

    def _missing(self, healed_s: float) -> str:
        silent = sorted(set(self.load.busy) - self.echoes.back_since(healed_s))
        return f"nothing came back from partitions {silent}; {self.load.state}; {self.fleets.unready()}"

    def some(self, services: list[Service]) -> Service:
        return self.rng.choice([service for service in services if service.running] or services)


Fault = Callable[[World], str]


def kill_consumer(world: World) -> str:
    """SIGKILL; it comes back at once, or after the others have taken over."""
    victim, away_s = world.some(world.fleets.consumers), world.rng.choice([0, 1, SESSION_S + 3])
    victim.kill()
    world.wait(away_s)
    victim.up()
    return f"{victim.name}, away for {away_s:.0f} s"


def kill_all_consumers(world: World) -> str:
    """SIGKILL to each; nobody is there for a while."""
    victims, away_s = world.fleets.alive, world.rng.uniform(0, 10)
    for victim in victims:
        victim.kill()
    world.wait(away_s)
    for victim in victims:
        victim.up()
    return f"{len(victims)} of them, away for {away_s:.0f} s"


def kill_runner(world: World) -> str:
    victim, away_s = world.some(world.fleets.runners), world.rng.choice([0, 3, SESSION_S + 3])
    victim.kill()
    world.runner_kills.append(Kill(time.time()))
    world.wait(away_s)
    victim.up()
    return f"{victim.name}, away for {away_s:.0f} s"


def pause_consumer(world: World) -> str:
    """SIGSTOP for less than the session, for more, or for more than the transaction timeout too."""
    seconds = world.rng.choice([2, SESSION_S + 2, SESSION_S + 4, TRANSACTION_S + SESSION_S])
    victim = world.some(world.fleets.consumers)
    victim.pause()
    world.wait(seconds)
    victim.resume()
    return f"{victim.name} for {seconds:.0f} s"


def pause_runner(world: World) -> str:
    seconds = world.rng.choice([2, SESSION_S + 3, TRANSACTION_S + SESSION_S])
    victim = world.some(world.fleets.runners)
    victim.pause()
    world.wait(seconds)
    victim.resume()
    return f"{victim.name} for {seconds:.0f} s"


def _node(world: World) -> tuple[int, str]:
    """A node: the one that coordinates a group as often as any."""
    if world.rng.random() < 0.5:
        group = world.rng.choice([world.settings.consumer_group, world.settings.actions_group])
        node = world.cluster.coordinator(world.settings, group)
        if node is not None:
            return node, f"node {node} (coordinator of {group})"
    node = world.rng.choice(world.cluster.nodes)
    return node, f"node {node}"


def kill_broker(world: World) -> str:
    (node, name), away_s = _node(world), world.rng.choice([0, 2, 10])
    world.cluster.kafka.kill(node)
    world.wait(away_s)
    world.cluster.kafka.restart(node)
    return f"{name}, away for {away_s} s"


def pause_broker(world: World) -> str:
    (node, name), seconds = _node(world), world.rng.choice([0.5, 2, 5, 8, 14, 20])
    world.cluster.kafka.pause(node)
    try:
        world.wait(seconds)
    finally:
        world.cluster.kafka.resume(node)
    return f"{name} for {seconds} s"


def disturb_network(world: World) -> str:
    """The network between brokers and clients: cut, slow, silent in one direction, or connections reset."""
    rng = world.rng
    kinds: list[Kind] = ["cut", "slow", "silent_requests", "silent_answers", "reset"]
    kind, seconds = rng.choice(kinds), rng.choice([1, 3, SESSION_S + 2, TRANSACTION_S + 4])
    nodes = rng.choice([world.cluster.nodes, [_node(world)[0]]])
    victim = world.some(world.fleets.all)
    pid = victim.process.pid if victim.process is not None else 0
    everybody = rng.random() < 0.4
    delay_s = rng.choice([0.05, 0.3])
    pids = None if everybody else frozenset([pid])
    world.cluster.net.disturb(Disturbance(kind, frozenset(nodes), pids, delay_s))
    try:
        world.wait(seconds)
    finally:
        world.cluster.net.clear(reset=rng.random() < 0.3)
    return f"{kind} for {seconds:.0f} s, nodes {nodes}, {'everybody' if everybody else victim.name}"


def roll_everything(world: World) -> str:
    """A rolling update: consumers, runners, brokers, one after another."""
    for service in [*world.fleets.alive, *world.fleets.runners]:
        service.leave()
        service.up()
        world.wait(1)
        world.await_recovery(f"{service.name} was restarted")
    for node in world.cluster.nodes:
        world.cluster.kafka.shut_down(node)
        world.wait(0.5)
        world.cluster.kafka.restart(node)
        world.await_recovery(f"node {node} was restarted")
    return "consumers, runners, brokers"


def scale(world: World) -> str:
    """To one, to six, or something in between, and back."""
    many = world.rng.choice([1, 2, 4, 6])
    services = world.fleets.consumers
    for service in services[:many]:
        service.up()
    for service in services[many:]:
        service.leave()
    world.wait(2)
    world.await_recovery(f"scaling to {many}")
    for service in services[: world.fleets.usual]:
        service.up()
    for service in services[world.fleets.usual :]:
        service.leave()
    return f"to {many} and back to {world.fleets.usual}"


def change_automations(world: World) -> str:
    world.load.change(world.rng, 10)
    return "10 changes"


def flood_of_changes(world: World) -> str:
    world.load.change(world.rng, FLOOD)
    return f"{FLOOD} changes at once"


FAULTS: dict[str, tuple[Fault, float]] = {
    "kill a consumer": (kill_consumer, 4),
    "kill all consumers": (kill_all_consumers, 1),
    "kill a runner": (kill_runner, 2),
    "pause a consumer": (pause_consumer, 4),
    "pause a runner": (pause_runner, 2),
    "kill a broker": (kill_broker, 3),
    "pause a broker": (pause_broker, 3),
    "disturb the network": (disturb_network, 5),
    "rolling restart": (roll_everything, 0.5),
    "scale": (scale, 1.5),
    "change automations": (change_automations, 2),
    "flood of changes": (flood_of_changes, 0.5),
}


class Nemesis:
    """Makes faults until its time is over; ``kinds`` are those to choose among, each once before any twice."""

    def __init__(self, world: World, kinds: list[str]) -> None:
        self.done: list[Done] = []
        self._world = world
        self._kinds = kinds
        self._bag: list[str] = []

    def rampage(self, seconds: float) -> None:
        """Raises `Stuck` where the cluster does not recover."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            self._one(self._choose())
            self._world.wait(self._world.rng.uniform(0.5, 3))

    def _choose(self) -> str:
        """All kinds come up in the first round; then the likelier ones more often."""
        rng = self._world.rng
        if not self.done and not self._bag:
            self._bag = rng.sample(self._kinds, len(self._kinds))
        if self._bag:
            return self._bag.pop()
        return rng.choices(self._kinds, [FAULTS[kind][1] for kind in self._kinds])[0]

    def _one(self, kind: str) -> None:
        world = self._world
        began_s, began = time.time(), time.monotonic()
        detail = FAULTS[kind][0](world)
        healed_s = time.time()
        world.say(f"{kind}: {detail}")
        recovered = False
        try:
            world.await_recovery(f"{kind} ({detail})")
            recovered = True
        finally:
            slowest_s = world.echoes.slowest(began) if recovered else float("inf")
            self.done.append(Done(kind, detail, began_s, healed_s, time.time(), slowest_s))
        world.say(f"  recovered; the slowest event took {slowest_s:.1f} s")
