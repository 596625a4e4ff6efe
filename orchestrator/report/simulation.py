"""What a simulated load did, as tables: latencies by model, and cards beside what was planned."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.placement import DeploymentPlan
from orchestrator.placement.groups import natural
from orchestrator.placement.verify import tally_in
from orchestrator.report.plan import busy_share
from orchestrator.simulate import Outcome


def simulation_tables(plan: DeploymentPlan, outcome: Outcome, load: float) -> RenderableType:
    """Models that were asked, and cards that were used, of so many times the demand."""
    asked = "the demand" if load == 1 else f"{load:g} x the demand"
    told = f"simulated {outcome.seconds:g} s of {asked}, in requests of one row at random times"
    return Group(Text(told), _models(outcome), _cards(plan, outcome, load))


def _models(outcome: Outcome) -> Table:
    table = _table("model", "asked/s", "answered/s", "p50 ms", "p99 ms")
    for name, seen in sorted(outcome.models.items(), key=lambda item: natural(item[0])):
        table.add_row(
            name,
            f"{seen.arrived / outcome.seconds:.4g}",
            f"{seen.answered / outcome.seconds:.4g}",
            *(_ms(seen.latency(share)) for share in (0.5, 0.99)),
        )
    return table


def _cards(plan: DeploymentPlan, outcome: Outcome, load: float) -> Table:
    """``by the plan``: what this load takes of the card if it is split as planned."""
    table = _table("card", "busy", "by the plan")
    part = load / (plan.plan.alpha or 1.0)
    for slot, busy in sorted(outcome.busy.items(), key=lambda item: natural(item[0])):
        planned = busy_share(plan.plan.rps, tally_in(plan.problem, plan.plan, slot))
        table.add_row(slot, f"{busy:.0%}", f"{planned * part:.0%}")
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f}"
