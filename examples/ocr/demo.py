"""Read known pages with three models on two small cards: ``python -m examples.ocr.demo``.

Puts the models into place, draws pages whose text is known, plans, starts two emulated cards of
160 MiB, reads the pages, and says how fast and how well, and what the cards' memory holds. The
first run on a machine measures the models (kept in the cache for later runs).
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console

from examples.ocr.accuracy import Score, score_pages
from examples.ocr.models import place_models
from examples.ocr.pages import SCANS, TRUTH, render_pages
from examples.ocr.pipeline import read_pages
from orchestrator import Orchestrator, OrchestratorError, load_deployment
from orchestrator.report.job import measure_shown, run_shown
from orchestrator.report.memory import memory_table
from orchestrator.runtime.jobs.batch import PreparedJob
from orchestrator.runtime.jobs.jobspec import JobSpec

HERE = Path(__file__).parent
#: Ours alone, hence made anew each time.
OUT = HERE / "out"
#: Misread rows that are shown.
SHOWN = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; 0 if every page was read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pages", type=int, default=16, help="pages with known text")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=OUT, help="for pages and text; a new one")
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False)
    place_models()
    if options.folder == OUT:
        shutil.rmtree(OUT, ignore_errors=True)
    pages = render_pages(options.folder / "pages", options.pages, options.seed)
    console.print(
        f"{options.pages} pages with known text and {len(SCANS)} scans in {pages}\n"
        "Planning, starting two cards ..."
    )
    try:
        return _read(pages, options.folder / "text", console)
    except OrchestratorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _read(pages: Path, out: Path, console: Console) -> int:
    deployment = load_deployment(HERE / "deployment.yaml")
    job = PreparedJob(JobSpec(str(pages), str(out), pipeline=read_pages), deployment)
    measure_shown(deployment, console)
    with closing(job), Orchestrator(deployment, address="local", batch=True) as running:
        console.print(running.plan.explain(), markup=False)
        summary = run_shown(job, running, console)
        plan, status = running.plan, running.status()
    console.print(memory_table(plan, status))
    score = score_found(pages, out)
    console.print(
        f"{summary.records_per_second:.2f} pages/s; of {score.characters} characters on the pages "
        f"with known text {score.accuracy:.2%} were read right"
    )
    for page, truth, read in score.misread[:SHOWN]:
        console.print(f"  {page}: {truth!r} was read as {read!r}", markup=False)
    return 0 if summary.read == summary.total else 1


def score_found(pages: Path, out: Path) -> Score:
    """How well the data set in ``out`` reads the pages whose truth lies in ``pages``."""
    table = pq.read_table(out)
    found = {name: np.array(table[name].to_pylist()) for name in ("page", "box", "text")}
    return score_pages(json.loads((pages / TRUTH).read_text()), found)


if __name__ == "__main__":
    sys.exit(main())
