"""How a process tells that it can't keep up itself, so that it blames no receiver."""

from actions.pulse import BEAT_MS, Strain


def after(beats: list[tuple[int, float]]) -> bool:
    strain = Strain()
    for since_ms, used_ms in beats:
        strain.beat(since_ms, used_ms)
    return strain.strained


def test_a_process_that_mostly_waits_keeps_up() -> None:
    assert not after([(BEAT_MS, 0.4 * BEAT_MS)] * 100)


def test_a_process_that_uses_a_whole_processor_is_strained_though_it_beats_in_time() -> None:
    """Short turns come in time however many there are: a backlog shows in what they cost."""
    assert after([(BEAT_MS, 1.0)] * 10 + [(BEAT_MS, 1.1 * BEAT_MS)] * 4)


def test_a_process_that_gets_no_processor_is_strained() -> None:
    assert after([(4 * BEAT_MS, 10.0)] * 20)


def test_strain_ends_soon_after_the_work_is_done() -> None:
    assert not after([(BEAT_MS, 1.1 * BEAT_MS)] * 100 + [(BEAT_MS, 1.0)] * 2)


def test_one_long_stop_is_no_lasting_strain() -> None:
    """As by a debugger, or a laptop that was closed."""
    assert not after([(3_600_000, 5.0)] + [(BEAT_MS, 5.0)] * 30)
