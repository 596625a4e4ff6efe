"""The tutorial is done, in an empty folder: its files, its commands, and what they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.ocr.models import place_models

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
#: Of each sort of block, those of the page.
YAML, PYTHON, CONSOLE = (
    re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for kind in ("yaml", "python", "console")
)


def shape(text: str) -> list[str]:
    """Lines without what differs from machine to machine: numbers, bars, and the width of tables.

    Lines that tell of slow steps are no part of the page.
    """
    told = [
        line for line in text.splitlines() if not re.match(r"measuring |\d+ of \d+ .* after", line)
    ]
    plain = [re.sub(r"[█▓▒◦·]{8,}|\d[\d,.]*%?| [KMG]iB", "#", line) for line in told]
    return [re.sub(r"[\s#]+", " ", line).strip() for line in plain]


@pytest.mark.timeout(900, func_only=True)
def test_every_step_prints_what_the_page_says(tmp_path):
    place_models()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    folder = tmp_path / "first"
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    steps = [block.partition("\n") for block in CONSOLE]
    assert steps.pop(0)[0] == "$ mkdir first && cd first"
    folder.mkdir()
    (folder / "deployment.yaml").write_text(YAML[0], encoding="utf-8")
    (folder / "first.py").write_text(PYTHON[0], encoding="utf-8")
    for command, _, wanted in steps:
        run = subprocess.run(
            command.removeprefix("$ ").split(),
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=580,
            check=False,
        )
        printed, expected = shape(run.stdout + run.stderr), shape(wanted)
        if expected[-1] == "...":
            printed, expected = printed[: len(expected) - 1], expected[:-1]
        assert printed == expected, f"{command}\n{run.stdout}{run.stderr}"
    assert sorted(path.suffix for path in (folder / "turned").iterdir())[-1] == ".parquet"
