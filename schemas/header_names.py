"""Which headers of a request an action may set. Pure."""

import re

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
# What the connection itself says: a header that contradicts it makes two requests of one.
_OF_THE_CONNECTION = frozenset(
    ("connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade")
)  # fmt: skip


def is_own_header(name: str) -> bool:
    """Whether ``name`` is a header's name at all, and none of the connection's own."""
    return _TOKEN.fullmatch(name) is not None and name.lower() not in _OF_THE_CONNECTION
