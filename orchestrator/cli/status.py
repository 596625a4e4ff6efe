"""``orchestrator status``: how a named deployment is."""

import json
import time
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from orchestrator.report.console import results_console

_EVERY_SECONDS = 2.0
_ANSWER_SECONDS = 5.0


def status(
    name: Annotated[str, typer.Argument(help="The deployment's name.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Again every two seconds, until Ctrl-C.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print it as JSON; with --watch, one line each time.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help="The cluster: auto or host:port; see up.")
    ] = None,
) -> None:
    """Show cards, replicas, bytes planned and measured, and counts since each card started."""
    from orchestrator.runtime.named import join, status_of  # Ray, which other verbs do without

    connection = join(address)
    try:
        if not watch:
            seen = status_of(name, _ANSWER_SECONDS)
            typer.echo(seen.to_json() if as_json else str(seen))
            return
        with Live(console=results_console(), auto_refresh=False) as live:
            while True:
                seen = status_of(name, _ANSWER_SECONDS)
                if as_json:
                    typer.echo(json.dumps(seen.to_dict()))
                else:
                    live.update(Text(str(seen)), refresh=True)
                time.sleep(_EVERY_SECONDS)
    finally:
        connection.close()
