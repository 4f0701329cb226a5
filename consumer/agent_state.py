"""What is kept of agents, as the bytes that lie in the changelog.

An agent: when it was last heard and whether it stopped, and the timestamps read from it within the hour. A
fall of an agent SLA: since which instant too few agents are healthy, who was healthy then, and whether it has
fired. What is not listed as fallen is watched, and needs no state.
"""

from __future__ import annotations

import json
import struct
from typing import NamedTuple

from streams.errors import newer_format

FORMAT = 1
_AGENT = struct.Struct("<B?qH")
_READ = struct.Struct("<qi")


class AgentState(NamedTuple):
    """An agent of a config. Log times in ms."""

    last_log_ms: int
    stopped: bool
    read: tuple[tuple[int, int], ...]
    """(timestamp, log time) of its heartbeats within the hour, in order of log time."""

    def encode(self) -> bytes:
        """The changelog record's value."""
        parts = [_AGENT.pack(FORMAT, self.stopped, self.last_log_ms, len(self.read))]
        parts += [_READ.pack(timestamp, self.last_log_ms - log_ms) for timestamp, log_ms in self.read]
        return b"".join(parts)


def decode_agent(value: bytes) -> AgentState:
    """Reads an agent back; a newer format raises `StateError`."""
    if value[0] > FORMAT:
        raise newer_format("an agent")
    _, stopped, last_log_ms, _ = _AGENT.unpack_from(value)
    read = tuple((timestamp, last_log_ms - ago) for timestamp, ago in _READ.iter_unpack(value[_AGENT.size :]))
    return AgentState(last_log_ms, stopped, read)


class Fall(NamedTuple):
    """Too few agents have been healthy since ``fall_ms``, and no heartbeat has restored the number."""

    from_ms: int
    """When the automation's condition came into force: tells one interval from the next."""
    min_healthy: int
    unhealthy_after_ms: int
    fall_ms: int
    fired: bool
    healthy: list[str]
    unhealthy: list[str]

    def encode(self) -> bytes:
        """The changelog record's value."""
        return json.dumps({"format": FORMAT, **self._asdict()}, separators=(",", ":")).encode()


def decode_fall(value: bytes) -> Fall:
    """Reads a fall back; a newer format raises `StateError`."""
    fields = json.loads(value)
    if fields.pop("format") > FORMAT:
        raise newer_format("a fall of an agent SLA")
    return Fall(**fields)


def agent_key(tenant_id: str, config_id: str, agent_id: str) -> bytes:
    """Key of an agent's state; the list form keeps the three ids apart."""
    return b"a" + json.dumps([tenant_id, config_id, agent_id]).encode()


def fall_key(tenant_id: str, config_id: str, automation_id: str, from_ms: int) -> bytes:
    """Key of a fall's state."""
    return b"f" + json.dumps([tenant_id, config_id, automation_id, from_ms]).encode()


def ids_in(key: bytes) -> list[str]:
    """The ids in a key, tenant and config first."""
    ids: list[str] = json.loads(key[1:])
    return ids
