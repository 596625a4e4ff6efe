"""``orchestrator run``: a batch job from files to a folder."""

import contextlib
import importlib
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from orchestrator.cli.files import load_wanted
from orchestrator.config import Deployment, names_a_file
from orchestrator.errors import ClusterError, JobError, NoSuchDeploymentError
from orchestrator.facade import Orchestrator
from orchestrator.jobs import IN_FLIGHT, RECORD_ID, Outcome
from orchestrator.placement import DeploymentPlan
from orchestrator.report.console import messages_console

if TYPE_CHECKING:
    from actors.queue import Priority
    from orchestrator.runtime.jobs.batch import PreparedJob
    from orchestrator.runtime.jobs.jobspec import JobSpec
    from orchestrator.runtime.jobs.work import Pipeline


_Deployment = Annotated[
    str | None,
    typer.Argument(
        help="A deployment.yaml, or a plan that `plan --out` wrote: its cards are started for "
        "the job. Or the name of a deployment that is up."
    ),
]
_Name = Annotated[
    str | None,
    typer.Option(
        help="Use the deployment of this name if it is up; else start the one of the file, if one "
        "is given."
    ),
]
_Input = Annotated[
    str,
    typer.Option(
        help="A file, or a folder searched to any depth, or the URL of one: images, Parquet, "
        "JSON lines, CSV or NumPy files."
    ),
]
_Output = Annotated[
    str, typer.Option(help="A new or empty folder, or its URL; becomes one data set.")
]
_Model = Annotated[
    str | None,
    typer.Option(help="The model to run on every record; its inputs are columns by name."),
]
_Pipeline = Annotated[
    str | None,
    typer.Option(
        help="Instead of a model: the function to run on every batch, as module:function; "
        "async def f(batch, models). The working directory is searched first."
    ),
]
_Column = Annotated[
    list[str] | None,
    typer.Option(
        metavar="INPUT=COLUMN", help="An input of the model and its column, as often as needed."
    ),
]
_Id = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="A column to write beside the model's outputs, as often as needed. "
        f"By default {RECORD_ID}: file and place.",
    ),
]
_InputFormat = Annotated[
    str | None,
    typer.Option(
        help="images, parquet, jsonl, csv, numpy or binary (a record for each file), where "
        "the files' endings do not say."
    ),
]
_OutputFormat = Annotated[str, typer.Option(help="parquet, jsonl or numpy (.npz).")]
_Address = Annotated[
    str | None,
    typer.Option(
        help="local: a Ray of its own; auto or host:port: join a cluster. "
        "By default RAY_ADDRESS, else local, and for a deployment that is up auto."
    ),
]
_BatchSize = Annotated[
    int | None,
    typer.Option(min=1, help="Records in one call. By default 1 file, or 64 rows or lines."),
]
_InFlight = Annotated[
    int, typer.Option(min=1, help="Batches between input and output at once, in each worker.")
]
_Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Processes of the cluster that read, run the pipeline and write; 0: this one. "
        "By default 2 for each card as far as CPUs are free, 1 on one small machine, and 0 in a "
        "Ray of its own there.",
    ),
]
_PartSize = Annotated[
    str | None,
    typer.Option(
        help="Records behind one part file, by default 8 files or 16384 rows; for JSON lines "
        "and CSV bytes, by default 4MiB. Row groups of Parquet are never cut."
    ),
]
_OnError = Annotated[
    str,
    typer.Option(
        help="skip sets a bad record aside and names it in a rejects file; fail stops the "
        "job at the first."
    ),
]
_MaxErrors = Annotated[
    str | None,
    typer.Option(
        help="Most records to set aside: a count such as 10, or a share such as 1%. "
        "By default any number."
    ),
]
_Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the job that the output holds: do only what is missing."
    ),
]
_AcceptChanges = Annotated[
    bool,
    typer.Option(
        "--accept-changes",
        help="Resume although input, models or pipeline are not what they were.",
    ),
]
_Priority = Annotated[
    str,
    typer.Option(
        help="batch leaves the cards to online calls of other drivers, but for a tenth; "
        "online shares them."
    ),
]


