"""``orchestrator down``: end a named deployment."""

from typing import Annotated

import typer

from orchestrator.cli.options import ClusterAddress, in_cluster


def down(
    name: Annotated[str, typer.Argument(help="The deployment's name.")],
    address: ClusterAddress = None,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds for the cards to finish what they have.")
    ] = 30.0,
) -> None:
    """End a deployment that `orchestrator up` started, and all its processes.

    Its cards take nothing new and finish what they have; what drivers still hold fails.
    """
    # Ray, which other verbs do without
    from orchestrator.runtime.deployments.named import take_down

    with in_cluster(address):
        take_down(name, drain)
    typer.echo(f"{name} is down")
