"""The consumer's numbers, from what its partitions have counted."""

from __future__ import annotations

from collections.abc import Mapping

from consumer.agents import Agents
from consumer.counts import Counts
from consumer.runs import Runs
from streams import metrics as names
from streams.app import Place
from streams.metrics import Metrics
from streams.partition import Partition


class Watch:
    """Moves counts into metrics at each commit, so that what was aborted is not counted."""

    def __init__(self, metrics: Metrics, topic_prefix: str) -> None:
        self._metrics = metrics
        self._prefix = topic_prefix
        self._shown: set[tuple[str, str]] = set()

    def committed(self, seconds: float, partitions: dict[Place, Partition]) -> None:
        """A transaction was committed in ``seconds``."""
        self._metrics[names.COMMIT_SECONDS].observe(seconds)
        for (topic, _), partition in partitions.items():
            logic = partition.logic
            if isinstance(logic, (Runs, Agents)):
                counts, logic.counts = logic.counts, Counts()
                self._add(topic.removeprefix(self._prefix), counts)

    def aborted(self) -> None:
        """A transaction was aborted."""
        self._metrics[names.TRANSACTION_ABORTS].inc()

    def rebalanced(self) -> None:
        """Partitions were given or taken."""
        self._metrics[names.REBALANCES].inc()

    def restored(self, seconds: float) -> None:
        """A partition was restored in ``seconds``."""
        self._metrics[names.RESTORE_SECONDS].observe(seconds)

    def gauges(
        self, now_ms: int, partitions: Mapping[Place, Partition], highs: Mapping[Place, int], invalid: int
    ) -> None:
        """Sets what is so now; ``now_ms`` is broker time."""
        metrics, runs, timers = self._metrics, 0, 0
        gone, self._shown = self._shown, set()
        for place, partition in partitions.items():
            labels = (place[0].removeprefix(self._prefix), str(place[1]))
            self._shown.add(labels)
            delay_ms = now_ms - partition.progress_ms if partition.progress_ms >= 0 else 0
            metrics[names.PROGRESS_DELAY_SECONDS].labels(*labels).set(max(0, delay_ms) / 1000)
            metrics[names.LAG_RECORDS].labels(*labels).set(max(0, highs.get(place, 0) - partition.offset))
            logic = partition.logic
            if isinstance(logic, (Runs, Agents)):
                runs += logic.active_runs
                timers += logic.armed_timers
        for labels in gone - self._shown:
            # Another process tells of it now.
            metrics[names.PROGRESS_DELAY_SECONDS].remove(*labels)
            metrics[names.LAG_RECORDS].remove(*labels)
        metrics[names.ACTIVE_RUNS].set(runs)
        metrics[names.ARMED_TIMERS].set(timers)
        metrics[names.INVALID_CONTROL_RECORDS].set(invalid)

    def _add(self, topic: str, counts: Counts) -> None:
        metrics = self._metrics
        metrics[names.RECORDS_CONSUMED].labels(topic).inc(counts.consumed)
        metrics[names.RECORDS_LATE].labels(topic).inc(counts.late)
        metrics[names.STATE_CONFLICTS].inc(counts.conflicts)
        metrics[names.UNKNOWN_STATES].inc(counts.unknown_states)
        metrics[names.RUNS_DROPPED].inc(counts.dropped_runs)
        for reason, count in counts.rejected.items():
            metrics[names.RECORDS_REJECTED].labels(topic, reason).inc(count)
        for event_name, count in counts.emitted.items():
            metrics[names.EVENTS_EMITTED].labels(event_name).inc(count)
        for delay_ms in counts.fire_delays_ms:
            metrics[names.TIMER_FIRE_DELAY_SECONDS].observe(delay_ms / 1000)
