"""Who was put off is known to all processes, and none of its lane is sent before it."""

from actions.decide import RETRYING, Decision
from actions.delivery import Delivery, retried
from actions.lanes import Lane
from actions.offsets import Resumed
from actions.order import ORDERED_MS, Order, decode_order, encode_order
from actions.outbox import retry_record
from actions.parked import ANSWER_MS, AT_ONCE, HOLD_MS, Knowledge, Parked, PutOff, Reached, place_of
from actions.parked_reader import told_by
from actions.schedule import Schedule
from schemas.delivery_headers import DeliveryHeaders, decode_headers, encode_headers
from tests.unit.actions_events import delivery, entry, fired, source
from topology.names import AUTOMATION_EVENTS, RETRY_1M, RETRY_10M

NOW = 1_782_907_200_000
EVENTS, RETRY, LONGER = (AUTOMATION_EVENTS, 0), (RETRY_1M, 1), (RETRY_10M, 0)
LANE = Lane("to", "run")


def order(number: int, lane: Lane = LANE) -> Order:
    found = place_of(delivery(number), *lane)
    assert found is not None
    return found


def put_off(number: int, offset: int, due_ms: int = NOW, at: tuple[str, int] = RETRY, **more: object) -> PutOff:
    return PutOff(f"d{number}", order(number)._replace(**more), due_ms, (at, offset))  # type: ignore[arg-type]


def told(parked: Parked, *records: PutOff, **reached: Reached) -> None:
    """What the brokers tell: these retry records, and how far `events`, `retry` and `longer` were committed."""
    places = {"events": EVENTS, "retry": RETRY, "longer": LONGER}
    positions = {places[name]: found for name, found in reached.items()}
    parked.learn(Knowledge(parked.begin(), list(records), positions))


def may_go(parked: Parked, number: int, now_ms: int = NOW, **more: object) -> bool:
    placed = order(number)._replace(**more)  # type: ignore[arg-type]
    return parked.behind(f"d{number}", placed, now_ms) is None


def test_a_process_that_put_nobody_off_itself_lets_those_go_first_that_others_have() -> None:
    parked = Parked()
    told(parked, put_off(5, 70, NOW + 100), retry=Reached(70))
    assert parked.behind("d6", order(6), NOW) == NOW + 100
    assert may_go(parked, 5), "it is the first itself"
    assert may_go(parked, 4), "it is older"
    assert parked.behind("d6", order(6, Lane("to", "other")), NOW) is None, "that is another lane"


def test_who_has_ended_or_was_tried_holds_nobody_back() -> None:
    for reached in (
        Reached(71),
        Reached(60, Resumed("other", 80, {61: (0, 0)})),
        Reached(60, Resumed("other", 80, {70: (0, 1)})),
    ):
        parked = Parked()
        told(parked, put_off(5, 70), put_off(4, 75, lane="other"), retry=Reached(60, Resumed("other", 70, {})))
        assert not may_go(parked, 6)
        told(parked, retry=reached)
        assert may_go(parked, 6)
    parked = Parked()
    told(parked, put_off(5, 70), retry=Reached(60, Resumed("other", 80, {70: (0, 0)})))
    assert not may_go(parked, 6), "it is open"


def test_one_that_is_put_off_again_holds_its_lane_until_its_last_record_has_ended() -> None:
    parked = Parked()
    told(parked, put_off(5, 70), retry=Reached(70), longer=Reached(0))
    told(parked, put_off(5, 9, NOW + 500, LONGER), retry=Reached(71), longer=Reached(9))
    assert parked.behind("d6", order(6), NOW) == NOW + 500
    told(parked, retry=Reached(71), longer=Reached(10))
    assert may_go(parked, 6)


def test_a_record_that_its_writer_took_back_ends_nobodys_turn() -> None:
    """A process died before its commit: the delivery is still where it was."""
    parked = Parked()
    told(parked, put_off(5, 70), put_off(5, 72, NOW + 1_000), retry=Reached(70))
    told(parked, put_off(9, 73, lane="other"), retry=Reached(70, Resumed("x", 74, {70: (0, 0), 73: (0, 0)})))
    assert not may_go(parked, 6)
    told(parked, retry=Reached(73, Resumed("x", 74, {73: (0, 0)})))
    assert may_go(parked, 6)


def test_nobody_waits_for_one_that_does_not_come_for_longer_than_minutes_past_its_time() -> None:
    parked = Parked()
    told(parked, put_off(5, 70, NOW + 100), retry=Reached(70))
    assert not may_go(parked, 6, NOW + 99 + HOLD_MS)
    assert may_go(parked, 6, NOW + 100 + HOLD_MS)


def test_who_is_put_off_here_is_known_at_once_and_who_came_queues_here() -> None:
    parked = Parked()
    kept = parked.put_off(delivery(5), order(5), [], NOW, 1_000)
    assert kept.order == order(5)
    assert not may_go(parked, 6)
    told(parked, put_off(5, 70, NOW + 1_000), retry=Reached(70))
    parked.came("d5")
    assert may_go(parked, 6), "the lane here keeps their order"
    parked.released([RETRY])
    assert not may_go(parked, 6), "it came from a partition that is another's now"


