import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from orchestrator.config import schema
from orchestrator.config.section import Section

DOCS = Path(__file__).parents[2] / "docs"


def sections(root: type[BaseModel] = Section) -> list[type[BaseModel]]:
    found = [
        child for child in root.__subclasses__() if child.__module__.startswith("orchestrator")
    ]
    return found + [deeper for child in found for deeper in sections(child)]


def test_the_committed_schema_is_current():
    committed = json.loads(schema.SCHEMA_FILE.read_text(encoding="utf-8"))
    assert committed == schema.deployment_schema(), "run: make schema"


def test_writing_it_anew_gives_the_same_text(tmp_path):
    schema.write_schema(tmp_path / "schema.json")
    assert (tmp_path / "schema.json").read_text(encoding="utf-8") == schema.schema_text()


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_field_is_described_and_unknown_ones_are_refused(section):
    assert section.model_config["extra"] == "forbid"
    assert section.model_config["frozen"]
    for name, field in section.model_fields.items():
        assert field.description, name
        assert field.description.rstrip().endswith("."), name


def test_the_schema_knows_no_null():
    assert '"null"' not in schema.schema_text()


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_field_is_on_the_page(section):
    page = (DOCS / "deployment.md").read_text(encoding="utf-8")
    for name in section.model_fields:
        assert name in page
