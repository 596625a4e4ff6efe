"""Files that commands read, and those that they write: seen to before their work."""

import tempfile
from pathlib import Path

from orchestrator.config import Deployment, load_deployment
from orchestrator.config.yaml_file import YamlError, read_text
from orchestrator.errors import DeploymentError
from orchestrator.placement import DeploymentPlan


def read_input(file: Path) -> str:
    """The text of a file in UTF-8.

    Raises:
        DeploymentError: it is missing, a folder, not readable or not UTF-8.
    """
    try:
        return read_text(file)
    except YamlError as error:
        raise DeploymentError(str(file), (str(error),)) from error


def load_wanted(file: Path) -> Deployment | DeploymentPlan:
    """Read a deployment file, or a plan in JSON that was made from one.

    Raises:
        OrchestratorError: it is neither.
    """
    if file.suffix.lower() == ".json":
        return DeploymentPlan.from_json(read_input(file), str(file))
    return load_deployment(file)


def require_writable(out: Path) -> None:
    """Try, before minutes of work, whether a file can be written there.

    Raises:
        DeploymentError: there is no such folder, or it takes no files.
    """
    if not out.parent.is_dir():
        raise DeploymentError(str(out), (f"there is no folder {out.parent}",))
    if out.is_dir():
        raise DeploymentError(str(out), ("is a folder: name a file in it",))
    try:
        with out.open("r+b") if out.exists() else tempfile.TemporaryFile(dir=out.parent):
            return
    except OSError as error:
        raise _error(out, error) from error


def write_output(out: Path, text: str) -> None:
    """Write a command's file.

    Raises:
        DeploymentError: it cannot be written.
    """
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _error(out, error) from error


def _error(out: Path, error: OSError) -> DeploymentError:
    return DeploymentError(str(out), (f"cannot be written: {error.strerror}",))