def test_who_is_put_off_for_long_lets_later_ones_pass() -> None:
    parked = Parked()
    kept = parked.put_off(delivery(5), order(5), [], NOW, ORDERED_MS + 1)
    assert kept.order is None
    assert may_go(parked, 6)


def test_one_that_was_put_off_waits_for_those_that_were_in_memory_then() -> None:
    """They may be read anew by another process, which sends them or puts them off too."""
    parked = Parked()
    memory = [delivery(9), delivery(4, attempt=2), delivery(3), delivery(2)]
    placed = parked.put_off(delivery(5), order(5), memory, NOW, 1_000).order
    assert placed is not None
    assert placed.after == (3, 0), "the newest older one that was never tried"
    elsewhere = Parked()

    def goes(now_ms: int = NOW) -> bool:
        return elsewhere.behind("d5", placed, now_ms) is None

    assert not goes(), "nothing is known of it"
    told(elsewhere, events=Reached(2))
    assert not goes()
    told(elsewhere, put_off(3, 70), events=Reached(2, Resumed("x", 10, {5: (0, 0)})), retry=Reached(0))
    assert not goes(), "it was put off too"
    told(elsewhere, events=Reached(4), retry=Reached(71))
    assert goes()
    told(elsewhere, events=Reached(3, Resumed("x", 10, {3: (0, 1)})), retry=Reached(71))
    assert goes(), "it was tried"
    told(elsewhere, events=Reached(0))
    assert goes(NOW + 1_000 + HOLD_MS)


def test_a_place_is_for_those_that_were_never_tried_and_survives_its_record() -> None:
    assert place_of(delivery(5, attempt=2), *LANE) is None
    assert place_of(delivery(5, of=source(5, RETRY_1M)), *LANE) is None
    placed = order(5)._replace(after=(3, 1), after_due_ms=NOW)
    assert place_of(delivery(0, of=source(5, RETRY_1M))._replace(order=placed), *LANE) == placed
    for one in (placed, order(5)):
        assert decode_order(encode_order(one)) == one
    for wrong in (None, "", "a", "a/1/2", "a/1/2/x", "a/1/2/-3", "a/1/2/3/4", "a/1/2/" + "9" * 30):
        assert decode_order(wrong) is None
    assert "to" not in order(5).lane
    assert order(5, Lane("to", "a")).lane != order(5, Lane("t", "oa")).lane


def test_what_was_asked_is_known_when_reading_that_began_later_has_ended() -> None:
    parked = Parked()
    parked.assigned([EVENTS], NOW)
    assert parked.wanted
    begun = parked.begin()
    assert not parked.wanted
    later = parked.ask()
    assert not parked.ready(EVENTS, NOW)
    assert parked.ready(EVENTS, NOW + ANSWER_MS + 1), "brokers that don't answer hold nothing for good"
    parked.assigned([EVENTS], NOW)
    parked.learn(Knowledge(begun, [], {}))
    assert not parked.ready(EVENTS, NOW)
    parked.learn(Knowledge(parked.begin(), [], {}))
    assert parked.knows(later, NOW, NOW)
    assert parked.ready(EVENTS, NOW)
    assert parked.ready((AUTOMATION_EVENTS, 7), NOW), "nobody asked for it"


def test_so_many_are_remembered_and_room_is_made_of_those_that_are_long_due() -> None:
    parked = Parked(most=3)
    told(parked, *(put_off(number, number) for number in range(3)), put_off(3, 3), retry=Reached(0))
    assert len(parked) == 3
    late = NOW + ORDERED_MS + 3 * HOLD_MS
    told(parked, put_off(4, 4, late + ORDERED_MS), retry=Reached(0))
    assert len(parked) == 1
    told(parked, retry=Reached(5))
    assert len(parked) == 0


def test_brokers_are_asked_as_long_as_anybody_is_to_come() -> None:
    parked = Parked()
    parked.follow(NOW)
    assert not parked.wanted
    told(parked, put_off(5, 70), retry=Reached(70))
    parked.follow(NOW)
    assert parked.wanted
    parked.follow(NOW + HOLD_MS + 1)
    told(parked, retry=Reached(70))
    parked.follow(NOW + HOLD_MS + 1)
    assert not parked.wanted, "nobody waits for one that is so late"


def test_of_one_event_the_actions_of_one_lane_have_an_order_too_and_partitions_have_none() -> None:
    parked = Parked()
    told(parked, put_off(5, 70), retry=Reached(70))
    second: Delivery = delivery(5)._replace(id="d5b", place=1)
    placed = place_of(second, *LANE)
    assert placed is not None
    assert parked.behind("d5b", placed, NOW) == NOW
    assert may_go(parked, 6, partition=1)


def test_who_is_put_off_for_long_has_no_place_in_its_record_either() -> None:
    """So only topics for short stays need to be read for places."""
    for delay_ms, kept in ((ORDERED_MS, order(5)), (ORDERED_MS + 1, None)):
        decision = Decision(RETRYING, 0, "waiting", delay_ms=delay_ms)
        record = retry_record(delivery(5)._replace(order=order(5)), decision, Schedule(), NOW)
        headers = decode_headers(record.headers)
        assert headers is not None
        assert decode_order(headers.order) == kept
        assert kept is None or record.topic in Schedule().topics_within(ORDERED_MS)


