"""What came of a campaign, for whoever reads it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.faults.checker import Violation
from tests.faults.nemesis import Done

SHOWN, SHOWN_CHARS = 10, 700


@dataclass
class Report:
    """Filled as the campaign goes on; a campaign that could not be judged says so in ``broken_off``."""

    seed: int
    folder: Path
    faults: list[Done] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    records: int = 0
    lost_sends: int = 0
    events: Mapping[str, int] = field(default_factory=dict)
    dead_letters: int = 0
    deliveries: Mapping[str, object] = field(default_factory=dict)
    exits: Sequence[str] = ()
    peak_kb: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    broken_off: str | None = None

    @property
    def failed(self) -> bool:
        return bool(self.violations) or self.broken_off is not None

    @property
    def caught_by(self) -> Counter[str]:
        """How many violations each check found."""
        return Counter(violation.check for violation in self.violations)

    def lines(self) -> list[str]:
        found = self.caught_by
        told = [
            f"seed {self.seed}, {self.seconds / 60:.1f} minutes",
            f"records: {self.records}; not confirmed to the load: {self.lost_sends}",
            f"events: {self.events.get('expected', 0)} expected, {self.events.get('found', 0)} found: "
            + ", ".join(f"{found[kind]} {kind}" for kind in ("false", "missed", "doubled", "different", "early")),
            f"dead letters: {self.dead_letters} expected, {found['dead letter']} wrong; "
            f"runs in state wrong: {found['state']}; positions wrong: {found['position']}",
            f"deliveries: {', '.join(f'{name} {self.deliveries[name]}' for name in _TOLD if name in self.deliveries)}",
            f"ended by themselves: {len(self.exits)}" + "".join(f"\n    {line}" for line in self.exits[:SHOWN]),
            "peak memory: " + ", ".join(f"{name} {kb // 1024} MB" for name, kb in sorted(self.peak_kb.items())),
            *_faults(self.faults),
        ]
        if self.broken_off is not None:
            told.append(f"BROKEN OFF: {self.broken_off}")
        for name, count in sorted(found.items()):
            told.append(f"VIOLATED {name}: {count}")
            told += [f"    {one.detail[:SHOWN_CHARS]}" for one in self.violations if one.check == name][:SHOWN]
        if self.failed:
            told.append(f"logs of all processes: {self.folder}")
        told.append("FAILED" if self.failed else "all promises kept")
        return told


_TOLD = ("deliveries", "ended", "attempts", "posts", "repeats", "repeats_unexcused", "dead_letters")


def _faults(faults: Sequence[Done]) -> list[str]:
    """A table: how often each kind, and how long the slowest event took each time."""
    by_kind: dict[str, list[float]] = defaultdict(list)
    for done in faults:
        by_kind[done.kind].append(done.slowest_s)
    told = [f"faults: {len(faults)}", f"    {'kind':24} {'times':>5}  slowest event: median, worst"]
    for kind, slowest in sorted(by_kind.items()):
        worst = "never" if math.isinf(max(slowest)) else f"{max(slowest):.1f} s"
        told.append(f"    {kind:24} {len(slowest):5}  {median(slowest):.1f} s, {worst}")
    return told
