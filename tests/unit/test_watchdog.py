"""A process ends itself when a call hangs, and only then."""

from streams.watchdog import HANGS_AFTER, Watchdog


def test_a_mark_that_stands_still_is_a_hang() -> None:
    watchdog = Watchdog()
    looks = [watchdog.hangs(100.0) for _ in range(HANGS_AFTER + 1)]
    assert looks == [False] * HANGS_AFTER + [True]


def test_whatever_moves_in_time_is_none_nor_is_having_nothing_to_do() -> None:
    watchdog = Watchdog()
    for turn in range(20):
        assert not any(watchdog.hangs(float(turn)) for _ in range(HANGS_AFTER))
    assert not any(watchdog.hangs(None) for _ in range(3 * HANGS_AFTER))


def test_a_process_that_was_stopped_for_an_hour_goes_on() -> None:
    """The clock has moved on by then; it has looked as rarely as it has worked."""
    watchdog = Watchdog()
    assert not watchdog.hangs(100.0)
    assert not watchdog.hangs(100.0)
    assert not watchdog.hangs(3700.0)
