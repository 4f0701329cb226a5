"""Where deliveries wait that come from the retry topics."""

from hypothesis import given
from hypothesis import strategies as st

from actions.delivery import Delivery
from actions.schedule import Tier
from actions.waiting import Waiting, WaitingRoom
from tests.unit.actions_events import delivery, source

TIERS = (Tier("short", 60), Tier("long", 3_600))


def one(number: int, topic: str = "short", log_ms: int = 0) -> Delivery:
    return delivery(number, of=source(number, topic, log_ms=log_ms))


@given(
    st.lists(st.tuples(st.sampled_from(TIERS), st.integers(0, 500), st.integers(-100, 9_000)), max_size=30),
    st.lists(st.integers(0, 300), max_size=30),
)
def test_each_leaves_when_it_is_due_or_its_topics_stay_is_over_and_no_later(
    records: list[tuple[Tier, int, int]], looks: list[int]
) -> None:
    room, leaves = WaitingRoom(TIERS), {}
    for number, (tier, log_ms, due_ms) in enumerate(records):
        room.add(Waiting(one(number, tier.topic, log_ms), due_ms))
        leaves[f"d{number}"] = min(due_ms, log_ms + tier.stay_ms)
    now = 0
    for wait in [*looks, 10_000]:
        now += wait
        left = [waiting.delivery.id for waiting in room.leaving(now)]
        assert left == sorted(
            (name for name, at in leaves.items() if at <= now), key=lambda name: (leaves[name], int(name[1:]))
        )
        for name in left:
            del leaves[name]
    assert not leaves
    assert not any(room.full((tier.topic, 0)) for tier in TIERS)


def test_a_partition_is_full_for_itself_by_number_or_by_bytes() -> None:
    room = WaitingRoom(TIERS, places=3, most_bytes=1_000)
    for number in range(3):
        assert not room.full(("short", 0))
        room.add(Waiting(one(number), 50 + number))
    assert room.full(("short", 0))
    assert not room.full(("long", 0))
    large = delivery(9, of=source(9, "long", value=b"x" * 1_000))
    room.add(Waiting(large, 3_000))
    assert room.full(("long", 0))
    assert [waiting.due_ms for waiting in room.leaving(50)] == [50]
    assert not room.full(("short", 0))
    assert room.full(("long", 0))


def test_what_is_dropped_makes_room_and_never_leaves() -> None:
    room = WaitingRoom(TIERS, places=2)
    for number in range(2):
        room.add(Waiting(one(number), 10))
    room.drop(lambda delivery: delivery.id == "d0")
    assert not room.full(("short", 0))
    assert [waiting.delivery.id for waiting in room.leaving(10)] == ["d1"]
    room.drop(lambda _: True)
    assert room.leaving(10**9) == []


def test_what_has_a_day_to_wait_leaves_with_its_stay_and_what_is_due_already_at_once() -> None:
    room = WaitingRoom(TIERS)
    room.add(Waiting(one(1, "long", log_ms=100), 86_400))
    room.add(Waiting(one(2, "long", log_ms=100), 0))
    assert [waiting.delivery.id for waiting in room.leaving(0)] == ["d2"]
    assert room.leaving(3_699) == []
    assert [waiting.due_ms for waiting in room.leaving(3_700)] == [86_400]
