"""A simulated fleet: flow runs and agents that behave well and badly, and the truth about what they did.

Laws:

1. The same shape, seed and start give the same emissions and the same truth. No clock is read here.
2. Emissions come in the order of ``at_ms``, the time at which they are to be produced.
3. What behaves well stays far from every deadline, what behaves badly passes it by far, so that the truth
   holds however late a busy machine produces an emission (by up to half of a deadline).
4. Every deck of runs holds each behaviour, so that even a short simulation shows all of them.
"""

import heapq
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from cli.simulated_agents import agent_emissions
from cli.simulated_runs import DECK, run_emissions
from cli.simulation import Emission, FleetShape, Injected


class RunWindow(NamedTuple):
    """When runs begin: from ``first_ms`` until before ``last_ms``; agents live from first to ``end_ms``."""

    first_ms: int
    last_ms: int
    end_ms: int


class Fleet:
    """A fleet over one window of time.

    ``truth`` grows while ``emissions`` is consumed; it is complete when the iterator ends.
    """

    def __init__(self, shape: FleetShape, seed: int, window: RunWindow) -> None:
        self.shape = shape
        self.window = window
        self.truth: list[Injected] = []
        self._seed = seed

    def emissions(self) -> Iterator[Emission]:
        """All records of runs and agents, in the order in which they are to be produced."""
        return heapq.merge(self._runs(), self._agents(), key=lambda emission: emission.at_ms)

    def _agents(self) -> Iterator[Emission]:
        rng = Random(f"{self._seed}/agents")  # noqa: S311 - a simulation, no secret
        yield from agent_emissions(self.shape, rng, self.window.first_ms, self.window.last_ms,
                                   self.window.end_ms, self.truth)  # fmt: skip

    def _runs(self) -> Iterator[Emission]:
        """Runs begin at even intervals; what a run will emit later waits in a heap."""
        rng = Random(f"{self._seed}/runs")  # noqa: S311 - a simulation, no secret
        waiting: list[tuple[int, int, Emission]] = []
        interval_ms = 1000 / self.shape.runs_per_second
        number = sequence = 0
        deck: list[str] = []
        while (start_ms := self.window.first_ms + int(number * interval_ms)) < self.window.last_ms:
            while waiting and waiting[0][0] <= start_ms:
                yield heapq.heappop(waiting)[2]
            if not deck:
                deck = list(DECK)
                rng.shuffle(deck)
            for emission in run_emissions(self.shape, rng, deck.pop(), number, start_ms, self.truth):
                sequence += 1
                heapq.heappush(waiting, (emission.at_ms, sequence, emission))
            number += 1
        while waiting:
            yield heapq.heappop(waiting)[2]
