"""``simulate``: a fleet's states and heartbeats, produced to Kafka at a given rate."""

import time
from collections.abc import Iterable, Iterator
from threading import Event
from typing import Annotated

import typer

from cli.codecs import codec_for
from cli.errors import Refused
from cli.fleet_producer import FleetProducer
from cli.options import BootstrapServers, TopicPrefix, settings_from
from cli.reach import require
from cli.screen import Screen
from cli.simulation import KINDS, Emission, FleetShape
from cli.simulator import Fleet, RunWindow
from schemas.ids import named_record_id

STATES_PER_RUN = 3.55
"""Records of states, duplicates counted, that an average simulated run has."""
FOREVER_S = 10 * 365 * 86_400


def register(app: typer.Typer) -> None:
    """Add ``simulate`` to the command line."""
    app.command("simulate", rich_help_panel="Try")(simulate)


def simulate(
    bootstrap_servers: BootstrapServers = None,
    topic_prefix: TopicPrefix = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Flow run states a second, about.")] = 20.0,
    duration: Annotated[
        float | None, typer.Option(min=1, metavar="SECONDS", help="When to end. Without it: with Ctrl-C.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another fleet.")] = 1,
    tenant: Annotated[str, typer.Option(help="Tenant id, also its slug.")] = "demo",
    deadline: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="What good runs keep and bad runs miss.")
    ] = 60.0,
) -> None:
    """Produce the states and heartbeats of a simulated fleet.

    Good runs, and some that fail, are late, stuck, retried, cancelled; records sent twice or late.
    Agents beat under the tenant's agent configs prod and staging; those of prod go silent now and then.

    Example:  automations simulate --rate 100 --duration 60
    """
    settings = settings_from(bootstrap_servers, topic_prefix)
    screen = Screen()
    require(settings, "simulate")
    deadline_ms = int(deadline * 1000)
    shape = FleetShape(
        tenant_id=tenant,
        tenant_slug=tenant,
        runs_per_second=rate / STATES_PER_RUN,
        agent_config_ids=tuple(named_record_id(tenant, "agent_config", name) for name in ("prod", "staging")),
        late_ms=deadline_ms,
        stuck_ms=deadline_ms,
        unhealthy_ms=deadline_ms,
        settle_ms=settings.grace_ms + 5_000,
    )
    first_ms = int(time.time() * 1000)
    end_ms = first_ms + int((duration or FOREVER_S) * 1000)
    fleet = Fleet(shape, seed, RunWindow(first_ms, end_ms, end_ms))
    producer = FleetProducer(settings, codec_for(settings))
    try:
        producer.produce(_until(fleet.emissions(), end_ms), Event())
    except KeyboardInterrupt:
        screen.line("stopped")
    now_ms = time.time() * 1000
    counts = ", ".join(f"{sum(1 for t in fleet.truth if t.kind == k and t.at_ms <= now_ms)} × {k}" for k in KINDS)
    screen.line(f"produced {producer.delivered} records; injected so far: {counts}")
    if producer.failed:
        raise Refused(f"some records were not delivered: {producer.failed}")


def _until(emissions: Iterable[Emission], end_ms: int) -> Iterator[Emission]:
    """Emissions before ``end_ms``, by their own time and by the clock: Kafka may be slower than the rate."""
    for emission in emissions:
        if emission.at_ms >= end_ms or time.time() * 1000 >= end_ms:
            return
        yield emission
