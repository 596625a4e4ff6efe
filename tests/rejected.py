"""The records that a job set aside, as its output names them."""

import json
from pathlib import Path
from typing import Any


def rejected(out: Path) -> list[dict[str, Any]]:
    """The lines of all files of rejects, in the order of the parts."""
    files = sorted(out.glob("_rejects-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]
