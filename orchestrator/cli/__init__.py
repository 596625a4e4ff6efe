"""The command line: one file per verb."""

import os
import sys
from collections.abc import Sequence

import click
import typer

from orchestrator.cli.plan import plan
from orchestrator.cli.run import run
from orchestrator.cli.schema import schema
from orchestrator.errors import OrchestratorError

app = typer.Typer(
    name="orchestrator",
    help="Plan and run many MindSpore Lite models on few cards.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(plan)
app.command()(run)
app.command(hidden=True)(schema)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 1 after one clear line on stderr. 130 after Ctrl-C."""
    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        return _error(error.format_message())
    except OrchestratorError as error:
        return _error(str(error))
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        # The reader has left; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _error(text: str) -> int:
    typer.echo(f"error: {text}", err=True)
    return 1
