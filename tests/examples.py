"""How many examples of a law are tried."""

import os

EVERY = 3
"""Where ``EXAMPLES=few``, one example of so many is tried: other ones each time."""


def examples(count: int) -> int:
    """So many, or a share of them where somebody waits for the answer (``EXAMPLES=few``)."""
    return max(5, count // EVERY) if os.environ.get("EXAMPLES") == "few" else count
