"""``orchestrator status``: how a named deployment is."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.text import Text

from orchestrator.cli.options import ClusterAddress, in_cluster
from orchestrator.report.console import results_console

if TYPE_CHECKING:
    from orchestrator.runtime.deployments.status import Status

_EVERY_SECONDS = 2.0
_ANSWER_SECONDS = 5.0


def status(
    name: Annotated[
        str | None, typer.Argument(help="The deployment's; may be left out when only one is up.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Again every two seconds, until Ctrl-C.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print it as JSON; with --watch, one line each time.")
    ] = False,
    address: ClusterAddress = None,
) -> None:
    """Show cards, replicas, bytes planned and measured, and counts since each card started."""
    # Ray, which other verbs do without
    from orchestrator.runtime.deployments.named import status_of, the_only_one

    with in_cluster(address, told=not as_json):
        one = name or the_only_one()
        _show(lambda: status_of(one, _ANSWER_SECONDS), watch=watch, as_json=as_json)


def _show(look: Callable[[], "Status"], *, watch: bool, as_json: bool) -> None:
    if not watch:
        typer.echo(look().to_json() if as_json else str(look()))
        return
    console = results_console()
    with Live(console=console, auto_refresh=False, redirect_stdout=False) as live:
        while True:
            if as_json:
                typer.echo(json.dumps(look().to_dict()))
            elif console.is_terminal:
                live.update(Text(str(look())), refresh=True)
            else:  # a file or a pipe, where nothing can be written over
                typer.echo(f"{look()}\n")
            time.sleep(_EVERY_SECONDS)
