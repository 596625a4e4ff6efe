"""The JSON schema of a deployment file, for editors; committed beside this module."""

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from orchestrator.config.deployment import Deployment

#: Where the committed schema lies, in the source tree and in an installed package.
SCHEMA_FILE = Path(__file__).with_name("deployment.schema.json")


class _FileSchema(GenerateJsonSchema):
    """A field of the file is given or left out; it is never null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        if made.get("default", 0) is None:
            del made["default"]
        return made


def deployment_schema() -> dict[str, Any]:
    """The schema as the code has it now."""
    made = Deployment.model_json_schema(schema_generator=_FileSchema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def schema_text() -> str:
    """The text of ``SCHEMA_FILE`` as it ought to be."""
    return json.dumps(deployment_schema(), indent=2, ensure_ascii=False) + "\n"


def write_schema(path: Path = SCHEMA_FILE) -> None:
    """Write the schema anew, after a change of the models: ``make schema``."""
    path.write_text(schema_text(), encoding="utf-8")
