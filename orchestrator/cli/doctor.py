"""``orchestrator doctor``: what every node of the cluster has and lacks."""

import json
from typing import Annotated

import typer

from orchestrator.report.doctor import doctor_document, doctor_lines, node_findings


def doctor(
    address: Annotated[
        str | None,
        typer.Option(
            help="auto or host:port: every node of that cluster; local: this machine alone. By "
            "default RAY_ADDRESS, else the Ray that was started here, else local."
        ),
    ] = None,
    resource: Annotated[str, typer.Option(help="The Ray resource that counts the cards.")] = "NPU",
    ge: Annotated[
        bool, typer.Option("--ge", help="Models of provider ge are to run: look for libhccl too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look at packages, CANN, driver and cards of every node; exit code 1 if something is amiss.

    No card is touched: memory and its holders are what npu-smi says. Works with no Ray running, and
    on a machine with no card.
    """
    from orchestrator.runtime.cluster.examine import (
        examine_nodes,  # Ray, which other verbs do without
    )

    nodes = [
        node_findings(node, resource, offered)
        for node, offered in examine_nodes(address, resource, ge=ge)
    ]
    if as_json:
        typer.echo(json.dumps(doctor_document(nodes), indent=1))
    else:
        for line in doctor_lines(nodes):
            typer.echo(line)
    if any(node.to_fix for node in nodes):
        raise typer.Exit(1)
