"""The pages' Python blocks run, in order, as one script for each page."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.ocr.models import place_models

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"  # has a test of its own
PAGES = [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script(page: Path) -> str:
    return "\n".join(BLOCK.findall(page.read_text(encoding="utf-8")))


def scripts() -> dict[str, Path]:
    """Every different script with its first page: the READMEs differ in their comments only."""
    found: dict[str, Path] = {}
    for page in PAGES:
        if page != TUTORIAL and script(page):
            found.setdefault(ast.unparse(ast.parse(script(page))), page)
    return found


@pytest.fixture(scope="module")
def models() -> None:
    """The pages use the models that the demo puts into place, and measures."""
    place_models()
    plan = [sys.executable, "-m", "orchestrator", "plan", "examples/ocr/deployment.yaml"]
    subprocess.run(plan, cwd=ROOT, capture_output=True, timeout=580, check=True)


@pytest.mark.parametrize("page", scripts().values(), ids=lambda page: page.name)
@pytest.mark.timeout(600, func_only=True)
@pytest.mark.usefixtures("models")
def test_blocks_run(page, tmp_path):
    file = tmp_path / "page.py"
    file.write_text(script(page), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_links_lead_somewhere():
    missing = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("start", ["mkdocs.yml", "docs/index.md", "README.md"])
def test_every_page_is_reached_from(start):
    text = (ROOT / start).read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {name for name in pages if name not in text} == set()


def test_both_readmes_show_the_same_commands_and_what_they_print():
    def shown(readme: str) -> list[str]:
        text = (ROOT / readme).read_text(encoding="utf-8")
        blocks = re.findall(r"^```(?:console|diff)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        lines = (line for block in blocks for line in block.splitlines())
        return [re.sub(r"\s+#.*", "", line) for line in lines if " passed, " not in line]

    assert shown("README.zh.md") == shown("README.md")
