"""``orchestrator drain``: take a card or a node out of a named deployment, and bring it back."""

from typing import Annotated

import typer

from orchestrator.cli.options import ClusterAddress, in_cluster


def drain(
    where: Annotated[
        str, typer.Argument(metavar="CARD|NODE", help="A card such as local/0, or a node.")
    ],
    undo: Annotated[
        bool, typer.Option("--undo", help="Start its cards again; also those that were given up.")
    ] = False,
    deployment: Annotated[
        str | None, typer.Option(help="Whose card; may be left out when only one is up.")
    ] = None,
    address: ClusterAddress = None,
) -> None:
    """Let a card, or all cards of a node, finish what they have, and leave them empty.

    Other cards serve on. What the drained ones alone served waits for --undo.
    """
    # Ray, which other verbs do without
    from orchestrator.runtime.deployments.named import drain as empty
    from orchestrator.runtime.deployments.named import the_only_one

    with in_cluster(address):
        done = empty(deployment or the_only_one(), where, undo=undo)
    if done.slots:
        typer.echo(f"{'starting again' if undo else 'drained'}: {', '.join(done.slots)}")
    if done.others:
        typer.echo(f"{'not drained' if undo else 'drained before'}: {', '.join(done.others)}")
    if done.unserved:
        typer.echo(f"on no other card, so they wait for --undo: {', '.join(done.unserved)}")
