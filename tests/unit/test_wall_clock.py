"""What decides never asks the host what time it is: a wrong clock there can't make or lose an event."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The stamp of a log line; when a control record was created, on the command line.
MAY_ASK = frozenset({"streams/telemetry.py", "streams/control_writer.py"})
CLOCKS = frozenset({"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime", "ctime", "clock_gettime"})


def sources() -> list[str]:
    return sorted(
        str(path.relative_to(ROOT)) for package in ("streams", "consumer") for path in (ROOT / package).rglob("*.py")
    )


def wall_clock_reads(tree: ast.AST) -> list[str]:
    """Calls of the host's clock, by whatever name, and the lines where they stand."""
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for alias in node.names
        if alias.name in CLOCKS
    }
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in imported:
            found.append(f"{called.id} in line {node.lineno}")
        if isinstance(called, ast.Attribute) and called.attr in CLOCKS and isinstance(called.value, ast.Name):
            of = called.value.id
            found += [f"{of}.{called.attr} in line {node.lineno}"] if of in {"time", "datetime", "date"} else []
    return found


@pytest.mark.parametrize("name", sources())
def test_neither_the_runtime_nor_the_consumer_reads_the_hosts_clock(name: str) -> None:
    """Broker time and monotonic time are all that there is; log lines and the writer of control records excepted."""
    reads = wall_clock_reads(ast.parse((ROOT / name).read_text()))
    assert bool(reads) == (name in MAY_ASK), reads


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "import time\ntime.time_ns()",
        "from time import time as clock\nclock()",
        "from datetime import datetime\ndatetime.now()",
        "import time\ntime.localtime()",
    ],
)
def test_every_way_to_read_it_is_noticed(source: str) -> None:
    assert wall_clock_reads(ast.parse(source))


@pytest.mark.parametrize("source", ["from time import monotonic\nmonotonic()", "self.time.at(3)", "loop.now_ms()"])
def test_other_clocks_are_no_matter(source: str) -> None:
    assert not wall_clock_reads(ast.parse(source))
