"""How single values of settings are read, shown and complained about."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_SECRET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?(:\d{1,5})?")
_ADDRESS = r"[^@\s,;<>\x00-\x1f]+@[^@\s,;<>\x00-\x1f]+"
_MAILBOX = re.compile(rf"{_ADDRESS}|[^<>\x00-\x1f]*<{_ADDRESS}>")
_SECRET_VARIABLES = re.compile(r"^SECRET_|^SECRETS_KEY$|PASSWORD|SECRET_KEY|TOKEN|JAAS|SASL_OAUTHBEARER|SSL_KEY")


def listed(value: object) -> object:
    """A comma-separated text as its items, blanks dropped; anything else as it is."""
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def one_url(value: object) -> object:
    """An http or https address without its closing slash. Raises ``ValueError`` for anything else."""
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or any(character.isspace() for character in value):
        raise ValueError("must be an address such as https://host:8443/path")
    return value.rstrip("/")


def secret_name(value: object) -> object:
    """The name of a secret. Raises ``ValueError`` for what can't be one."""
    if isinstance(value, str) and not _SECRET_NAME.fullmatch(value):
        raise ValueError(
            "must be the name of a secret (letters, digits, '_', '.', '-'; up to 128), not the secret itself"
        )
    return value


def mailbox(value: object) -> object:
    """An e-mail address, or a name with one in angle brackets. Raises ``ValueError`` for anything else."""
    if isinstance(value, str) and not _MAILBOX.fullmatch(value):
        raise ValueError("must be an address such as ops@example.com, or Operations <ops@example.com>")
    return value


def this_host(host: str) -> bool:
    """Whether what is said to ``host`` stays on this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def egress_rule(value: object) -> object:
    """A host (``*.`` for all below it) or a CIDR. Raises ``ValueError`` for what is neither."""
    if not isinstance(value, str):
        return value
    try:
        ipaddress.ip_network(value.strip("[]"))
    except ValueError as error:
        if "has host bits set" in str(error):
            raise ValueError(f"{value} has bits set beyond its mask: write the network's own address") from None
    else:
        return value.strip("[]")
    if not _HOST.fullmatch(value):
        raise ValueError(f"{value} is neither a host nor a CIDR: write db.internal or 10.0.0.0/8, no URL")
    return value.lower()


def shown(variable: str, value: object) -> str:
    """A value as an error may show it: never a secret, never the credentials in an address, never long."""
    # One line, whatever the value holds.
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    if _SECRET_VARIABLES.search(variable):
        return "(hidden)"
    if variable.endswith("_URL") and "@" in text and "//" not in text:
        return "(hidden)"
    text = re.sub(r"//[^/@\s]*@", "//(hidden)@", text)
    return text if len(text) <= 100 else text[:100] + "…"


def problem(error: Mapping[str, Any]) -> str:
    """What is wrong with a value, in words that say what it must be."""
    context: Mapping[str, Any] = error.get("ctx") or {}
    kind = str(error["type"])
    words = {
        "int_parsing": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_parsing": "must be a number",
        "finite_number": "must be a number",
        "int_parsing_size": "is too large a number",
        "bool_parsing": "must be true or false",
        "greater_than_equal": f"must be at least {context.get('ge')}",
        "less_than_equal": f"must be at most {context.get('le')}",
        "literal_error": f"must be {context.get('expected')}",
        "string_pattern_mismatch": "may hold letters, digits, '.', '_' and '-' only, and not that many",
        "extra_forbidden": "there is no such setting",
    }
    said = words.get(kind) or str(error["msg"]).removeprefix("Value error, ")
    value = str(error.get("input", ""))
    if kind == "int_parsing" and "://" in value:
        # Kubernetes gives every pod such variables for a Service of that name.
        said += " (set by Kubernetes for a Service of that name? then set enableServiceLinks: false)"
    return said
