"""``orchestrator check``: the model files against the deployment. No card, no cluster."""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.check import check_deployment
from orchestrator.config import load_deployment
from orchestrator.report.check import check_document, check_lines, check_table
from orchestrator.report.console import results_console


def check(
    file: Annotated[Path, typer.Argument(help="A deployment.yaml.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Read the model files themselves and say what does not suit the deployment; exit code 1 then.

    Inputs, types, shapes and gears; what a MindIR was compiled for; missing files; options that
    nothing reads.
    """
    deployment = load_deployment(file)
    checks = check_deployment(deployment)
    if as_json:
        typer.echo(json.dumps(check_document(deployment.name, checks), indent=1))
    else:
        for line in check_lines(checks):
            typer.echo(line)
        if all(found.ok for found in checks):
            results_console().print(check_table(checks))
    if not all(found.ok for found in checks):
        raise typer.Exit(1)
