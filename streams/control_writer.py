"""The one writer of control records: whoever wants to change one, the command line or the API, does it here.

How it stays one: every writer has the same transactional id, so a later one fences an earlier one. It reads the
topic to its high watermark after that, decides by a pure plan over what was read, and writes all changes in one
transaction. A later writer that came in between makes this one fail, whole.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from schemas.control import InvalidControl, Tombstone, parse_control, to_json
from streams.control_plan import Change, ControlTable, Plan, Refusal
from streams.fenced_writer import FencedWriter, Outgoing, Overtaken, WriteError
from streams.topic_reader import read_to_end
from topology.names import AUTOMATIONS
from topology.rights import CONTROL_WRITER
from topology.settings import Settings


class ControlWriteError(Exception):
    """The changes were not written; the message says why and what to do. Nothing is half written."""


class FencedByAnother(ControlWriteError):
    """Another writer came in between."""

    def __init__(self) -> None:
        super().__init__("another writer changed control records at the same moment: nothing was written; run it again")


Decide = Callable[[ControlTable, datetime], Plan]
"""From the table and the time (for ``created`` and ``updated``) to a plan."""


def read_control(settings: Settings) -> ControlTable:
    """The control records as they are now, those that nobody can use beside the others."""
    latest: dict[bytes | None, bytes | None] = {}
    for read in read_to_end(settings, settings.topic(AUTOMATIONS)):
        latest[read.key] = read.value
    records, invalid = {}, []
    for key, value in latest.items():
        if value is None:
            continue
        parsed = parse_control(key, value)
        if isinstance(parsed, InvalidControl):
            invalid.append(parsed)
        elif not isinstance(parsed, Tombstone):
            records[(key or b"").decode()] = parsed
    return ControlTable(records, tuple(invalid))


def write_control(settings: Settings, decide: Decide) -> tuple[Plan, ControlTable]:
    """Read, decide, write. Returns what was decided (and, unless refused, written) and what was read.

    Raises ``FencedByAnother``, ``ControlWriteError``, ``ReadTimeout``, ``AccessDenied`` or ``KafkaException``
    (no broker, no topic).
    """
    writer = FencedWriter(settings, CONTROL_WRITER)
    try:
        writer.fence()
        table = read_control(settings)
        plan = decide(table, datetime.now(UTC))
        if not isinstance(plan, Refusal):
            changes = [_outgoing(settings, change) for change in plan if change.is_written]
            if changes:
                writer.write(changes)
    except Overtaken:
        raise FencedByAnother from None
    except WriteError as error:
        raise ControlWriteError(f"{error}; run it again") from None
    return plan, table


def _outgoing(settings: Settings, change: Change) -> Outgoing:
    value = None if change.record is None else to_json(change.record)
    return Outgoing(settings.topic(AUTOMATIONS), change.key.encode(), value, partition=0)