def test_times_that_a_record_tells_are_believed_only_as_far_as_they_can_be_true() -> None:
    """A process whose clock is years ahead makes nobody wait for years."""
    years = NOW + 10 * 365 * 86_400_000
    placed = order(5)._replace(after=(3, 0), after_due_ms=years)
    headers = DeliveryHeaders("d5", "a", 0, "waiting", not_before_ms=years, order=encode_order(placed))
    bounded = placed._replace(after_due_ms=NOW + ORDERED_MS)
    found = told_by(encode_headers(headers), (RETRY, 70), NOW)
    assert found == PutOff("d5", bounded, NOW + ORDERED_MS, (RETRY, 70))
    again = retried(fired("e5", entry("a")), headers, source(70, RETRY_1M, log_ms=NOW))
    assert isinstance(again, Delivery)
    assert again.order == bounded
    early = headers._replace(not_before_ms=7, order=encode_order(order(5)))
    assert told_by(encode_headers(early), (RETRY, 70), NOW) == PutOff("d5", order(5), NOW, (RETRY, 70))
    assert told_by(encode_headers(headers._replace(order=None)), (RETRY, 70), NOW) is None
    assert told_by([("order", b"x")], (RETRY, 70), NOW) is None


def test_a_delivery_that_is_told_with_two_places_has_the_later_told_one_only() -> None:
    """Its event is in the log twice, or its lane is called otherwise since a setting was changed."""
    parked = Parked()
    told(parked, put_off(5, 70), put_off(6, 71), retry=Reached(70))
    moved = put_off(5, 72, lane="other")
    told(parked, moved, retry=Reached(70))
    assert may_go(parked, 6), "its old place is no longer held"
    assert not may_go(parked, 7), "a neighbour's is"
    assert not may_go(parked, 7, lane="other")
    parked.put_off(delivery(5), order(8), [], NOW, 1_000)
    assert may_go(parked, 7, lane="other")
    told(parked, put_off(8, 73), retry=Reached(70))
    told(parked, retry=Reached(73))
    assert may_go(parked, 8)
    assert not may_go(parked, 9)
    told(parked, retry=Reached(74))
    parked.follow(NOW + 2 * HOLD_MS)
    assert len(parked) == 0


def test_who_was_put_off_in_vain_holds_nobody_once_that_is_sure() -> None:
    """Its partition was lost before the commit: it is still where it was, and another process has it."""
    parked = Parked()
    parked.put_off(delivery(5), order(5), [], NOW, 1_000)
    parked.unwritten([RETRY])
    told(parked)
    assert not may_go(parked, 6), "it came from another partition"
    begun = parked.begin()
    parked.unwritten([EVENTS])
    parked.learn(Knowledge(begun, [], {}))
    assert not may_go(parked, 6), "it may have been written while that was read"
    told(parked)
    assert may_go(parked, 6)
    assert len(parked) == 0


def test_who_was_put_off_and_written_all_the_same_keeps_its_place() -> None:
    parked = Parked()
    parked.put_off(delivery(5), order(5), [], NOW, 1_000)
    parked.put_off(delivery(7)._replace(order=order(7)), order(7, Lane("to", "b")), [], NOW, 1_000)
    parked.unwritten([EVENTS])
    parked.put_off(delivery(7), order(7, Lane("to", "b")), [], NOW, 2_000)
    told(parked, put_off(5, 70), retry=Reached(70))
    assert not may_go(parked, 6), "its record was read"
    assert parked.behind("d8", order(8, Lane("to", "b")), NOW) == NOW + 2_000, "it was put off anew"
    told(parked, retry=Reached(71))
    assert may_go(parked, 6)


def test_one_that_was_put_off_again_in_vain_has_its_old_record_still() -> None:
    parked = Parked()
    told(parked, put_off(5, 70), retry=Reached(70))
    parked.put_off(delivery(0, of=source(70, RETRY_1M, partition=1))._replace(id="d5"), order(5), [], NOW, 1_000)
    parked.unwritten([RETRY])
    told(parked, retry=Reached(70))
    assert not may_go(parked, 6)
    told(parked, retry=Reached(71))
    assert may_go(parked, 6), "the next owner of its partition has ended it"


def test_much_that_is_told_is_taken_in_slices_the_last_of_which_ends_the_reading() -> None:
    records = [put_off(number, number) for number in range(2 * AT_ONCE + 1)]
    whole = Knowledge(7, records, {RETRY: Reached(3)})
    slices = list(whole.slices())
    assert [len(one.records) for one in slices] == [AT_ONCE, AT_ONCE, 1]
    assert [record for one in slices for record in one.records] == records
    assert [(one.asked, one.reached) for one in slices] == [(0, {}), (0, {}), (7, whole.reached)]
    assert list(Knowledge(7, [], {}).slices()) == [Knowledge(7, [], {})]
