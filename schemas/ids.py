"""Ids made from what they name, so that whoever makes one again makes the same one.

Every id is UUIDv5(NAMESPACE_URL, ``automations:…``) as the reference defines.
"""

from hashlib import sha1
from uuid import NAMESPACE_URL

_NAMESPACE = NAMESPACE_URL.bytes


def uuid5_url(name: str) -> str:
    """UUIDv5 of ``name`` in the URL namespace (RFC 9562 §5.5), as text."""
    digest = bytearray(sha1(_NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def state_change_event_id(tenant_id: str, automation_id: str, flow_run_id: str, version: int) -> str:
    """Id of the event that an automation fires for a version of a run."""
    return uuid5_url(f"automations:{tenant_id}/{automation_id}/{flow_run_id}/{version}")


def flow_sla_event_id(tenant_id: str, automation_id: str, flow_run_id: str, kind: str, base_ms: int) -> str:
    """Id of the event for a missed deadline of a run; ``base_ms`` is what the duration counts from."""
    return uuid5_url(f"automations:{tenant_id}/{automation_id}/{flow_run_id}/{kind}/{base_ms}")


def agent_sla_event_id(tenant_id: str, automation_id: str, agent_config_id: str, fall_ms: int) -> str:
    """Id of the event for the instant at which too few agents were healthy."""
    return uuid5_url(f"automations:{tenant_id}/{automation_id}/{agent_config_id}/{fall_ms}")


def delivery_id(event_id: str, action_id: str) -> str:
    """Id of one action of one event: the same over all its attempts."""
    return uuid5_url(f"automations:{event_id}/{action_id}")


def named_record_id(tenant_id: str, kind: str, name: str) -> str:
    """Id of a control record that YAML names but gives no ``id``."""
    return uuid5_url(f"automations:{tenant_id}/{kind}/{name}")
