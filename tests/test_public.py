"""The public names of the driver side."""

import subprocess
import sys

import orchestrator


def test_names_are_sorted_and_there() -> None:
    plain = [name for name in orchestrator.__all__ if not name.isupper()]
    classes = [name for name in plain if name[0].isupper()]
    assert orchestrator.__all__ == [*sorted(classes), *sorted(set(plain) - set(classes))]
    assert all(hasattr(orchestrator, name) for name in orchestrator.__all__)


def test_planning_needs_no_ray() -> None:
    code = "import sys, orchestrator; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
