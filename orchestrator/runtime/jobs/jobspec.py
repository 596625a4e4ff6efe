"""What a batch job is to do, as the command line and ``orc.run`` write it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path, PurePath, PurePosixPath
from urllib.parse import unquote

from actors.queue import PRIORITIES, Priority
from orchestrator.config.findings import did_you_mean
from orchestrator.errors import JobError
from orchestrator.jobs import IN_FLIGHT, RECORD_ID, OnError, Tolerance
from orchestrator.runtime.io.inputs import Input, is_dataset
from orchestrator.runtime.jobs.work import Pipeline


@dataclass(frozen=True)
class JobSpec:
    """What a job does: records of ``input`` through ``pipeline``, or one ``model``, to ``output``.

    ``columns`` gives the input's column for an input of the model that is named otherwise, before
    what the deployment says of that; ``ids`` the columns that stand beside the model's outputs.
    Formats and sizes that are None are inferred, or those that suit the input. ``workers``:
    processes of the cluster that do the work, 0 for this one, None for as many as suit the cluster;
    ``in_flight`` counts for each. ``on_error`` and ``max_errors``: see Tolerance; ``resume`` and
    ``accept_changes``: see OutputFolder. ``priority``: that of its calls.
    """

    input: Input
    output: str | Path
    pipeline: Pipeline | None = None
    model: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    ids: tuple[str, ...] = (RECORD_ID,)
    input_format: str | None = None
    id_column: str | None = None
    output_format: str = "parquet"
    part_size: int | str | None = None
    batch_size: int | None = None
    in_flight: int = IN_FLIGHT
    workers: int | None = None
    on_error: str = OnError.SKIP.value
    max_errors: int | str | None = None
    resume: bool = False
    accept_changes: bool = False
    priority: Priority = "batch"

    def tolerance(self) -> Tolerance:
        """What it does about bad records.

        Raises:
            JobError: an option of the job is none of those that there are.
        """
        if self.priority not in PRIORITIES:
            told = f"is none of {', '.join(PRIORITIES)}"
            near = did_you_mean(str(self.priority), PRIORITIES)
            raise JobError(f"priority {self.priority}", told + near)
        self._require_places()
        least = {"batch size": (self.batch_size, 1), "in flight": (self.in_flight, 1)}
        for name, (size, at_least) in {**least, "workers": (self.workers, 0)}.items():
            if size is not None and not (isinstance(size, Integral) and size >= at_least):
                told = f"expected a whole number, at least {at_least}"
                raise JobError(f"{name} {size}", told)
        try:
            return Tolerance.of(self.on_error, self.max_errors)
        except ValueError as error:
            raise JobError("bad records", str(error)) from error

    def _require_places(self) -> None:
        if not isinstance(self.output, str | Path):
            told = f"expected a folder or its URL, got a {type(self.output).__name__}"
            raise JobError(f"output {self.output!r}", told)
        if not isinstance(self.columns, Mapping):
            told = f"expected a column for each input, got a {type(self.columns).__name__}"
            raise JobError(f"columns {self.columns!r}", f"{told}: write {{'x': 'column'}}")
        if not (isinstance(self.input, str | Path) or is_dataset(self.input)):
            raise JobError(
                f"input {self.input!r:.60}",
                "expected a file, a folder, the URL of one, or a dataset of Ray Data, got a "
                f"{type(self.input).__name__}: ray.data.from_items makes one of a list",
            )


def input_name(spec: JobSpec) -> str:
    """The input as messages name it."""
    return str(spec.input) if isinstance(spec.input, str | Path) else "the dataset"


def refuse_resume(spec: JobSpec) -> None:
    """What a dataset holds is known again by its ids alone."""
    if spec.resume and spec.id_column is None and not isinstance(spec.input, str | Path):
        text = "a job over it cannot be resumed: nothing tells its rows apart; id_column names a "
        raise JobError("the dataset", text + "column that does, with a value of its own in each")


def keep_apart(spec: JobSpec) -> None:
    """An output below its input would become input of the next run."""
    if not isinstance(spec.input, str | Path):
        return
    (place, above), (other, below) = _located(spec.input), _located(spec.output)
    if place == other and (above == below or above in below.parents):
        raise JobError(
            str(spec.output), f"lies inside the input {spec.input}: name a folder elsewhere"
        )


def _located(where: str | Path) -> tuple[str, PurePath]:
    """The scheme of a URL, empty for this machine's files, and the path there."""
    scheme, mark, path = str(where).partition("://")
    if not mark:
        return "", Path(where).resolve()
    if scheme in {"file", "local"}:
        return "", Path(unquote(path)).resolve()
    return scheme, PurePosixPath(path.partition("?")[0].strip("/"))
