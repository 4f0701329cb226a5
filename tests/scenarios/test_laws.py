"""The laws that every history has to obey, whatever happens to those who read it."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.oracle.oracle import expected_events
from tests.scenarios.histories import execute, history

LAW: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=examples(120), **LAW)
@given(size=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_every_execution_of_every_history_gives_exactly_the_events_of_the_oracle(size: int, seed: int) -> None:
    _hold(size, seed)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=4_000, **LAW)
@given(size=st.integers(1, 60), seed=st.integers(0, 2**64))
def test_every_execution_of_thousands_of_longer_histories_gives_the_events_of_the_oracle(size: int, seed: int) -> None:
    _hold(size, seed)


def _hold(size: int, seed: int) -> None:
    random = Random(seed)
    world, end = history(random, size)
    told = world.history(end)
    expected = expected_events(told, world.rules)
    for _ in range(2):
        assert execute(told, world.rules, random) == expected
