"""What the documents say is so: links lead somewhere, and every name of the code is in the reference."""

import re
from pathlib import Path

import pytest

from cli.rights_lines import rights_rows
from schemas.manifest import Manifest, load
from streams.metrics import METRICS, CounterSpec, GaugeSpec, Spec
from topology.names import TOPICS
from topology.rights import ROLES, rights_of
from topology.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
REFERENCE = (ROOT / "docs/reference.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()

# Settings that are families of variables, by what the reference calls the family.
FAMILIES = {
    "kafka_config": "KAFKA_CONFIG_<NAME>",
    "partitions": "<TOPIC>_PARTITIONS",
    "retention_ms": "<TOPIC>_RETENTION_MS",
    "secret_env": "SECRET_<NAME>",
}

# What a backquoted path looks like: a folder of the repository, and something in it.
PATH = re.compile(r"`((?:schemas|topology|streams|consumer|actions|cli|tests|docs|bench|\.ci)/[\w./-]*)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(document: Path) -> str:
    """The document without its blocks of code, in which brackets mean something else."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def settings_table() -> str:
    """The table of settings, from the model."""
    rows = ["| setting | default | what |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.is_required() or field.default_factory else field.default
        text = str(default).lower() if isinstance(default, bool) else str(default)
        shown = "" if default in (None, "", ()) else f"`{text}`"
        # A page takes what stands in angle brackets for HTML.
        description = (field.description or "").replace("<", "&lt;")
        rows.append(f"| `{FAMILIES.get(name, name.upper())}` | {shown} | {description} |")
    return "\n".join(rows)


def metrics_table() -> str:
    """The table of metrics, from their list."""
    rows = ["| metric | type | labels | what |", "|---|---|---|---|"]
    for spec in METRICS:
        counts, goes_both_ways = isinstance(spec, CounterSpec), isinstance(spec, GaugeSpec)
        kind = "counter" if counts else "gauge" if goes_both_ways else "histogram"
        rows.append(f"| `{spec.name}` | {kind} | {', '.join(spec.labels)} | {spec.help} |")
    return "\n".join(rows)


def rights_table() -> str:
    """The table of rights with default settings, from their list."""
    settings = Settings(bootstrap_servers="kafka:9092")
    rows = ["| for | operations | on | names |", "|---|---|---|---|"]
    for role in ROLES:
        for operations, what, names in rights_rows(rights_of(role, settings)):
            shown = ", ".join(f"`{name}`" for name in names.split(", "))
            rows.append(f"| `{role}` | {operations} | {what} | {shown} |")
    return "\n".join(rows)


def between(marker: str, page: str = OPERATIONS) -> str:
    """What stands in a page, the operations page unless told, between a marker and its end."""
    found = re.search(rf"<!-- {marker} -->\n(.*?)\n?<!-- /{marker} -->", page, re.S)
    assert found is not None, f"the page has no place marked {marker}"
    return found.group(1)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_files_and_headings_that_are_there(document: Path) -> None:
    """A reader who follows a link within the repository finds what it promises."""
    for link in LINK.findall(prose(document)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), f"{name_of(document)} links to {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{name_of(document)} links to {link}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_paths_in_backquotes_are_there(document: Path) -> None:
    """A reader who looks for a file that a document names finds it."""
    missing = sorted(path for path in PATH.findall(prose(document)) if not (ROOT / path).exists())
    assert not missing, f"{name_of(document)} names {missing}"


def test_every_page_of_the_documentation_can_be_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        document = todo.pop()
        reached.add(document)
        links = {link.partition("#")[0] for link in LINK.findall(prose(document))}
        targets = {(document.parent / link).resolve() for link in links if link.endswith(".md")}
        todo += [target for target in targets if target not in reached and target not in todo]
    assert set(DOCUMENTS) <= reached


@pytest.mark.parametrize("topic", TOPICS)
def test_the_reference_names_every_topic(topic: str) -> None:
    """The retry topics are listed by their endings, after the first of them."""
    short = topic.removeprefix("automation-events-retry")
    assert f"`{topic}`" in REFERENCE or f"`{short}`" in REFERENCE


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_setting_is_in_the_reference_or_among_what_else_can_be_set(name: str) -> None:
    """The reference promises names; the operations page has those beyond it, and all defaults."""
    variable = FAMILIES.get(name, name.upper())
    if not re.search(rf"`{re.escape(variable)}[`=]", REFERENCE):
        assert f"| `{variable}` |" in OPERATIONS, f"no document names {variable}"


@pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
def test_a_metric_is_in_the_reference_with_its_labels_or_among_what_else_helps(spec: Spec) -> None:
    """The reference promises names and labels; the operations page has those beyond it."""
    promised = re.search(rf"`{spec.name}(?:{{([^}}]*)}})?`", REFERENCE)
    if promised is not None:
        assert (promised.group(1) or "").split(",") == (list(spec.labels) or [""])
    else:
        assert f"| `{spec.name}` |" in OPERATIONS


def test_the_operations_page_lists_the_metrics_as_they_are() -> None:
    assert between("metrics") == metrics_table()


def test_the_operations_page_lists_the_settings_as_they_are() -> None:
    assert between("settings") == settings_table()


def test_the_security_page_lists_the_rights_as_they_are() -> None:
    assert between("rights", (ROOT / "docs/security.md").read_text()) == rights_table()


def test_the_readme_s_first_automation_is_valid() -> None:
    """What a newcomer copies first is accepted."""
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"<!-- test: manifest -->\n```yaml\n(.*?)^```", readme, re.M | re.S)
    assert found is not None
    manifest = load([("README.md", found.group(1))])
    assert isinstance(manifest, Manifest), manifest
    assert {record.RECORD_KIND for record in manifest.drafts} >= {"action", "automation"}
