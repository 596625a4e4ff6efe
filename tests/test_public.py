"""The public names of the driver side."""

import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
from orchestrator import DeploymentError, ModelHandle, Orchestrator


def test_names_are_sorted_and_there() -> None:
    plain = [name for name in orchestrator.__all__ if not name.isupper()]
    classes = [name for name in plain if name[0].isupper()]
    assert orchestrator.__all__ == [*sorted(classes), *sorted(set(plain) - set(classes))]
    assert all(hasattr(orchestrator, name) for name in orchestrator.__all__)


def test_a_shell_completes_names_that_nobody_asked_for_yet() -> None:
    code = "import orchestrator as o; assert set(o.__all__) <= set(dir(o))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("file", ["deployment.yaml", "ocr/deployment", Path("deployment")])
def test_a_file_is_no_deployment(file: str | Path) -> None:
    with pytest.raises(DeploymentError, match=f"{file}: is a file.*: load_deployment reads it"):
        Orchestrator(file)  # type: ignore[arg-type]


def test_objects_say_what_they_are() -> None:
    orc = Orchestrator("ocr")
    assert repr(orc) == "<Orchestrator of ocr>"
    assert repr(ModelHandle(orc, "det")) == "<ModelHandle det, online, of <Orchestrator of ocr>>"


def test_planning_needs_no_ray() -> None:
    code = "import sys, orchestrator; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
