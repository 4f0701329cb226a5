"""Which dead letters are open: the deliveries that failed for good and wait for somebody. Pure.

Law: of each delivery the last record on the topic decides. One whose reason is ``redriven`` takes the earlier
ones back; a delivery that dies again is open again. In one partition offsets tell which is the last, between
partitions (a topic that was given more of them) append times do.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from actions.channels import CHANNELS
from actions.channels.channel import Config, Services
from actions.delivery import Source, Unreadable, retried
from cli.tail_lines import Part, one_line, time_text
from schemas.codec import Rejected
from schemas.delivery_headers import REDRIVEN, DeliveryHeaders, decode_headers
from schemas.records import AutomationEvent
from streams.topic_reader import Read

Decode = Callable[[bytes | None], AutomationEvent | Rejected]


class DeadLetter(NamedTuple):
    """An open dead letter, for people. ``record`` is its record where it is asked for, to be sent again."""

    partition: int
    offset: int
    time_ms: int
    headers: DeliveryHeaders
    event_id: str
    event_name: str
    automation_id: str
    automation_name: str
    tenant_id: str
    tenant_slug: str
    action_name: str
    action_type: str
    destination: str | None
    record: Read | None = None

    @property
    def reason(self) -> str:
        """Why the delivery died."""
        return self.headers.reason or "unknown"


class Passed(NamedTuple):
    """A record of the topic that can't be read, and why."""

    partition: int
    offset: int
    problem: str


class Wanted(NamedTuple):
    """Which dead letters are asked for; what is ``None`` or empty asks for all. Times are log times in ms."""

    automation: str | None = None
    action_type: str | None = None
    destination: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    delivery_ids: frozenset[str] = frozenset()
    tenant: str | None = None

    def holds(self, letter: DeadLetter) -> bool:
        """Whether the letter is one of those. Names are exact, destinations without case."""
        return (
            self.automation in (None, letter.automation_id, letter.automation_name)
            and self.action_type in (None, letter.action_type)
            and (self.destination is None or self.destination.lower() == (letter.destination or "").lower())
            and (self.since_ms is None or letter.time_ms >= self.since_ms)
            and (self.until_ms is None or letter.time_ms < self.until_ms)
            and (not self.delivery_ids or letter.headers.delivery_id in self.delivery_ids)
            and self.tenant in (None, letter.tenant_id, letter.tenant_slug)
        )


class _Last(NamedTuple):
    partition: int
    offset: int
    time_ms: int
    found: DeadLetter | Passed | None


class OpenLetters:
    """Takes the topic's records in the order of their offsets and keeps what is open and wanted.

    ``keep_records``: letters have their records, so that they can be sent again.
    """

    def __init__(self, decode: Decode, services: Services, wanted: Wanted, *, keep_records: bool = False) -> None:
        self._decode = decode
        self._services = services
        self._wanted = wanted
        self._keep_records = keep_records
        self._last: dict[str, _Last] = {}
        self._without_headers: list[Passed] = []

    def take(self, read: Read) -> None:
        """The next record of its partition."""
        headers = decode_headers(read.headers)
        if headers is None:
            problem = "its headers are not those of a delivery"
            self._without_headers.append(Passed(read.partition, read.offset, problem))
            return
        known = self._last.get(headers.delivery_id)
        if known is None or _follows(read, known):
            found = None if headers.reason == REDRIVEN else self._found(read, headers)
            self._last[headers.delivery_id] = _Last(read.partition, read.offset, read.time_ms, found)

    def letters(self) -> list[DeadLetter]:
        """What is open, oldest first."""
        found = [last.found for last in self._last.values() if isinstance(last.found, DeadLetter)]
        return sorted(found, key=lambda letter: (letter.time_ms, letter.partition, letter.offset))

    def passed(self) -> list[Passed]:
        """What can't be read, and was passed over."""
        found = [last.found for last in self._last.values() if isinstance(last.found, Passed)]
        return sorted([*self._without_headers, *found])

    def _found(self, read: Read, headers: DeliveryHeaders) -> DeadLetter | Passed | None:
        event = self._decode(read.value)
        if isinstance(event, Rejected):
            return Passed(read.partition, read.offset, f"{event.reason}: {event.detail}")
        # Judged as the action runner will: what it can't read is not sent there again.
        source = Source("", read.partition, read.offset, read.key, read.value or b"")
        delivery = retried(event, headers, source)
        if isinstance(delivery, Unreadable):
            return Passed(read.partition, read.offset, f"{delivery.reason}: {delivery.detail}")
        action = delivery.action
        letter = DeadLetter(
            read.partition, read.offset, read.time_ms, headers, event.id, event.event_name, event.automation_id,
            event.automation_name, event.tenant_id, event.tenant_slug, _action_name(event, action.id),
            action.action_type, destination_shown(event, action.action_type, action.config, self._services),
            read if self._keep_records else None,
        )  # fmt: skip
        return letter if self._wanted.holds(letter) else None


