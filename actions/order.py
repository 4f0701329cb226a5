"""Where a delivery stands in its lane, as its retry record tells all processes.

Law: only a delivery that was never tried has a place in a lane. The places of one lane are those of its events in
their partition, so whoever reads two of them knows which is older.
"""

from hashlib import blake2b
from typing import NamedTuple

ORDERED_MS = 300_000
"""Who is put off for longer has no place: it lets later ones pass."""
_MOST = 2**63


class Order(NamedTuple):
    """A delivery's place: its event's partition and offset in `automation-events`, its number in that event.

    ``lane`` names the lane. ``after`` is the offset and number of the last one before it that its process had in
    memory when it put this one off, until ``after_due_ms``: no record tells of that one.
    """

    lane: str
    partition: int
    offset: int
    place: int
    after: tuple[int, int] | None = None
    after_due_ms: int = 0


def lane_key(destination: str, subject: str) -> str:
    """A lane's name in headers: short, and telling nothing of where it leads."""
    return blake2b(f"{len(destination)} {destination}{subject}".encode(errors="replace"), digest_size=10).hexdigest()


def encode_order(order: Order) -> str:
    """The place as a header's text."""
    after = () if order.after is None else (*order.after, order.after_due_ms)
    return "/".join(map(str, (order.lane, order.partition, order.offset, order.place, *after)))


def told_order(text: str | None, log_ms: int) -> Order | None:
    """The place that a record's header says which was appended at ``log_ms``; no time in it is later than can be."""
    order = decode_order(text)
    if order is None:
        return None
    return order._replace(after_due_ms=min(order.after_due_ms, log_ms + ORDERED_MS))


def decode_order(text: str | None) -> Order | None:
    """The place that a header's text says; ``None`` if it says none."""
    lane, *numbers = (text or "").split("/")
    try:
        found = [int(number) for number in numbers]
    except ValueError:
        return None
    if len(found) not in (3, 6) or not all(0 <= number < _MOST for number in found):
        return None
    after = (found[3], found[4]) if len(found) == 6 else None
    return Order(lane, found[0], found[1], found[2], after, found[5] if after else 0)
