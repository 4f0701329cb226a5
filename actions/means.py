"""What deliveries are made with: all that stays when clients are made anew."""

import random
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from actions.channels.channel import Services
from actions.clock import Clock
from actions.exchange import Reply, Step
from actions.mutes import Mutes
from actions.pulse import Pulse
from actions.secrets import SecretStore

Send = Callable[[Step, int | None], Awaitable[Reply]]
"""Says one thing to a receiver within so many milliseconds, or the usual time if ``None``. Never raises."""


class Means(NamedTuple):
    """``roll`` gives random numbers in [0, 1)."""

    send: Send
    secrets: SecretStore
    services: Services
    mutes: Mutes
    clock: Clock
    pulse: Pulse
    roll: Callable[[], float] = random.random
