"""What the runner's source holds to when partitions come and go."""

import time
from collections.abc import Mapping

import pytest

from actions.kafka_clients import consumer_config
from actions.offsets import Resumed
from actions.source import EventSource
from schemas.codec import Codec
from streams.app import Place
from tests.kafka.actions_world import event, make_topics, publish, webhook
from topology.settings import Settings
from topology.topics import AUTOMATION_EVENTS

pytestmark = pytest.mark.kafka

PLACES = {(AUTOMATION_EVENTS, 0), (AUTOMATION_EVENTS, 1)}


class Owner:
    """A source, and which partitions it has."""

    def __init__(self, settings: Settings) -> None:
        self.owned: set[Place] = set()
        topics = {AUTOMATION_EVENTS: settings.topic(AUTOMATION_EVENTS)}
        self.source = EventSource(consumer_config(settings), topics, Codec(), lambda owner: None)
        self.source.subscribe(self)

    def assigned(self, partitions: Mapping[Place, Resumed]) -> None:
        self.owned |= set(partitions)

    def revoked(self, partitions: list[Place]) -> None:
        self.owned -= set(partitions)

    def lost(self, partitions: list[Place]) -> None:
        self.owned -= set(partitions)


def test_a_partition_that_was_paused_when_it_went_is_read_when_it_comes_back(settings: Settings) -> None:
    """The client remembers a pause for longer than an assignment."""
    settings = settings.model_copy(update={"partitions": {**settings.partitions, AUTOMATION_EVENTS: 2}})
    make_topics(settings)
    publish(settings, *(event(f"e{n}", [webhook("a", "http://x/")], run=f"run-{n}") for n in range(50)))
    one, gives_up = Owner(settings), time.monotonic() + 60
    found: set[tuple[Place, int]] = set()

    def read(owner: Owner, closed: set[Place]) -> None:
        records = owner.source.read(closed, 0.1)
        if owner is one:
            found.update((record.place, record.offset) for record in records)

    while one.owned != PLACES and time.monotonic() < gives_up:
        read(one, PLACES)
    read(one, PLACES)
    found.clear()
    other = Owner(settings)
    while not (len(one.owned) == len(other.owned) == 1) and time.monotonic() < gives_up:
        read(one, PLACES)
        read(other, PLACES)
    (went,) = other.owned
    other.source.close()
    while len([place for place, _ in found if place == went]) < 20 and time.monotonic() < gives_up:
        read(one, PLACES if went not in one.owned else PLACES - {went})
    one.source.close()
    assert len([place for place, _ in found if place == went]) >= 20
