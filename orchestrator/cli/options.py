"""Options that several verbs have."""

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