def run(  # noqa: PLR0913, PLR0917 - as many options as the command has
    input: _Input,
    output: _Output,
    deployment: _Deployment = None,
    name: _Name = None,
    model: _Model = None,
    pipeline: _Pipeline = None,
    column: _Column = None,
    id: _Id = None,
    input_format: _InputFormat = None,
    output_format: _OutputFormat = "parquet",
    address: _Address = None,
    batch_size: _BatchSize = None,
    in_flight: _InFlight = IN_FLIGHT,
    workers: _Workers = None,
    part_size: _PartSize = None,
    on_error: _OnError = "skip",
    max_errors: _MaxErrors = None,
    resume: _Resume = False,
    accept_changes: _AcceptChanges = False,
    priority: _Priority = "batch",
) -> None:
    """Run a batch job: every record of the input through a model or a pipeline, once, on the cards.

    Records that cannot be read are named in the summary and in a rejects file; the rest is done.
    The first Ctrl-C finishes and saves what is in flight, the second stops at once; after that, or
    after a crash of anything, --resume does what is missing.
    """
    # The other verbs need neither Arrow nor Pillow.
    from orchestrator.runtime.jobs.jobspec import JobSpec

    spec = JobSpec(
        input,
        output,
        pipeline=None if pipeline is None else load_pipeline(pipeline),
        model=model,
        columns=_pairs(column or []),
        ids=tuple(id or (RECORD_ID,)),
        input_format=input_format,
        output_format=output_format,
        part_size=part_size,
        batch_size=batch_size,
        in_flight=in_flight,
        workers=workers,
        on_error=on_error,
        max_errors=max_errors,
        resume=resume,
        accept_changes=accept_changes,
        priority=cast("Priority", priority),  # checked with the rest
    )
    spec.tolerance()  # before anything is connected to or read
    outcome = _run_somewhere(spec, deployment, name, address)
    if outcome is Outcome.INTERRUPTED:
        raise typer.Exit(1)


def _run_somewhere(
    spec: "JobSpec", deployment: str | None, name: str | None, address: str | None
) -> Outcome | None:
    """On the deployment of that name, or the one of that file.

    Raises:
        JobError: none is named, or two are.
    """
    file: Path | None = None
    if deployment is not None:
        if names_a_file(deployment) or Path(deployment).is_file():
            file = Path(deployment)
        elif name is not None:
            raise JobError(f"--name {name}", f"the deployment is called {deployment} already")
        else:
            name = deployment
    if file is None:
        if name is None:
            told = "none is named: give its file, or --name of one that is up"
            raise JobError("the deployment", told)
        return _run_on(Orchestrator.connect(name, address=address), spec)
    wanted = load_wanted(file)
    joined = None if name is None else _if_up(name, address)
    return _run(spec, wanted, address) if joined is None else _run_on(joined, spec)


def _if_up(name: str, address: str | None) -> Orchestrator | None:
    """The deployment of that name, if there is a cluster and it runs there; says why not."""
    try:
        return Orchestrator.connect(name, address=address)
    except (NoSuchDeploymentError, ClusterError) as error:
        typer.echo(f"this job starts the deployment of its file: {error}", err=True)
        return None


def _run(
    spec: "JobSpec", wanted: Deployment | DeploymentPlan, address: str | None
) -> Outcome | None:
    """Start the cards if there is anything for them to do."""
    from orchestrator.report.job import measure_shown, run_shown
    from orchestrator.runtime.jobs.batch import PreparedJob

    console = messages_console()
    with contextlib.closing(PreparedJob(spec, wanted)) as prepared:
        if _nothing_left(prepared, console):
            return None
        if prepared.sink.complete:  # all but the summary and the mark
            return run_shown(prepared, None, console).outcome
        measure_shown(wanted, console)
        prepared.require_suited({})  # of a model whose file does not tell it is known only now
        if isinstance(wanted, Deployment) and spec.model is not None:
            wanted = wanted.for_job(spec.model)
        with Orchestrator(wanted, address=address, batch=True) as running:
            return run_shown(prepared, running, console).outcome


def _run_on(joined: Orchestrator, spec: "JobSpec") -> Outcome | None:
    """Use the cards of a deployment that is up, and leave them as they are."""
    from orchestrator.elsewhere import ForJobs
    from orchestrator.report.job import run_shown

    console = messages_console()
    with joined as running, contextlib.closing(ForJobs(running).prepared(spec)) as prepared:
        if _nothing_left(prepared, console):
            return None
        return run_shown(prepared, running, console).outcome


def _nothing_left(prepared: "PreparedJob", console: Console) -> bool:
    if prepared.finished:
        text = f"nothing left to do: the job in {prepared.spec.output} is complete"
        console.print(text, soft_wrap=True)
    return prepared.finished


def _pairs(written: list[str]) -> dict[str, str]:
    """Read ``input=column``.

    Raises:
        JobError: no ``=``, or an input twice.
    """
    pairs: dict[str, str] = {}
    for text in written:
        name, equals, column = text.partition("=")
        if not (name and equals and column):
            raise JobError(f"--column {text}", "is written as INPUT=COLUMN")
        if name in pairs:
            raise JobError(f"--column {text}", f"input {name} has column {pairs[name]} already")
        pairs[name] = column
    return pairs


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
