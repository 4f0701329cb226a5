"""Records that the log has lost to retention, made again from what the consumer's state knows of a run.

State keeps of each record of a known state all that deadlines need, and of the highest version the whole record.
The names and flow of the others are taken from that; their timestamps are when they occurred.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from consumer.run_state import NO_TIME, RunState, decode, run_key, state_mark, tenant_of
from consumer.runs import latest_of
from schemas.codec import Codec, Rejected
from schemas.states import KNOWN_STATES
from streams.partition import Unread

_OWN = Codec()


class Kept(NamedTuple):
    """What state keeps of a run, and for which tenant."""

    tenant_id: str
    state: RunState


def kept_of(values: Mapping[bytes, bytes], run_id: str) -> list[Kept]:
    """The states of a run among those of its partition: one for each tenant that uses the id."""
    ending = run_id.encode()
    found = []
    for key, value in values.items():
        if key[:1] == b"r" and key.endswith(ending) and key == run_key(tenant_of(key), run_id):
            found.append(Kept(tenant_of(key), decode(value)))
    return found


def needed_since_ms(kept: Sequence[Kept]) -> int | None:
    """Log time from which on the records of these runs lie in the log; None where state can't tell."""
    if not kept or any(one.state.floor or one.state.others or not one.state.entries for one in kept):
        return None
    return min(entry.log_ms for one in kept for entry in one.state.entries)


def restored(
    kept: Iterable[Kept], records: Iterable[Unread], codec: Codec, finished_states: Iterable[str]
) -> list[Unread]:
    """Those records of the kept runs that are not among ``records``, in log order, with offsets below 0."""
    there = set()
    for record in records:
        known = codec.decode_state(record.value)
        if not isinstance(known, Rejected):
            there.add((known.tenant_id, known.version, record.log_ms))
    names = {state_mark(name.casefold()): name for name in (*finished_states, *KNOWN_STATES)}
    made = []
    for tenant_id, state in kept:
        latest = latest_of(state)
        for entry in state.entries:
            name = names.get(entry.mark)
            if name is None or (tenant_id, entry.version, entry.log_ms) in there:
                continue
            made_again = latest
            if entry.version != latest.version:
                scheduled_ms = None if entry.scheduled_ms == NO_TIME else entry.scheduled_ms
                made_again = latest._replace(
                    version=entry.version, state=name, state_message=None, timestamp=entry.occurred_ms,
                    scheduled_start_time=scheduled_ms,
                )  # fmt: skip
            made.append(Unread(-1, entry.log_ms, latest.flow_run_id.encode(), _OWN.encode_state(made_again)))
    return sorted(made, key=lambda record: record.log_ms)
