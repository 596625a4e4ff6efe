"""What is simulated: cards, models and their times, requests, and what happens to cards."""

from collections.abc import Mapping
from dataclasses import dataclass

from actors.messages import ModelOrder
from actors.queue import Priority, Terms
from actors.shapes import gear_rows
from actors.terms import terms_of
from orchestrator.dispatch import Route, TransportRules
from orchestrator.placement import DeploymentPlan
from orchestrator.profiles import batch_times
from orchestrator.routes import batch_rows, planned_models, routes


@dataclass(frozen=True)
class BatchTimes:
    """How long a model's batches take at speed 1: (rows, seconds), fewest rows first.

    ``most`` rows are joined; ``threads`` batches may be on one card at once.
    """

    gears: tuple[tuple[int, float], ...]
    most: int = 1
    threads: int = 1

    def seconds(self, rows: int) -> float:
        """Of the smallest gear that holds them."""
        return next((seconds for held, seconds in self.gears if held >= rows), self.gears[-1][1])


@dataclass(frozen=True)
class World:
    """Cards with their speeds and how each serves its models, the models, and their replicas."""

    models: Mapping[str, BatchTimes]
    speeds: Mapping[str, float]
    terms: Mapping[str, Mapping[str, Terms]]
    routes: tuple[Route, ...]

    @classmethod
    def of(cls, plan: DeploymentPlan) -> "World":
        """The cards that a plan uses."""
        orders = {slot: plan.orders(slot) for slot in plan.slots}
        speeds = {card.name: card.speed for card in plan.problem.cards}
        return cls(
            models={order.name: _times(plan, order) for order in plan.deployment.orders()},
            speeds={slot: speeds[slot] for slot in plan.slots},
            terms={
                slot: {model.name: terms_of(order, model) for model in order.models}
                for slot, order in orders.items()
            },
            routes=tuple(routes(plan, planned_models(plan), TransportRules())),
        )


@dataclass(frozen=True)
class Source:
    """One driver's requests for a model: so many a second, at random, of so many rows each."""

    model: str
    rps: float
    rows: int = 1
    priority: Priority = "online"
    driver: int = 0


@dataclass(frozen=True)
class Slower:
    """From ``at`` seconds on a card has another speed."""

    at: float
    card: str
    speed: float


@dataclass(frozen=True)
class Death:
    """A card's process dies at ``at`` seconds; another serves after ``back`` more, or never."""

    at: float
    card: str
    back: float | None = None


def demand_of(plan: DeploymentPlan, times: float = 1.0) -> list[Source]:
    """The demand of a plan's models, so many times, in requests of one row."""
    wanted = ((model.name, model.demand_rps * times) for model in plan.problem.models)
    return [Source(name, rps) for name, rps in wanted if rps > 0]


def _times(plan: DeploymentPlan, order: ModelOrder) -> BatchTimes:
    """As known gear by gear, else as long for each row."""
    profile, measured = plan.profiles[order.name], plan.profiles[order.name].measurement
    spec, most = plan.deployment.model(order.name), batch_rows(plan, order)
    times = batch_times(spec, order, plan.deployment.cards, measured)
    if times:
        gears = tuple((time.rows, time.execute_ms / 1000) for time in times)
    else:
        held = {gear_rows(gear, order.batching) for gear in order.gears or ()} or {most}
        gears = tuple((rows, (profile.service_ms or 0.0) * rows / 1000) for rows in sorted(held))
    return BatchTimes(gears, most, order.threads)
