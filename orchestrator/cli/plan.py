"""``orchestrator plan``: what goes where and why, before anything starts. No Ray, no card."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from orchestrator.cli.files import read_input, require_writable, write_output
from orchestrator.config import Deployment, load_deployment
from orchestrator.errors import DeploymentError
from orchestrator.inventory import Inventory
from orchestrator.placement import (
    Change,
    DeploymentPlan,
    Plan,
    Problem,
    explain,
    plan_deployment,
    solve,
)
from orchestrator.placement.problem import Improver, PreviousCard, load_json
from orchestrator.profiles import ProfileCache, ProfileFile, collect
from orchestrator.report.console import messages_console, results_console
from orchestrator.report.plan import change_tables, plan_tables
from orchestrator.report.simulation import simulation_tables
from orchestrator.runtime.cluster.measure import measure_missing, proven, reserved
from orchestrator.simulate import World, demand_of, simulate

_File = Annotated[
    Path,
    typer.Argument(
        help="A deployment.yaml, a problem.json, or a plan that --out wrote, which is checked."
    ),
]
_Cards = Annotated[
    str | None,
    typer.Option(help="The cards to plan for, such as 2x160MiB, 4x310P or a:2x64GiB,b:2x64GiB."),
]
_ExplainIt = Annotated[
    bool, typer.Option("--explain", help="Say for every replica why it is where it is.")
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")]
_NoProbe = Annotated[
    bool,
    typer.Option(
        "--no-probe", help="Measure nothing: what is not known is estimated, and marked so."
    ),
]
_Out = Annotated[
    Path | None,
    typer.Option(help="Write deployment, profiles, problem and plan to a file, for `run`."),
]
_Batch = Annotated[
    bool,
    typer.Option("--batch", help="Plan for a batch job, which is to keep all cards fully busy."),
]
_Profiles = Annotated[
    Path | None, typer.Option(help="Measurements that `profile --out` wrote, to go first.")
]
_Previous = Annotated[
    Path | None,
    typer.Option(help="The plan that runs now (from --out or --json): change it cheaply."),
]
_Moves = Annotated[int | None, typer.Option(min=0, help="At most so many replicas go elsewhere.")]
_Seconds = Annotated[
    float | None, typer.Option(min=0, help="Take the best plan found after so long.")
]
_Budget = Annotated[
    int | None,
    typer.Option(min=1, help="Steps of the search; the same steps and seed give the same plan."),
]
_Seed = Annotated[int, typer.Option(min=0, help="Another seed makes the search draw other lots.")]
_Improver = Annotated[
    Improver | None,
    typer.Option(help="Give a small plan to this solver too; needs the extra cpsat."),
]

_Simulate = Annotated[
    float | None,
    typer.Option(
        "--simulate",
        min=0.001,
        help="Simulate the demand for so many seconds: latencies, and how busy cards are.",
    ),
]
_Load = Annotated[
    float | None,
    typer.Option(min=0.001, help="Simulate so many times the demand. By default 1."),
]
#: Requests of the longest simulation, which takes about a minute.
_MOST_REQUESTS = 1_000_000


def plan(  # noqa: PLR0913, PLR0917 - each is an option of the command
    file: _File,
    cards: _Cards = None,
    explain_it: _ExplainIt = False,
    as_json: _AsJson = False,
    no_probe: _NoProbe = False,
    out: _Out = None,
    batch: _Batch = False,
    profiles: _Profiles = None,
    previous: _Previous = None,
    moves: _Moves = None,
    seconds: _Seconds = None,
    budget: _Budget = None,
    seed: _Seed = 0,
    improver: _Improver = None,
    simulate_it: _Simulate = None,
    load: _Load = None,
) -> None:
    """Place the models on the cards and show the result; exit code 1 when they do not fit."""
    if moves is not None and previous is None and file.suffix.lower() != ".json":
        raise DeploymentError("--moves", ("needs the plan that runs now: give --previous",))
    if load is not None and simulate_it is None:
        raise DeploymentError(f"--load {load:g}", ("needs --simulate SECONDS",))
    _require_place(out)
    cache = ProfileFile(profiles) if profiles else ProfileCache()
    running = _previous(previous) if previous else None
    change = Change(running, moves, _deadline(seconds), improver, budget, seed)
    planner = partial(
        _plan_deployment, cards=cards, cache=cache, probe=not no_probe, batch=batch, change=change
    )
    measuring = {"--no-probe": no_probe, "--batch": batch, "--profiles": profiles is not None}
    searching = {
        "--moves": moves is not None,
        "--seconds": seconds is not None,
        "--budget": budget is not None,
        "--seed": seed != 0,
        "--improver": improver is not None,
    }
    given = (_given(measuring), _given(searching))
    with _stdout_kept():
        problem, found, bundle = _planned(file, cards, planner, change, given)
    _tell_left_out(previous, change, problem)
    if out is not None:
        _write(out, bundle, file)
    simulated = _simulated(bundle, file, simulate_it, load or 1.0) if simulate_it else None
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
    else:
        results_console().print(plan_tables(problem, found, verdict=not explain_it))
        if found.moves is not None:
            results_console().print(change_tables(problem, found))
    if explain_it:
        text = explain(problem, found, headed=as_json)
        typer.echo(text if as_json else f"\n{text}", err=as_json)
    if simulated is not None:
        console = messages_console(soft_wrap=True) if as_json else results_console()
        console.print(simulated)


def _require_place(out: Path | None) -> None:
    if out is not None:
        if out.suffix.lower() != ".json":
            raise DeploymentError(f"--out {out}", ("must end in .json, as plans do",))
        require_writable(out)


def _tell_left_out(previous: Path | None, change: Change, problem: Problem) -> None:
    """Say which cards and models of the previous plan are no more."""
    ended = {name for old in problem.previous_plan for name in old.ended}
    for what, names in (("cards", change.gone(problem)), ("models", sorted(ended))):
        if names and previous is not None:
            text = f"{previous}: left out, there are no such {what}: {', '.join(names)}"
            typer.echo(text, err=True)


def _given(options: Mapping[str, bool]) -> list[str]:
    return [name for name, given in options.items() if given]


@contextmanager
def _stdout_kept() -> Iterator[None]:
    """Meanwhile nothing is printed: stdout is for the plan alone.

    HiGHS 1.12 prints a line now and then, whatever it is told (ERGO-Code/HiGHS#2783).
    """
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _planned(
    file: Path,
    cards: str | None,
    planner: Callable[[Deployment], DeploymentPlan],
    change: Change,
    given: tuple[Sequence[str], Sequence[str]],
) -> tuple[Problem, Plan, DeploymentPlan | None]:
    """The problem, its plan, and all that a deployment's plan was made from.

    Raises:
        DeploymentError: among the options ``given``, for measuring and for the search, are some
            that nothing would heed.
    """
    if file.suffix.lower() != ".json":
        made = planner(load_deployment(file))
        return made.problem, made.plan, made
    text = read_input(file)
    data = load_json(text, str(file))
    if isinstance(data, dict) and "deployment" in data:
        made = DeploymentPlan.from_json(text, str(file))
        if cards is not None or change.previous is not None:
            made = planner(made.deployment)
        elif unused := [*given[0], *given[1]]:
            text = f"{file} is planned already: add --cards or --previous to plan it anew"
            raise DeploymentError(", ".join(unused), (text,))
        return made.problem, made.plan, made
    if isinstance(data, dict) and "plan" in data and "models" not in data:
        raise DeploymentError(str(file), ("is a plan: give its problem, and this as --previous",))
    if cards is not None:
        raise DeploymentError(f"--cards {cards}", (f"{file} is a problem and names its own cards",))
    if given[0]:
        text = f"{file} is a problem, and its sizes and times are final"
        raise DeploymentError(", ".join(given[0]), (text,))
    problem = change.of(Problem.from_dict(data, str(file)))
    if change.moves is not None and not problem.previous_plan:
        text = f"needs the plan that runs now: give --previous, or previous_plan in {file}"
        raise DeploymentError(f"--moves {change.moves}", (text,))
    found = solve(
        problem,
        budget=change.budget,
        seed=change.seed,
        moves=change.moves,
        interrupted=change.interrupted,
        improver=change.improver,
    )
    return problem, found, None


def _plan_deployment(
    deployment: Deployment,
    *,
    cards: str | None,
    cache: ProfileCache,
    probe: bool,
    batch: bool,
    change: Change,
) -> DeploymentPlan:
    deployment = proven(deployment, lambda line: typer.echo(line, err=True))
    section = deployment.cards
    inventory = Inventory.parse(cards, section) if cards else Inventory.declared(section)
    inventory = reserved(inventory, section, lambda line: typer.echo(line, err=True))
    if probe:
        measure_missing(deployment, cache, lambda line: typer.echo(line, err=True))
    profiles = collect(deployment, cache, estimate=not probe)
    return plan_deployment(deployment, profiles, inventory, batch=batch, change=change)


def _simulated(
    bundle: DeploymentPlan | None, file: Path, seconds: float, load: float
) -> RenderableType:
    if bundle is None:
        text = f"needs a deployment, and {file} is only a problem: it tells no gears and no waits"
        raise DeploymentError("--simulate", (text,))
    if bundle.problem.job:
        text = "a job's requests come as fast as they are answered: leave out --batch"
        raise DeploymentError("--simulate", (text,))
    sources = demand_of(bundle, load)
    if not sources:
        raise DeploymentError("--simulate", ("no model has demand: give it as `demand`",))
    requests = seconds * sum(source.rps for source in sources)
    if requests > _MOST_REQUESTS:
        text = f"has {requests:.3g} requests, more than {_MOST_REQUESTS:,}: fewer seconds, or less"
        raise DeploymentError(f"--simulate {seconds:g}", (f"{text} --load",))
    return simulation_tables(bundle, simulate(World.of(bundle), sources, seconds), load)


def _previous(file: Path) -> tuple[PreviousCard, ...]:
    """Who is where in a plan or a bundle."""
    data = load_json(read_input(file), str(file))
    if isinstance(data, dict) and "deployment" in data:
        data = data.get("plan")
    cards = Plan.from_dict(data, str(file)).cards
    twice = sorted({c.card for c in cards if sum(c.card == other.card for other in cards) > 1})
    if twice:
        raise DeploymentError(str(file), (f"names cards more than once: {', '.join(twice)}",))
    for card in cards:
        if len(set(card.models)) < len(card.models):
            raise DeploymentError(str(file), (f"has a model twice on {card.card}",))
    return tuple(PreviousCard(c.card, c.models, c.share_workspace) for c in cards)


def _deadline(seconds: float | None) -> Callable[[], bool]:
    if seconds is None:
        return lambda: False
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def _write(out: Path, bundle: DeploymentPlan | None, file: Path) -> None:
    if bundle is None:
        text = f"--out writes a deployment with its plan, and {file} is only a problem: use --json"
        raise DeploymentError(str(out), (text,))
    write_output(out, bundle.to_json())
