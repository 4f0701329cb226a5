"""Which partitions there are is asked until all is told, and again before long."""

from confluent_kafka.admin import PartitionMetadata, TopicMetadata  # type: ignore[attr-defined]

from actions.listing import AGAIN_S, ASK_S, Listing

NAMES = ("events", "retry")


def topic(partitions: int, error: object = None) -> TopicMetadata:
    found = TopicMetadata()
    found.partitions = {number: PartitionMetadata() for number in range(partitions)}
    found.error = error  # type: ignore[assignment]
    return found


def test_a_topic_that_is_missing_in_error_or_empty_is_asked_for_again_and_nothing_is_known_until_then() -> None:
    for wrong in ({}, {"retry": topic(1, "leader is missing")}, {"retry": topic(0)}):
        listing = Listing(NAMES)
        assert listing.due(100)
        assert not listing.told({"events": topic(2), **wrong}, 100)
        assert listing.places == []
        assert not listing.due(100 + ASK_S / 2)
        assert listing.due(100 + ASK_S)
        assert listing.told({"events": topic(2), "retry": topic(1), "other": topic(9)}, 101)
        assert listing.places == [("events", 0), ("events", 1), ("retry", 0)]


def test_partitions_that_are_added_are_known_within_a_minute_or_as_soon_as_one_is_named() -> None:
    listing = Listing(NAMES)
    assert listing.told({"events": topic(1), "retry": topic(1)}, 100)
    assert not listing.due(100)
    assert listing.due(100 + AGAIN_S)
    listing.named(("events", 0))
    assert not listing.due(100)
    listing.named(("events", 1))
    assert listing.due(100)
    assert listing.told({"events": topic(1), "retry": topic(1)}, 100)
    listing.named(("events", 1))
    assert not listing.due(100), "one that there is not is asked for once"
    assert listing.told({"events": topic(2), "retry": topic(1)}, 100 + AGAIN_S)
    assert ("events", 1) in listing.places


def test_what_was_told_before_stays_known_while_the_brokers_can_not_tell() -> None:
    listing = Listing(NAMES)
    assert listing.told({"events": topic(1), "retry": topic(1)}, 100)
    assert not listing.told({"events": topic(1)}, 200)
    assert listing.places == [("events", 0), ("retry", 0)]
    assert listing.due(200 + ASK_S)
