"""The shape of the code: who may import whom, and what the pure files never touch."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A package imports itself and those before it. Consumer and actions are side by side.
LAYERS: dict[str, frozenset[str]] = {
    "schemas": frozenset(),
    "topology": frozenset({"schemas"}),
    "streams": frozenset({"schemas", "topology"}),
    "consumer": frozenset({"schemas", "topology", "streams"}),
    "actions": frozenset({"schemas", "topology", "streams"}),
    "cli": frozenset({"schemas", "topology", "streams", "consumer", "actions"}),
}

# Files that decide and compute: the same arguments give the same answer, always and everywhere.
PURE = (
    "schemas/records.py",
    "schemas/ids.py",
    "schemas/states.py",
    "schemas/templates.py",
    "topology/partitioner.py",
    "topology/names.py",
    "topology/topics.py",
    "topology/findings.py",
    "streams/broker_time.py",
    "streams/control_plan.py",
    "streams/control_references.py",
    "streams/control_topic.py",
    "streams/errors.py",
    "streams/partition.py",
    "streams/position.py",
    "streams/store.py",
    "streams/testing.py",
    "consumer/*.py",
    "actions/channels/*.py",
    "actions/backlog.py",
    "actions/decide.py",
    "actions/delivery.py",
    "actions/exchange.py",
    "actions/health.py",
    "actions/lanes.py",
    "actions/row.py",
    "actions/mutes.py",
    "actions/offsets.py",
    "actions/order.py",
    "actions/outbox.py",
    "actions/parked.py",
    "actions/schedule.py",
    "actions/waiting.py",
    "schemas/delivery_headers.py",
)
# What joins the consumer's pure core to the loop, the clock and the process.
WIRING = frozenset({"consumer/service.py"})

IMPURE_MODULES = frozenset(
    {
        "aiohttp",
        "asyncio",
        "confluent_kafka",
        "http",
        "os",
        "random",
        "requests",
        "secrets",
        "socket",
        "subprocess",
        "threading",
        "time",
        "urllib.request",
    }
)
IMPURE_CALLS = frozenset({"now", "utcnow", "today", "uuid1", "uuid4", "monotonic", "perf_counter", "urandom"})

MAX_LINES = 400
MAX_FUNCTION_LINES = 60
VAGUE = re.compile(r"(^|_)(utils?|helpers?|managers?|base|common|misc)(_|$)")


def sources() -> list[Path]:
    """Every Python file of the packages."""
    return sorted(path for package in LAYERS for path in (ROOT / package).rglob("*.py"))


def pure_files() -> list[Path]:
    found = {path for pattern in PURE for path in ROOT.glob(pattern)}
    return sorted(path for path in found if str(path.relative_to(ROOT)) not in WIRING)


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules that a file imports, those that only type checkers see left out."""
    unseen = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which package they cross into"
            yield node.module or ""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    """schemas <- topology <- streams <- consumer | actions <- cli."""
    package = path.relative_to(ROOT).parts[0]
    allowed = LAYERS[package] | {package}
    crossed = {module for module in imported(ast.parse(path.read_text())) if module.split(".")[0] in LAYERS}
    wrong = {module for module in crossed if module.split(".")[0] not in allowed}
    assert not wrong, f"{name_of(path)} imports {sorted(wrong)}, which {package} must not know"


@pytest.mark.parametrize("path", pure_files(), ids=name_of)
def test_pure_files_know_no_kafka_network_clock_or_chance(path: Path) -> None:
    """What is decided depends on the records alone, so that a replay decides the same."""
    tree = ast.parse(path.read_text())
    modules = {
        module for module in imported(tree) if module in IMPURE_MODULES or module.split(".")[0] in IMPURE_MODULES
    }
    calls = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in IMPURE_CALLS
    }
    assert not modules, f"{name_of(path)} imports {sorted(modules)}"
    assert not calls, f"{name_of(path)} calls {sorted(calls)}"


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_files_and_functions_keep_one_purpose_each(path: Path) -> None:
    """A file has at most 400 lines, a function 60; a name says what it is for."""
    text = path.read_text()
    assert text.count("\n") <= MAX_LINES, f"{name_of(path)} has {text.count(chr(10))} lines"
    assert not VAGUE.search(path.stem), f"{name_of(path)}: a name that says nothing"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{name_of(path)}: {node.name} has {length} lines"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_paths_named_in_the_documents_exist(document: str) -> None:
    """A reader who follows a link or a path in backquotes finds something."""
    path = ROOT / document
    if not path.exists():
        return
    text = path.read_text()
    links = set(re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text))
    quoted = set(re.findall(r"`((?:schemas|topology|streams|consumer|actions|cli|tests|docs|bench)/[\w./-]*)`", text))
    missing = sorted(name for name in links | quoted if not (ROOT / name).exists())
    assert not missing, f"{document} names {missing}"
