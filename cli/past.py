"""The past of the inputs: their histories, when they begin, and up to which instant they are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import NamedTuple

from streams.history import History
from streams.partition import Unread
from streams.standing import first_append_times, greatest_append_time, places_in
from topology.names import AUTOMATIONS, INPUTS
from topology.settings import Settings
from topology.topics import changelog_of


class Stretch(NamedTuple):
    """What the log has of a partition of an input, which is named without prefix; to be read once, in order."""

    input_name: str
    partition: int
    width: int
    """How many partitions the input has."""
    begin: int
    end: int
    cut_ms: int | None
    """Log time of the first record, where the log had earlier ones."""
    batches: Iterator[list[Unread]]


class Past:
    """To be used with ``with``. ``told`` hears how many offsets reading has got on by.

    ``known_ms``: every record with a lower log time is there.
    """

    def __init__(self, settings: Settings, inputs: Sequence[str], told: Callable[[int], None]) -> None:
        self.settings = settings
        self._inputs = inputs
        self._told = told
        self._open = ExitStack()

    def __enter__(self) -> Past:
        settings = self.settings
        places = places_in(settings, self._dated())
        # Asked before the ends: what comes after them was appended later.
        self.known_ms = greatest_append_time(settings, places)
        inputs = {settings.topic(name) for name in INPUTS}
        first_ms = first_append_times(settings, [place for place in places if place[0] in inputs])
        self.first_ms = min(first_ms.values(), default=-1)
        """Log time of the oldest record of an input; -1 if there is none."""
        try:
            self._control = self._history(AUTOMATIONS, None)
            self._histories = {name: self._history(name, self._told) for name in self._inputs}
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def offsets(self) -> int:
        """How many offsets of the inputs there are to read."""
        return sum(history.offsets for history in self._histories.values())

    def ends(self) -> dict[tuple[str, int], int]:
        """The end of each partition, by input and number."""
        return {
            (name, number): span.end
            for name, history in self._histories.items()
            for number, span in history.spans.items()
        }

    def stretches(self) -> Iterator[Stretch]:
        """The partitions to read, each opened when its turn comes."""
        for name, history in self._histories.items():
            for number in history.spans:
                batches = history.read(number)
                first = next(batches, [])
                begin, end = history.spans[number]
                cut_ms = None if begin == 0 else first[0].log_ms if first else self.known_ms
                yield Stretch(name, number, len(history.spans), begin, end, cut_ms, chain([first], batches))

    def control(self) -> list[Unread]:
        """The control topic's records."""
        return [record for _, record in self._control.records()]

    def _dated(self) -> list[str]:
        """The topics whose append times tell broker time: an idle consumer appends to its changelogs."""
        changelogs = [changelog_of(self.settings, name) for name in INPUTS]
        return [*(self.settings.topic(name) for name in (*INPUTS, AUTOMATIONS)), *changelogs]

    def _history(self, name: str, told: Callable[[int], None] | None) -> History:
        return self._open.enter_context(History(self.settings, self.settings.topic(name), told))
