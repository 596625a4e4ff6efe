"""``orchestrator up``: a named deployment that stays in the cluster; again, to change it."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.files import load_wanted
from orchestrator.cli.options import ClusterAddress
from orchestrator.placement import PlanDiff
from orchestrator.runtime.options import Options


def up(
    deployment: Annotated[
        Path, typer.Argument(help="A deployment.yaml, or a plan that `plan --out` wrote.")
    ],
    address: ClusterAddress = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Replace cards of the deployment that runs, if need be.")
    ] = False,
    batch: Annotated[
        bool, typer.Option("--batch", help="Plan for batch jobs, which may keep cards fully busy.")
    ] = False,
) -> None:
    """Start a deployment in a Ray cluster, where it stays until `orchestrator down`.

    When one of its name runs there, the cards that differ are replaced one after the other: the
    steps and each model's outage are shown, and nothing is done without --yes (exit code 1).
    """
    from orchestrator.runtime.deployments.up import up as start  # Ray, which other verbs do without

    def agreed(diff: PlanDiff) -> bool:
        for line in diff.lines():
            typer.echo(line)
        return yes

    options = Options(
        address=address, batch=batch, progress=lambda line: typer.echo(line, err=True)
    )
    outcome = start(load_wanted(deployment), options, agreed)
    name = outcome.plan.deployment.name
    if not outcome.done:
        typer.echo(f"error: {name} runs and was not changed: --yes does these steps", err=True)
        raise typer.Exit(1)
    models, cards = len(outcome.plan.deployment.models), outcome.plan.plan.cards_used
    typer.echo(f'{name}: {models} models on {cards} cards; Orchestrator.connect("{name}") joins it')
