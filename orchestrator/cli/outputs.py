"""Files that a command writes: seen to before its work, and written in one go."""

import tempfile
from pathlib import Path

from orchestrator.errors import DeploymentError


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
