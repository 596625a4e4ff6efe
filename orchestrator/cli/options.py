"""Options that several verbs have."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

#: Of a deployment that stays.
ClusterAddress = Annotated[
    str | None,
    typer.Option(
        help="The cluster: auto or host:port. By default RAY_ADDRESS, else the Ray that was "
        "started here."
    ),
]


@contextmanager
def in_cluster(address: str | None, *, told: bool = True) -> Iterator[None]:
    """Connected to a cluster, and ``told`` which on standard error.

    Raises:
        ClusterError: there is none, or it cannot be joined.
    """
    from orchestrator.runtime.deployments.named import join  # Ray, which other verbs do without

    connection = join(address)
    try:
        if told:
            typer.echo(f"in the cluster at {connection.address}", err=True)
        yield
    finally:
        connection.close()
