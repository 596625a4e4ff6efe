"""Make a MindIR for its cards with the library's Converter, in a process of its own.

``python -m actors.files.convert JOB ANSWER`` is that process; both are pickles. The library never
comes into the caller, and a conversion that crashes ends nothing else.
"""

import pickle
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from actors import diagnosis
from actors.errors import ConversionError, LibraryError, OrchestratorError
from actors.lite import LIBRARY_ERRORS, library_name, load_library
from actors.machine.child import ChildError, run_module
from actors.machine.leaving import leave

#: ``ascend:910b`` is the converter's own mode for that chip.
Target = Literal["ascend", "ascend:910b", "cpu"]


@dataclass(frozen=True)
class Conversion:
    """``source`` (.onnx or .mindir) becomes ``out`` (.mindir) by ``config`` (.ini)."""

    source: str
    out: str
    target: Target
    config: str | None = None


@dataclass(frozen=True)
class Converted:
    """The file that was written, which may be called otherwise, and what library did."""

    path: str
    library: str


def convert(job: Conversion, timeout_seconds: float = 7200.0) -> Converted:
    """Convert. Weights of more than a gigabyte come in files beside the model's, and it is renamed.

    Raises:
        LibraryError: mindspore_lite is not installed, or cannot be used here.
        ConversionError: the conversion failed, the process died, or it took too long.
    """
    with tempfile.TemporaryDirectory(prefix="ascend-convert-") as folder:
        told, answer = Path(folder, "job"), Path(folder, "answer")
        told.write_bytes(pickle.dumps(job))
        try:
            files = [str(told), str(answer)]
            run_module("actors.files.convert", files, timeout_seconds=timeout_seconds)
        except ChildError as error:
            raise ConversionError(job.source, f"the converting process {error}") from None
        if not answer.exists():
            raise ConversionError(job.source, "the converting process left no answer")
        found: tuple[str, str] | OrchestratorError = pickle.loads(answer.read_bytes())
    if isinstance(found, OrchestratorError):
        raise found
    return Converted(*found)


def main(job_path: str, answer_path: str) -> None:
    """The process: what was written or an error of ours goes into the answer."""
    job: Conversion = pickle.loads(Path(job_path).read_bytes())
    try:
        library = load_library("cpu" if job.target == "cpu" else "ascend")
        answer: tuple[str, str] | OrchestratorError = _convert(library, job)
    except LibraryError as error:
        answer = ConversionError(job.source, f"{error.problem}. {error.cure}")
    except OrchestratorError as error:
        answer = error
    Path(answer_path).write_bytes(pickle.dumps(answer))
    leave()


def _convert(library: ModuleType, job: Conversion) -> tuple[str, str]:
    """The Converter adds the suffix itself, and says no more than that something failed."""
    if not hasattr(library, "Converter"):
        raise ConversionError(job.source, f"{library_name(library)} has no Converter")
    log = diagnosis.native_log_position()
    stem = str(Path(job.out).with_suffix(""))
    try:
        converter = library.Converter()
        converter.save_type = library.ModelType.MINDIR
        if job.target != "cpu":
            converter.optimize = job.target.replace("ascend", "ascend_oriented")
        is_mindir = Path(job.source).suffix == ".mindir"
        made_by = library.FmkType.MINDIR if is_mindir else library.FmkType.ONNX
        options = {"config_file": job.config} if job.config else {}
        converter.convert(made_by, job.source, stem, **options)
    except LIBRARY_ERRORS as error:
        told = diagnosis.explain(error, diagnosis.native_log_since(log))
        raise ConversionError(job.source, told) from error
    # Split above a gigabyte into STEM_graph.mindir and STEM_variables/ (mindir_serializer.cc).
    for path in (f"{stem}.mindir", f"{stem}_graph.mindir"):
        if Path(path).is_file():
            return path, library_name(library)
    told = f"{library_name(library)} says that it succeeded and wrote no {stem}.mindir"
    raise ConversionError(job.source, told)


if __name__ == "__main__":
    main(*sys.argv[1:])
