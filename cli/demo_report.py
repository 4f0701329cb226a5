"""Does what was notified agree with what was injected? A pure comparison, each once.

Laws:

1. Each injected (kind, subject) is due once at every place that its kind is sent to.
2. A notification is known by the id of its event: the same id twice at one place is a double.
3. A notification that nothing injected accounts for is false.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cli.simulation import KINDS, Injected


class Notification(NamedTuple):
    """A delivery that the receiver answered with 200."""

    place: str
    kind: str
    subject: str
    event_id: str


class KindReport(NamedTuple):
    """One line of the summary: counts of one kind at one place."""

    kind: str
    place: str
    injected: int
    notified: int
    missing: tuple[str, ...]
    doubled: tuple[str, ...]
    false: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Each injected one was notified once, and nothing else was."""
        return not (self.missing or self.doubled or self.false)


def compare(
    injected: Sequence[Injected], notifications: Iterable[Notification], places: Mapping[str, Sequence[str]]
) -> list[KindReport]:
    """Compare, for each kind and each of its ``places``; messages are sentences for a person."""
    what = {(one.kind, one.subject): one.what for one in injected}
    due = Counter((one.kind, one.subject) for one in injected)
    arrived: dict[tuple[str, str, str], Counter[str]] = {}
    for one in notifications:
        arrived.setdefault((one.place, one.kind, one.subject), Counter())[one.event_id] += 1
    reports = []
    for kind in KINDS:
        for place in places[kind]:
            here = {subject: ids for (p, k, subject), ids in arrived.items() if (p, k) == (place, kind)}
            wanted = {subject: count for (k, subject), count in due.items() if k == kind}
            missing, false = [], []
            for subject in wanted.keys() | here.keys():
                lacks = wanted.get(subject, 0) - len(here.get(subject, ()))
                name = what.get((kind, subject), f"something unknown to the fleet ({subject})")
                missing += [f"{kind}: {name}"] * max(lacks, 0)
                false += [f"{kind}: {name}"] * max(-lacks, 0)
            doubled = [
                f"{kind}: {what.get((kind, subject), subject)}, event {event_id}, {count} times"
                for subject, ids in here.items()
                for event_id, count in ids.items()
                if count > 1
            ]
            reports.append(
                KindReport(
                    kind,
                    place,
                    sum(wanted.values()),
                    sum(sum(ids.values()) for ids in here.values()),
                    tuple(sorted(missing)),
                    tuple(sorted(doubled)),
                    tuple(sorted(false)),
                )
            )
    return reports
