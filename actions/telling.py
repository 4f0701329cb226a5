"""What the runner tells of its deliveries: a log line and the metrics for each."""

from collections.abc import Collection

import structlog
from prometheus_client import Counter

from actions import decide
from actions.channels import CHANNELS
from actions.decide import Decision
from actions.delivery import Delivery
from schemas.records import ActionResult
from streams.metrics import (
    ACTIONS,
    BREAKER_OPEN,
    DELIVERIES_PARKED,
    DELIVERY_LATENCY_SECONDS,
    Metrics,
)

log = structlog.get_logger()

MOST_HOSTS = 100
OTHER = "other"


class Telling:
    """Logs and counts. Of a receiver it names the host, never an address, a secret or a payload."""

    def __init__(self, metrics: Metrics) -> None:
        """To be made after logging is set up."""
        self._metrics = metrics
        self._latency = metrics[DELIVERY_LATENCY_SECONDS]
        # The module's own logger is looked up anew for each entry, which takes as long as the entry itself.
        self._log = log.bind()
        self._hosts: set[str] = set()
        self._closed: dict[str, str] = {}
        self._actions: dict[tuple[str, str], Counter] = {}

    def result(self, delivery: Delivery, result: ActionResult) -> None:
        """A result is being written."""
        self._counter(result.action_type, result.status).inc()
        succeeded = result.status == decide.SUCCEEDED
        if succeeded:
            self._latency.observe(max(0.0, (result.finished_at - delivery.event.detected_at) / 1000))
        write = self._log.info if succeeded else self._log.warning
        write(
            f"delivery {result.status}",
            event_id=result.event_id,
            delivery_id=result.delivery_id,
            automation_id=result.automation_id,
            action_type=result.action_type,
            attempt=result.attempt,
            reason=result.error,
            destination=result.destination,
        )

    def moved(self, delivery: Delivery, decision: Decision) -> None:
        """A delivery goes on in a retry topic without an attempt."""
        self._metrics[DELIVERIES_PARKED].labels(decision.reason or OTHER).inc()
        self._log.debug("delivery waits", delivery_id=delivery.id, reason=decision.reason, delay_ms=decision.delay_ms)

    def closed(self, destination: str, host: str | None, for_ms: int) -> None:
        """A destination has failed too often and is left alone for a while."""
        self._closed[destination] = label = self._label(host or destination)
        self._metrics[BREAKER_OPEN].labels(label).set(1)
        log.warning("destination closed", destination=host or destination, for_s=for_ms // 1000)

    def opened(self, destination: str) -> None:
        """It answers again."""
        label = self._closed.pop(destination, None)
        if label is not None and label not in self._closed.values():
            self._metrics[BREAKER_OPEN].labels(label).set(0)
        log.info("destination open again", destination=label)

    def still_closed(self, destinations: Collection[str]) -> None:
        """These alone are closed now; others were forgotten."""
        for destination in self._closed.keys() - set(destinations):
            self.opened(destination)

    def _counter(self, action_type: str, status: str) -> Counter:
        counter = self._actions.get((action_type, status))
        if counter is None:
            known = action_type if action_type in CHANNELS else OTHER
            counter = self._metrics[ACTIONS].labels(known, status)
            if known != OTHER:
                self._actions[action_type, status] = counter
        return counter

    def _label(self, host: str) -> str:
        if host not in self._hosts and len(self._hosts) >= MOST_HOSTS:
            return OTHER
        self._hosts.add(host)
        return host
