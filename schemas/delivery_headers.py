"""The headers of retry records and dead letters: which delivery of the event it is, and how it stands.

The record's key and value are those of the event itself. Header values are UTF-8 text.
"""

from collections.abc import Iterable
from typing import NamedTuple

REDRIVEN = "redriven"
"""The ``reason`` of the record that takes a dead letter back: a later one of the same delivery may follow."""


class DeliveryHeaders(NamedTuple):
    """``attempt`` counts the attempts made so far. Times are milliseconds since 1970.

    ``recipients_left`` are indexes into the action's list of recipients, ``None`` = nobody has had it.
    ``redriven_at_ms`` is when somebody last asked for another try: the delivery's age counts from then. ``order``
    is the place of one that was never tried in its lane, as the runner that put it off wrote it.
    """

    delivery_id: str
    action_id: str
    attempt: int
    reason: str
    http_status: int | None = None
    not_before_ms: int | None = None
    recipients_left: tuple[int, ...] | None = None
    redriven_at_ms: int | None = None
    order: str | None = None


MOST_ATTEMPTS = 1_000_000
MOST_RECIPIENTS = 100_000
_TIMES = (0, 2**53)
# What an Avro int or timestamp can't hold is no header of ours.
_INTEGERS = {
    "attempt": (0, MOST_ATTEMPTS),
    "http-status": (100, 999),
    "not-before-ms": _TIMES,
    "redriven-at-ms": _TIMES,
}


def encode_headers(headers: DeliveryHeaders) -> list[tuple[str, bytes]]:
    """The headers as Kafka carries them; what is ``None`` has no header."""
    left = headers.recipients_left
    named = (
        ("delivery-id", headers.delivery_id),
        ("action-id", headers.action_id),
        ("attempt", headers.attempt),
        ("reason", headers.reason),
        ("http-status", headers.http_status),
        ("not-before-ms", headers.not_before_ms),
        ("recipients-left", None if left is None else ",".join(map(str, left))),
        ("redriven-at-ms", headers.redriven_at_ms),
        ("order", headers.order),
    )
    # A name in a config may hold half of a surrogate pair, which has no UTF-8.
    return [(name, str(value).encode(errors="replace")) for name, value in named if value is not None]


def decode_headers(headers: Iterable[tuple[str, bytes | None]] | None) -> DeliveryHeaders | None:
    """What the headers say; ``None`` if they are not those of a delivery. Of a repeated one the last counts."""
    found = {name: value for name, value in headers or () if value is not None}
    try:
        # Others, such as tracing agents, may have added headers that are no text.
        texts = {name: value.decode(errors="replace") for name, value in found.items()}
        numbers = {name: _within(texts[name], *bounds) for name, bounds in _INTEGERS.items() if name in texts}
        left = texts.get("recipients-left")
        return DeliveryHeaders(
            texts["delivery-id"],
            texts["action-id"],
            numbers["attempt"],
            texts.get("reason", ""),
            numbers.get("http-status"),
            numbers.get("not-before-ms"),
            None if left is None else tuple(_within(index, 0, MOST_RECIPIENTS) for index in left.split(",") if index),
            numbers.get("redriven-at-ms"),
            texts.get("order"),
        )
    except (KeyError, ValueError):
        return None


def _within(text: str, least: int, most: int) -> int:
    """The number that ``text`` is. Raises ``ValueError`` if it is none, or not within the bounds."""
    number = int(text)
    if not least <= number <= most:
        raise ValueError("out of bounds")
    return number
