"""What a node keeps from one process to the next: small JSON files below one folder."""

import errno
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Names another folder than the user's cache.
VARIABLE = "ASCEND_ORCHESTRATOR_CACHE"
_DEFAULT = "~/.cache/ascend-orchestrator"


def kept_folder(name: str) -> Path:
    """The folder of what is kept under a name; it need not be there.

    Raises:
        OSError: none was named, and the user has no home.
    """
    root = os.environ.get(VARIABLE) or _DEFAULT
    try:
        return Path(root).expanduser() / name
    except RuntimeError:
        told = f"this user has no home folder: set {VARIABLE} to a folder"
        raise FileNotFoundError(errno.ENOENT, told, root) from None


def keep(file: Path, record: Mapping[str, Any]) -> None:
    """Write a record; readers see the old file or the new one, never half of it.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as draft:
        json.dump(record, draft, indent=1)
    Path(draft.name).replace(file)
