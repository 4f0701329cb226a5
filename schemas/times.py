"""Instants as text: RFC 3339 in UTC with milliseconds, and back to milliseconds since the Unix epoch."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def rfc3339(instant_ms: int) -> str:
    """``2026-07-01T12:00:00.000Z`` for milliseconds since 1970; raises ``OverflowError`` beyond year 9999."""
    second, milliseconds = divmod(instant_ms, 1000)
    return f"{_second(second)}.{milliseconds:03d}Z"


@lru_cache(maxsize=1024)
def _second(since: int) -> str:
    # The times of one event, and of the events of a busy hour, lie in few seconds.
    return (_EPOCH + timedelta(seconds=since)).replace(tzinfo=None).isoformat()


def parse_rfc3339(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time with any offset, cut to the millisecond.

    Raises ``ValueError`` with what a person needs to correct it.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError("must be an RFC 3339 time such as 2026-07-01T12:00:00Z")
    date, clock, fraction, offset = found.groups()
    try:
        instant = datetime.fromisoformat(f"{date}T{clock}{'+00:00' if offset in 'Zz' else offset}")
        since = instant - _EPOCH
    except (ValueError, OverflowError):
        raise ValueError(f"has no such date or time as {text}") from None
    seconds = since.days * 86_400 + since.seconds
    return seconds * 1000 + int((fraction or "0").ljust(3, "0")[:3])
