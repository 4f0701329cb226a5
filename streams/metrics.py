"""Every metric that a service shows on ``/metrics``: one typed list.

A metric is a value here; a process makes its instruments once, ``Metrics()``, and asks by the value:
``metrics[RECORDS_CONSUMED].labels("flow-run-state").inc()``. In a loop, keep what ``labels`` returns.
Labels hold names from a small closed set only: never ids, URLs, texts or anything that a user writes.
"""

from typing import NamedTuple, overload

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SUB_SECOND = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Buckets in seconds for what should take milliseconds."""
MINUTES = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Buckets in seconds for what may take minutes."""


class CounterSpec(NamedTuple):
    """A number that only grows, until the process restarts."""

    name: str
    labels: tuple[str, ...]
    help: str


class GaugeSpec(NamedTuple):
    """A number that goes up and down."""

    name: str
    labels: tuple[str, ...]
    help: str


class HistogramSpec(NamedTuple):
    """A distribution, in ``buckets`` of upper bounds."""

    name: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...]


Spec = CounterSpec | GaugeSpec | HistogramSpec

RECORDS_CONSUMED = CounterSpec("automations_records_consumed_total", ("topic",), "Records read.")
RECORDS_REJECTED = CounterSpec(
    "automations_records_rejected_total", ("topic", "reason"), "Records that could not be taken, by reason."
)
RECORDS_LATE = CounterSpec(
    "automations_records_late_total", ("topic",), "Records appended more than the grace after they occurred."
)
EVENTS_EMITTED = CounterSpec("automations_events_emitted_total", ("event_name",), "Automation events fired.")
STATE_CONFLICTS = CounterSpec(
    "automations_state_conflicts_total", (), "Second records of a run's version that name another state."
)
UNKNOWN_STATES = CounterSpec(
    "automations_unknown_states_total", (), "States that no rule knows: they only fire state changes."
)
RUNS_DROPPED = CounterSpec(
    "automations_runs_dropped_total", (), "Unfinished runs forgotten 30 days after their last sign."
)
LAG_RECORDS = GaugeSpec("automations_lag_records", ("topic", "partition"), "Records not yet read.")
PROGRESS_DELAY_SECONDS = GaugeSpec(
    "automations_progress_delay_seconds",
    ("topic", "partition"),
    "How far the partition's progress is behind broker time.",
)
ACTIVE_RUNS = GaugeSpec("automations_active_runs", (), "Unfinished runs held in state.")
ARMED_TIMERS = GaugeSpec("automations_armed_timers", (), "Deadlines that are waited for.")
INVALID_CONTROL_RECORDS = GaugeSpec(
    "automations_invalid_control_records", (), "Control records that are skipped because they are invalid."
)
TIMER_FIRE_DELAY_SECONDS = HistogramSpec(
    "automations_timer_fire_delay_seconds",
    (),
    "From a deadline plus its grace to its firing, in broker time.",
    MINUTES,
)
COMMIT_SECONDS = HistogramSpec("automations_commit_seconds", (), "Time that a commit takes.", SUB_SECOND)
RESTORE_SECONDS = HistogramSpec(
    "automations_restore_seconds", (), "Time from assignment to restored state, a partition.", MINUTES
)
REBALANCES = CounterSpec("automations_rebalances_total", (), "Assignments given or taken.")
TRANSACTION_ABORTS = CounterSpec("automations_transaction_aborts_total", (), "Transactions aborted.")

ACTIONS = CounterSpec("automations_actions_total", ("action_type", "status"), "Result records written, one an attempt.")
DELIVERY_LATENCY_SECONDS = HistogramSpec(
    "automations_delivery_latency_seconds", (), "From an event's detection to its delivery.", MINUTES
)
DELIVERIES_IN_FLIGHT = GaugeSpec("automations_deliveries_in_flight", (), "Requests under way now.")
DELIVERIES_PENDING = GaugeSpec(
    "automations_deliveries_pending", (), "Deliveries read and not ended: queued, in flight or to be retried."
)
BREAKER_OPEN = GaugeSpec(
    "automations_breaker_open", ("destination",), "Whether a host has failed too often and is left alone (1)."
)
DELIVERIES_PARKED = CounterSpec(
    "automations_deliveries_parked_total", ("reason",), "Deliveries moved to a retry topic without an attempt."
)
PARTITIONS_PAUSED = GaugeSpec(
    "automations_partitions_paused", (), "Partitions not read for now, because too much is undelivered."
)

METRICS: tuple[Spec, ...] = (
    RECORDS_CONSUMED,
    RECORDS_REJECTED,
    RECORDS_LATE,
    EVENTS_EMITTED,
    STATE_CONFLICTS,
    UNKNOWN_STATES,
    RUNS_DROPPED,
    LAG_RECORDS,
    PROGRESS_DELAY_SECONDS,
    ACTIVE_RUNS,
    ARMED_TIMERS,
    INVALID_CONTROL_RECORDS,
    TIMER_FIRE_DELAY_SECONDS,
    COMMIT_SECONDS,
    RESTORE_SECONDS,
    REBALANCES,
    TRANSACTION_ABORTS,
    ACTIONS,
    DELIVERY_LATENCY_SECONDS,
    DELIVERIES_IN_FLIGHT,
    DELIVERIES_PENDING,
    BREAKER_OPEN,
    DELIVERIES_PARKED,
    PARTITIONS_PAUSED,
)
"""All of them, in the order of the reference."""


class Metrics:
    """The instruments of one process, on a registry of their own: two of them never share a number."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._instruments: dict[Spec, Counter | Gauge | Histogram] = {}
        for spec in METRICS:
            self._instruments[spec] = _instrument(spec, self.registry)

    @overload
    def __getitem__(self, spec: CounterSpec) -> Counter: ...
    @overload
    def __getitem__(self, spec: GaugeSpec) -> Gauge: ...
    @overload
    def __getitem__(self, spec: HistogramSpec) -> Histogram: ...
    def __getitem__(self, spec: Spec) -> Counter | Gauge | Histogram:
        """The instrument of ``spec``; raises ``KeyError`` for one that is not in ``METRICS``."""
        return self._instruments[spec]


def _instrument(spec: Spec, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if isinstance(spec, CounterSpec):
        return Counter(spec.name, spec.help, spec.labels, registry=registry)
    if isinstance(spec, GaugeSpec):
        return Gauge(spec.name, spec.help, spec.labels, registry=registry)
    return Histogram(spec.name, spec.help, spec.labels, registry=registry, buckets=spec.buckets)
