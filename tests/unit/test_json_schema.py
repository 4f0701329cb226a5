"""The JSON Schemas in the documentation are those of the models, and hold together."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.action_configs import CONFIGS
from schemas.json_schema import control_schema, files, main, manifest_schema

FOLDER = Path(__file__).parents[2] / "docs" / "schema"
each_schema = pytest.mark.parametrize("schema", [control_schema(), manifest_schema()], ids=["control", "manifest"])


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from references(item)


@pytest.mark.parametrize("name", files())
def test_the_files_in_the_documentation_are_current(name: str) -> None:
    """``python -m schemas.json_schema docs/schema`` makes them so."""
    assert (FOLDER / name).read_text("utf-8") == files()[name]


@each_schema
def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    assert {reference.removeprefix("#/$defs/") for reference in references(schema)} <= set(schema["$defs"])


@each_schema
def test_each_type_of_action_has_its_config(schema: dict[str, Any]) -> None:
    action = schema["$defs"].get("ActionSpec") or schema["$defs"]["Action"]
    tied = [rule["then"]["properties"]["config"]["$ref"].rpartition("/")[2] for rule in action["allOf"]]
    assert tied == [model.__name__ for model in CONFIGS.values()]


def test_control_records_may_have_fields_of_a_later_version_and_yaml_may_not() -> None:
    assert control_schema()["$defs"]["SlackConfig"].get("additionalProperties", True) is True
    yaml_form = manifest_schema()["$defs"]
    assert all(part["additionalProperties"] is False for part in yaml_form.values() if part.get("type") == "object")


def test_the_command_writes_both_files(tmp_path: Path) -> None:
    assert main([str(tmp_path / "schema")]) == 0
    written = {path.name: path.read_text("utf-8") for path in (tmp_path / "schema").iterdir()}
    assert written == files()
    assert all(json.loads(text)["$schema"] for text in written.values())


def test_the_command_without_a_folder_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: python -m schemas.json_schema FOLDER" in capsys.readouterr().err
