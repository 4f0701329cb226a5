"""Which partitions some topics have, as the brokers told last; pure, time (seconds) is an argument."""

from collections.abc import Iterable, Mapping

from confluent_kafka.admin import TopicMetadata  # type: ignore[attr-defined]

AGAIN_S = 60.0
"""Partitions may be added at any time."""
ASK_S = 1.0
"""Brokers that could not tell all are asked again after so long."""


class Listing:
    """Law: ``places`` are all partitions of all ``names``, or none: half of an answer is none."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._due_s = 0.0
        self._strange: set[tuple[str, int]] = set()
        self.places: list[tuple[str, int]] = []

    def due(self, now_s: float) -> bool:
        """Whether the brokers should be asked."""
        return now_s >= self._due_s

    def told(self, topics: Mapping[str, TopicMetadata], now_s: float) -> bool:
        """Take the brokers' answer; whether it told of all."""
        found = []
        self._due_s = now_s + ASK_S
        for name in self._names:
            topic = topics.get(name)
            if topic is None or topic.error is not None or not topic.partitions:
                return False
            found += [(name, number) for number in sorted(topic.partitions)]
        self._due_s = now_s + AGAIN_S
        self.places = found
        return True

    def named(self, place: tuple[str, int]) -> None:
        """Somebody knows of this partition: if nothing was told of it, the brokers are asked, once."""
        if place not in self._strange and place not in self.places:
            self._strange.add(place)
            self._due_s = 0.0
