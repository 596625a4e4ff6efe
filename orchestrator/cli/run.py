"""``orchestrator run``: a batch job from a folder to a folder."""

import contextlib
import importlib
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestrator.config import Deployment, load_deployment
from orchestrator.errors import JobError
from orchestrator.facade import Orchestrator
from orchestrator.jobs import IN_FLIGHT, PART_SIZE, Job, Outcome
from orchestrator.placement import DeploymentPlan

if TYPE_CHECKING:
    from orchestrator.runtime.runner import Pipeline


def run(  # noqa: PLR0913, PLR0917 - as many options as the command has
    deployment: Annotated[
        Path, typer.Argument(help="A deployment.yaml, or a plan that `plan --out` wrote.")
    ],
    pipeline: Annotated[
        str,
        typer.Option(
            help="The function to run on every record, as module:function; "
            "async def f(batch, models). The working directory is searched first."
        ),
    ],
    input: Annotated[Path, typer.Option(help="A folder of images, searched to any depth.")],
    output: Annotated[
        Path, typer.Option(help="A new or empty folder; becomes one Parquet data set.")
    ],
    address: Annotated[
        str | None,
        typer.Option(
            help="local: a Ray of its own; auto or host:port: join a cluster. "
            "By default RAY_ADDRESS, else local."
        ),
    ] = None,
    in_flight: Annotated[
        int, typer.Option(min=1, help="Records between input and output at once.")
    ] = IN_FLIGHT,
    part_size: Annotated[int, typer.Option(min=1, help="Records in one part file.")] = PART_SIZE,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the job that the output holds: do only what is missing."
        ),
    ] = False,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="Resume although input, models or pipeline are not what they were.",
        ),
    ] = False,
) -> None:
    """Run a batch job: every record of the input through the pipeline, once, on the cards.

    Records that cannot be read are named in the summary and in a rejects file; the rest is done.
    The first Ctrl-C finishes and saves what is in flight, the second stops at once; after that, or
    after a crash of anything, --resume does what is missing.
    """
    # The other verbs need neither Arrow nor Pillow.
    from orchestrator.report.job import facts_of, measure_shown, run_shown
    from orchestrator.runtime.io.images import ImageFolder
    from orchestrator.runtime.io.parquet import ParquetFolder

    wanted = load_wanted(deployment)
    function = load_pipeline(pipeline)
    source, sink = ImageFolder(input), ParquetFolder(output)
    console = Console(stderr=True)
    facts = facts_of(wanted, pipeline, function)
    job = Job.of(source.names, source.stamp, part_size, facts)
    with contextlib.closing(sink):
        sink.prepare(job, resume=resume, accept_changes=accept_changes)
        if sink.complete:
            console.print(f"nothing left to do: {job.total} records are done in {output}")
            return
        measure_shown(wanted, console)
        with Orchestrator(wanted, address=address, batch=True) as running:
            summary = run_shown(running, function, source, sink, console, in_flight)
    if summary.outcome is Outcome.INTERRUPTED:
        raise typer.Exit(1)


def load_wanted(path: Path) -> Deployment | DeploymentPlan:
    """Read a deployment file, or a plan in JSON that was made from one.

    Raises:
        OrchestratorError: it is neither.
    """
    if path.suffix == ".json":
        try:
            return DeploymentPlan.from_json(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise JobError(str(path), f"cannot be read: {error}") from error
    return load_deployment(path)


def load_pipeline(name: str) -> "Pipeline":
    """Import ``module:function``, with the working directory searched first.

    Raises:
        JobError: no such module or function, the module fails, or it is no ``async def``.
    """
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        raise JobError(name, "a pipeline is named as module:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a user's module: whatever it raises on import is to be told
        problem = f"module {module_name} cannot be imported: {type(error).__name__}: {error}"
        raise JobError(name, problem) from error
    function: object = getattr(module, function_name, None)
    if function is None:
        raise JobError(name, f"module {module_name} has no {function_name}")
    if not inspect.iscoroutinefunction(function):
        raise JobError(name, "a pipeline is an `async def f(batch, models)`")
    checked: Pipeline = function
    return checked
