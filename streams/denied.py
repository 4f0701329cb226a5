"""What stops a service because the brokers refuse it a right: it would try in vain however often it tried."""

from confluent_kafka import KafkaError

from streams.errors import StateError
from topology.access import is_denial


class Denied(StateError):
    """The brokers refuse this process a right; ``error`` is what they said."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(f"{error.name()}: {error.str()}")
        self.error = error


def hold_permitted(error: object) -> None:
    """Raises ``Denied`` if this is the brokers' word that a right is missing."""
    if isinstance(error, KafkaError) and is_denial(error):
        raise Denied(error)
