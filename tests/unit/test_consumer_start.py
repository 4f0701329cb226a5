"""What a consumer waits for before it makes its clients, and what it refuses."""

from __future__ import annotations

import pytest

from consumer.service import TopicMissing, checked
from topology.cluster import TopologyError
from topology.settings import SettingError

WIDTHS = {"runs": 6}


class Cluster:
    """Answers with what it was given, one after the other."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.waits = 0

    def look(self) -> dict[str, int]:
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer
        return WIDTHS

    def waited(self) -> bool:
        self.waits += 1
        return True


def test_a_topic_that_was_there_has_to_be_missing_twice() -> None:
    """A broker that was just restarted may not know it yet."""
    cluster = Cluster(TopicMissing("runs"), None)
    assert checked(cluster.look, cluster.waited, were_there=True) == WIDTHS
    cluster = Cluster(TopicMissing("runs"), TopologyError("away"), TopicMissing("runs"))
    with pytest.raises(SettingError, match="no topic runs"):
        checked(cluster.look, cluster.waited, were_there=True)
    assert cluster.waits == 2


def test_at_the_first_start_a_missing_topic_is_told_at_once() -> None:
    cluster = Cluster(TopicMissing("runs"))
    with pytest.raises(SettingError, match="topology apply"):
        checked(cluster.look, cluster.waited, were_there=False)
    assert cluster.waits == 0


def test_brokers_that_are_away_are_waited_for_until_it_is_time_to_leave() -> None:
    cluster = Cluster(*[TopologyError("away")] * 5, None)
    assert checked(cluster.look, cluster.waited, were_there=False) == WIDTHS
    assert checked(Cluster(TopologyError("away")).look, lambda: False, were_there=False) is None
