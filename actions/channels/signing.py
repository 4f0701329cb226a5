"""Signatures of webhooks, after the Standard Webhooks specification 1.0.0.

The receiver computes the same from the headers and the body, so it knows who sent it, that nothing was
changed, and when: an old request can't be sent to it again.
"""

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
HEADERS = frozenset(("webhook-id", "webhook-timestamp", "webhook-signature"))
"""What a signed request says in lower case; an action's own headers of these names don't stand."""


def keys_of(secret: str) -> list[bytes] | None:
    """The keys in a secret: one or more, with spaces between; ``None`` if there is none or one is no key.

    ``whsec_`` and base64 is the key's bytes; any other text is the key as it stands, in UTF-8.
    """
    keys = [_key(part) for part in secret.split()]
    usable = [key for key in keys if key]
    return usable if usable and len(usable) == len(keys) else None


def signature_headers(keys: list[bytes], message_id: str, now_ms: int, body: bytes) -> tuple[tuple[str, str], ...]:
    """The three headers. ``now_ms`` is milliseconds since 1970; one signature for each key, so keys can rotate."""
    timestamp = str(now_ms // 1000)
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    signatures = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys]
    return (
        ("webhook-id", message_id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", " ".join(f"v1,{signature}" for signature in signatures)),
    )


def _key(text: str) -> bytes | None:
    if not text.startswith(PREFIX):
        return text.encode("utf-8", "surrogatepass")
    encoded = text.removeprefix(PREFIX)
    try:
        # Some tools leave out the padding.
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None
