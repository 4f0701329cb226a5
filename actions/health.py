"""How a destination fares, and when it may be asked again. Pure: time is an argument, milliseconds.

Law: after ``FAILURES`` failures in a row a destination is closed for a pause that doubles each time, up to a
bound; then one request at a time probes it, and the first answer opens it. A destination that asks for
patience gets it. Nothing else keeps a request back but the destination's own rate.
"""

from actions.channels.channel import Rate

FAILURES = 5
"""So many failures in a row close a destination."""
PAUSE_MS = (30_000, 300_000)
"""The first pause of a closed destination, and the longest."""
SLOW_MS = 1_000
"""A destination whose answers take longer than this on average, or that fails, counts as slow."""
FORGOTTEN_AFTER_MS = 3_600_000
NEVER = 2**62


class Health:
    """One destination's breaker, patience, rate and pace."""

    __slots__ = ("_burst", "_failures", "_pause_ms", "_pauses_ms", "_per_ms", "_tokens", "_tokens_at_ms",
                 "_used_at_ms", "average_ms", "closed_until_ms", "known", "patience_until_ms")  # fmt: skip

    def __init__(self, rate: Rate | None = None, pauses_ms: tuple[int, int] = PAUSE_MS) -> None:
        self.average_ms = 0.0
        self.closed_until_ms = 0
        self.patience_until_ms = 0
        self._failures = 0
        self.known = False
        self._pauses_ms = pauses_ms
        self._pause_ms = pauses_ms[0]
        self._per_ms = None if rate is None else rate.per_second / 1000
        self._burst = float("inf") if rate is None else max(1.0, float(rate.burst))
        self._tokens = self._burst
        self._tokens_at_ms = 0
        self._used_at_ms = 0

    @property
    def closed(self) -> bool:
        """Whether the breaker is open: closed for good, or being probed."""
        return self._failures >= FAILURES

    @property
    def slow(self) -> bool:
        """Whether it takes long, or fails."""
        return self._failures > 0 or self.average_ms > SLOW_MS

    def forgettable(self, now_ms: int) -> bool:
        """Whether a new one would do as well."""
        if now_ms < self.patience_until_ms:
            return False
        if self._per_ms is not None:
            self._refill(now_ms)
            if self._tokens < self._burst:
                return False
        return not self.slow or now_ms - max(self.closed_until_ms, self._used_at_ms) > FORGOTTEN_AFTER_MS

    def free_at(self, now_ms: int) -> int:
        """From when on the next request may go; ``now_ms`` or earlier = at once."""
        at = max(self.closed_until_ms, self.patience_until_ms)
        if self._per_ms is not None:
            self._refill(now_ms)
            if self._tokens < 1:
                at = max(at, now_ms + 1 + int((1 - self._tokens) / self._per_ms))
        return at

    def allowed(self, most: int) -> int:
        """How many requests may be out at once: one while it is probed."""
        return 1 if self.closed else most

    def limit(self, rate: Rate) -> None:
        """No more than this either."""
        per_ms, burst = rate.per_second / 1000, max(1.0, float(rate.burst))
        if self._per_ms is None or per_ms < self._per_ms:
            self._per_ms, self._burst, self._tokens = per_ms, burst, min(self._tokens, burst)

    def pace_ms(self, at_once: int) -> float:
        """About how long it takes to take one more, of many that wait."""
        by_rate = 0.0 if self._per_ms is None else 1 / self._per_ms
        return max(self.average_ms / at_once, by_rate)

    def sent(self, now_ms: int) -> None:
        """A request goes out."""
        self._used_at_ms = now_ms
        if self._per_ms is not None:
            self._refill(now_ms)
            self._tokens -= 1

    def unsent(self) -> None:
        """It didn't go out after all."""
        if self._per_ms is not None:
            self._tokens = min(self._burst, self._tokens + 1)

    def answered(self, took_ms: int) -> None:
        """It answered, whatever it said: it is alive."""
        self._failures = 0
        self.known = True
        self._pause_ms = self._pauses_ms[0]
        self.closed_until_ms = 0
        self.average_ms += (took_ms - self.average_ms) / 8

    def failed(self, now_ms: int) -> bool:
        """It did not answer, or with a failure of its own. Whether this closes it."""
        if self.closed and now_ms < self.closed_until_ms:
            # What was under way when it was closed says nothing new.
            return False
        self._failures += 1
        if not self.closed:
            return False
        self.closed_until_ms = now_ms + self._pause_ms
        self._pause_ms = min(2 * self._pause_ms, self._pauses_ms[1])
        return True

    def patience(self, now_ms: int, asked_ms: int) -> None:
        """It asked for so much patience."""
        self.patience_until_ms = max(self.patience_until_ms, now_ms + asked_ms)

    def _refill(self, now_ms: int) -> None:
        assert self._per_ms is not None
        if now_ms > self._tokens_at_ms:
            grown = self._tokens + (now_ms - self._tokens_at_ms) * self._per_ms
            self._tokens, self._tokens_at_ms = min(self._burst, grown), now_ms
