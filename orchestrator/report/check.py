"""What ``check`` found: a line for each finding, or a table of the files that are right."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from actors.gears import format_shapes
from actors.machine.finding import Finding
from actors.shapes import Gear, TensorSpec
from orchestrator.check import ModelCheck


def check_lines(checks: Sequence[ModelCheck]) -> Iterator[str]:
    """One line for each thing to fix or to look at, and how many are to be fixed, if any."""
    total = 0
    for check in checks:
        for finding in check.findings:
            total += not finding.ok
            yield f"{check.name}: {'warning: ' if finding.warns else ''}{finding}"
    if total:
        wrong = sum(not check.ok for check in checks)
        yield f"{total} to fix in {wrong} of {len(checks)} models"


def check_table(checks: Sequence[ModelCheck]) -> Table:
    """Every model with its file, what it was made for, and its inputs."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "file", "made for"):
        table.add_column(name, no_wrap=True)
    table.add_column("gears", justify="right")
    table.add_column("inputs", overflow="fold")
    table.add_column("")
    for check in checks:
        if check.file is not None:
            table.add_row(
                *(check.name, check.path.name, check.file.made_for, str(check.gears)),
                *(told_inputs(check.file.inputs), "ok"),
            )
    return table


def told_inputs(inputs: Sequence[TensorSpec]) -> str:
    """``x:[1,3,48,320] float32, mask:[1,16] int32``."""
    return ", ".join(
        f"{format_shapes(Gear(((spec.name, spec.shape),)))} {spec.dtype}" for spec in inputs
    )


def check_document(name: str, checks: Sequence[ModelCheck]) -> Mapping[str, Any]:
    """The same for programs."""
    return {
        "deployment": name,
        "ok": all(check.ok for check in checks),
        "models": [_model(check) for check in checks],
    }


def finding_document(finding: Finding) -> Mapping[str, Any]:
    """One finding for programs."""
    keys = ("subject", "found", "wanted", "fix", "ok")
    return {key: getattr(finding, key) for key in keys}


def _model(check: ModelCheck) -> Mapping[str, Any]:
    file = check.file
    return {
        "name": check.name,
        "file": str(check.path),
        "gears": check.gears,
        "made_for": file.made_for if file else None,
        "inputs": [asdict(spec) for spec in file.inputs] if file else [],
        "findings": [finding_document(finding) for finding in check.findings],
    }
