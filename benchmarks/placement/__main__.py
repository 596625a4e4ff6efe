"""Plans against their bounds and against others' greedy placement, on problems made from seeds.

``python -m benchmarks.placement [--full | --cell zipf/tight/300/same ...] [--seeds 2]
[--seconds 30] [--json FILE] [--plot FILE] [--page FILE]``; with ``--from FILE ...`` the tables, the
plot and the page are made of what ``--json`` wrote, and nothing is planned.

A cell is MIX/GOAL/MODELS/CARDS: a mix of cv, llm, diffusion, zipf; ``memory`` or ``load`` (fewest
cards, without demand or with it), ``tight`` or ``loose`` (largest alpha); 12 to 10,000 models; and
cards ``same`` or ``mixed``. ``all`` stands for each choice of a part, and for the models for 12,
50, 300 and 1000. ``--full`` measures them all, and 10,000 models, with five seeds: hours.
Every plan is judged by a checker that shares no code with the planner, and made in a process of its
own. Seconds are those of one core.
"""

import argparse
import importlib
import itertools
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.placement.baselines import alpaserve, first_fit, muxserve, value_of
from benchmarks.placement.growth import growth_plot
from benchmarks.placement.instances import GOALS, MIXES, Cell, make
from benchmarks.placement.runs import Run, read, write
from benchmarks.placement.tables import (
    cell_table,
    growth_table,
    instance_table,
    page,
    target_table,
)
from orchestrator.errors import PlanRefusedError
from orchestrator.placement import Plan, Problem, solve
from tests.placement.checker import check

BASELINES = {"first fit": first_fit, "AlpaServe": alpaserve, "MuxServe": muxserve}
#: A few minutes of one core.
SOME = (
    "all/all/12/same",
    "all/load/50/same",
    "llm/memory/50/same",
    "all/loose/300/same",
    "diffusion/load/300/same",
    "zipf/load/300/same",
    "zipf/memory/1000/same",
)
FULL = (
    "all/all/all/all",
    "all/memory/10000/same",
    "all/load/10000/same",
    "all/loose/10000/same",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Plan and print tables; 1 if a plan breaks a rule or a baseline beats one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cell", action="append", help="MIX/GOAL/MODELS/CARDS, `all` for each")
    parser.add_argument("--full", action="store_true", help="every cell, five seeds: hours")
    parser.add_argument("--seeds", type=int, help="problems of each cell: 1, or 5 with --full")
    parser.add_argument("--seconds", type=float, default=30.0, help="most of a core for a plan")
    parser.add_argument("--budget", type=int, help="steps of one plan, instead of the default")
    parser.add_argument("--json", type=Path, help="write every run as JSON")
    parser.add_argument("--plot", type=Path, help="write how time and memory grow, as SVG")
    parser.add_argument(
        "--page", type=Path, help="write the tables as Markdown, with the plot beside"
    )
    parser.add_argument(
        "--from", dest="files", nargs="+", type=Path, help="show what --json wrote, plan nothing"
    )
    options = parser.parse_args(arguments)
    runs = read(options.files) if options.files else planned(options)
    console = Console(width=200)
    console.print(instance_table(runs), cell_table(runs), growth_table(runs), target_table(runs))
    plot = options.plot
    if options.page:
        plot = plot or options.page.with_name(f"{options.page.stem}-growth.svg")
        options.page.write_text(page(runs, options.page.name, plot.name), encoding="utf-8")
    if plot:
        plot.write_text(growth_plot(runs), encoding="utf-8")
    return int(any(one.broken or one.beaten for one in runs))


def planned(options: argparse.Namespace) -> list[Run]:
    """Plan what the options say; what is done so far is in the file of ``--json`` at any time."""
    texts = options.cell or (FULL if options.full else SOME)
    cells = list(dict.fromkeys(cell for text in texts for cell in expand(text)))
    seeds = options.seeds or (5 if options.full else 1)
    runs: list[Run] = []
    for cell, seed in itertools.product(cells, range(seeds)):
        runs.append(apart(cell, seed, options.seconds, options.budget))
        print(f"{runs[-1].cell} seed {seed}: {runs[-1].gap:.2%}", file=sys.stderr)
        if options.json:
            write(options.json, runs)
    return runs


def expand(text: str) -> Iterator[Cell]:
    """The cells that a text with ``all`` stands for."""
    parts = text.split("/")
    if len(parts) != 4:
        raise SystemExit(f"not MIX/GOAL/MODELS/CARDS: {text}")
    every = (tuple(MIXES), GOALS, ("12", "50", "300", "1000"), ("same", "mixed"))
    choices = [all_ if part == "all" else (part,) for part, all_ in zip(parts, every, strict=True)]
    for chosen in itertools.product(*choices):
        try:
            yield Cell.parse("/".join(chosen))
        except ValueError as error:
            raise SystemExit(str(error)) from None


def apart(cell: Cell, seed: int, seconds: float, budget: int | None) -> Run:
    """``run`` in a process of its own, whose size is then that of this plan."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(run, (cell, seed, seconds, budget))


def run(cell: Cell, seed: int, seconds: float, budget: int | None) -> Run:
    """Plan one problem, judge the plan, and plan it as the others would."""
    data = make(cell, seed)
    problem = Problem.from_dict(data)
    importlib.import_module("scipy.optimize")  # which the planner does when it first needs it
    start = time.process_time()
    steps = {} if budget is None else {"budget": budget}
    plan: Plan | None = None
    try:
        plan = solve(problem, **steps, interrupted=lambda: time.process_time() - start > seconds)
    except PlanRefusedError as error:
        broken: tuple[str, ...] = (error.reason,)
    took = time.process_time() - start
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = plan.to_dict() if plan else {}
    if plan:
        broken = tuple(check(data, found))
    return Run(
        cell=str(cell),
        seed=seed,
        models=len(problem.models),
        cards=len(problem.cards),
        value=found.get("value", float("nan")),
        bound=found.get("bound", float("nan")),
        gap=found.get("gap", float("inf")),
        bound_name=found.get("bound_name", ""),
        stop_reason=found.get("stop_reason", "refused"),
        seconds=took,
        peak_mib=size,
        baselines={name: value_of(data, greedy) for name, greedy in BASELINES.items()},
        broken=broken,
    )


if __name__ == "__main__":
    sys.exit(main())
