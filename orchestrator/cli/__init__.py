"""The command line: one file per verb."""

import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated

import typer
from typer.core import TyperCommand

from orchestrator.cli.check import check
from orchestrator.cli.convert import convert
from orchestrator.cli.doctor import doctor
from orchestrator.cli.down import down
from orchestrator.cli.drain import drain
from orchestrator.cli.plan import plan
from orchestrator.cli.profile import profile
from orchestrator.cli.run import run
from orchestrator.cli.schema import schema
from orchestrator.cli.status import status
from orchestrator.cli.up import up
from orchestrator.cli.verify_card import SeveralFiles, verify_card
from orchestrator.errors import JobError, OrchestratorError
from orchestrator.runtime.journal import events_shown

# Some releases of typer carry a click of their own: the root of its errors is found from typer's.
ClickException: type[Exception] = typer.BadParameter.mro()[2]

app = typer.Typer(
    name="orchestrator",
    help="Plan and run many MindSpore Lite models on few cards.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ascend-orchestrator {version('ascend-orchestrator')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Options of the command itself; the text above its help is that of ``app``."""


def _add(verb: Callable[..., None], panel: str = "", cls: type[TyperCommand] | None = None) -> None:
    """Make a function a verb, under this heading; a help line is as long as the terminal is wide.

    Typer breaks its paragraphs where the source does.
    """
    text = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(verb.__doc__ or ""))
    app.command(help=text, rich_help_panel=panel, hidden=not panel, cls=cls)(verb)


_WORK, _STAY, _LOOK = "Plan and run", "Deployments that stay", "Look before you start"
_add(plan, _WORK)
_add(run, _WORK)
_add(up, _STAY)
_add(status, _STAY)
_add(drain, _STAY)
_add(down, _STAY)
_add(check, _LOOK)
_add(doctor, _LOOK)
_add(profile, _LOOK)
_add(convert, _LOOK)
_add(verify_card, _LOOK, SeveralFiles)
_add(schema)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 1 after one clear line on stderr. 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with events_shown():
            code = app(words or ["--help"], prog_name="orchestrator", standalone_mode=False)
        sys.stdout.flush()
    except OrchestratorError as error:
        return _error(error.on_command_line() if isinstance(error, JobError) else str(error))
    except ClickException as error:
        return _error(_told(error))
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        # The reader has left; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a file of the user's or a folder of ours; which, is what helps
        told = error.strerror or str(error) or type(error).__name__
        return _error(f"{error.filename}: {told}" if error.filename else told)
    return code if isinstance(code, int) else 0


def _told(error: Exception) -> str:
    """What is wrong with the words of a command, and where its right ones are told."""
    text = str(getattr(error, "format_message", error.__str__)())
    text = text.replace("Value error, ", "")  # what checks typer's values says so
    command = getattr(getattr(error, "ctx", None), "command_path", "orchestrator")
    return f"{text[:-1]}: see {command} --help" if text.endswith(".") else text


def _error(text: str) -> int:
    typer.echo(f"error: {text}", err=True)
    return 1