def destination_shown(event: AutomationEvent, action_type: str, config: Config, services: Services) -> str | None:
    """Where an action goes: the host alone, or the secret's name where only a secret knows the address."""
    channel = CHANNELS.get(action_type)
    if channel is None:
        return None
    try:
        destination = channel.destination(event, config, services)
        kind, _, rest = destination.partition(":")
        if "://" in destination:
            return urlsplit(destination).hostname
        # `secret:<tenant>/<name>`, and `smtp:<host>:<port>` and the like.
        return (rest.partition("/")[2] if kind == "secret" else rest.rpartition(":")[0]) or None
    except (AttributeError, LookupError, TypeError, ValueError):
        # A config that nobody checked must not hide the other letters.
        return None


def letter_parts(letter: DeadLetter) -> list[Part]:
    """Time, delivery, automation, action, destination, why, after how many attempts."""
    parts = [
        (time_text(letter.time_ms), "quiet"),
        (one_line(letter.headers.delivery_id), ""),
        (one_line(letter.automation_name), "title"),
        (one_line(f"{letter.action_name} ({letter.action_type})"), ""),
        (one_line(f"to {letter.destination or '-'}"), ""),
        (one_line(letter.reason), "bad"),
    ]
    if letter.headers.http_status is not None:
        parts.append((f"HTTP {letter.headers.http_status}", ""))
    attempts = letter.headers.attempt
    parts.append((f"{attempts} attempt{'' if attempts == 1 else 's'}", "quiet"))
    return parts


def letter_json(letter: DeadLetter) -> dict[str, Any]:
    """Every field that people may want; times RFC 3339."""
    headers = letter.headers
    left, redriven_ms = headers.recipients_left, headers.redriven_at_ms
    return {
        "time": time_text(letter.time_ms),
        "delivery_id": headers.delivery_id,
        "event_id": letter.event_id,
        "event_name": letter.event_name,
        "tenant_id": letter.tenant_id,
        "tenant_slug": letter.tenant_slug,
        "automation_id": letter.automation_id,
        "automation_name": letter.automation_name,
        "action_id": headers.action_id,
        "action_name": letter.action_name,
        "action_type": letter.action_type,
        "destination": letter.destination,
        "reason": letter.reason,
        "http_status": headers.http_status,
        "attempts": headers.attempt,
        "recipients_left": None if left is None else list(left),
        "redriven_at": None if redriven_ms is None else time_text(redriven_ms),
        "partition": letter.partition,
        "offset": letter.offset,
    }


def totals(letters: Iterable[DeadLetter]) -> list[tuple[str, int]]:
    """How many there are by reason, most first."""
    counts = Counter(letter.reason for letter in letters)
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))


def _follows(read: Read, known: _Last) -> bool:
    if read.partition == known.partition:
        return read.offset > known.offset
    return (read.time_ms, read.partition) > (known.time_ms, known.partition)


def _action_name(event: AutomationEvent, action_id: str) -> str:
    for entry in json.loads(event.actions):
        if entry["id"] == action_id and isinstance(entry.get("name"), str):
            name: str = entry["name"]
            return name
    return action_id
