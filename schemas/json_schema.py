"""JSON Schema of control records and of their YAML form, generated from the models.

``python -m schemas.json_schema docs/schema`` writes both; editors complete and check YAML with the second.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from schemas.action_configs import CONFIGS
from schemas.control_models import MODELS
from schemas.manifest_models import DocumentSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DEFINITIONS = "#/$defs/{model}"


def control_schema() -> dict[str, Any]:
    """Schema of a control record's JSON: one of the four kinds."""
    definitions = _definitions([*MODELS.values(), *CONFIGS.values()])
    _tie_configs(definitions["Action"], "action_type")
    return {
        "$schema": DIALECT,
        "title": "Control record",
        "description": "Value of a record on the automations topic, under the key <kind>:<id>.",
        "anyOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in MODELS.values()],
        "$defs": definitions,
    }


def manifest_schema() -> dict[str, Any]:
    """Schema of one document of the YAML form. Unknown fields are refused, as the commands refuse them."""
    definitions = _definitions([DocumentSpec, *CONFIGS.values()])
    _tie_configs(definitions["ActionSpec"], "type")
    for name in ("Delivery", *(model.__name__ for model in CONFIGS.values())):
        definitions[name]["additionalProperties"] = False
    return {
        "$schema": DIALECT,
        "title": "Automations",
        "description": "Actions, agent configs and automations of one tenant, as YAML.",
        "$ref": "#/$defs/DocumentSpec",
        "$defs": definitions,
    }


def files() -> dict[str, str]:
    """Names and texts of the schema files."""
    return {
        "control.schema.json": _text(control_schema()),
        "manifest.schema.json": _text(manifest_schema()),
    }


def _definitions(models: list[Any]) -> dict[str, Any]:
    _, schema = models_json_schema([(model, "validation") for model in models], ref_template=_DEFINITIONS)
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


def _tie_configs(action: dict[str, Any], type_field: str) -> None:
    action["properties"]["config"] = {"type": "object"}
    action["allOf"] = [
        {
            "if": {"properties": {type_field: {"const": action_type}}},
            "then": {"properties": {"config": {"$ref": f"#/$defs/{model.__name__}"}}},
        }
        for action_type, model in CONFIGS.items()
    ]


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    """Writes the files into the folder given; 2 if none is."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m schemas.json_schema FOLDER\n")
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
