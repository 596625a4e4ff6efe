"""``orchestrator schema``: write the committed JSON schemas anew."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from orchestrator import placement
from orchestrator.config.schema import SCHEMA_FILE, write_schema
from orchestrator.placement.plan import plan_schema
from orchestrator.placement.problem import problem_schema

_PLACEMENT = Path(placement.__file__).parent


def schema() -> None:
    """Write the JSON schemas of deployment, problem and plan beside the code that reads them."""
    write_schema()
    typer.echo(SCHEMA_FILE)
    for path, made in placement_schemas().items():
        path.write_text(schema_text(made), encoding="utf-8")
        typer.echo(path)


def placement_schemas() -> Mapping[Path, dict[str, Any]]:
    """The schemas of problem and plan as the code has them now, by the file that holds each."""
    return {
        _PLACEMENT / "problem.schema.json": problem_schema(),
        _PLACEMENT / "plan.schema.json": plan_schema(),
    }


def schema_text(made: Mapping[str, Any]) -> str:
    """The text of a committed schema."""
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"
