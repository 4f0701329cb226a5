"""Moments as people write them: a time, or how long ago."""

import re

from schemas.times import parse_rfc3339

_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SPAN = re.compile(r"(?:\d{1,9}[smhd])+", re.ASCII)


def moment_ms(text: str, now_ms: int) -> int:
    """Milliseconds since 1970 of an RFC 3339 time, or of ``2h``, ``90s``, ``1d12h`` before ``now_ms``.

    Raises ``ValueError`` with what a person needs to correct it.
    """
    text = text.strip()
    if _SPAN.fullmatch(text):
        return now_ms - sum(int(part[:-1]) * _UNITS[part[-1]] for part in re.findall(r"\d+[smhd]", text))
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise ValueError(
            f"{text!r}: give a time such as 2026-07-01T12:00:00Z, or how long ago, such as 30m, 2h or 7d"
        ) from None
