"""From what the cards of a deployment hold to what its new plan wants, card by card."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from actors.machine.hostmemory import HostMemory
from actors.messages import CardOrder
from orchestrator.placement.deployment import DeploymentPlan
from orchestrator.placement.diff import Pace, PlanDiff, Step, plan_diff
from orchestrator.placement.plan import CardPlan
from orchestrator.placement.problem import PreviousCard, Problem
from orchestrator.placement.search.moves import Change


def transition(
    held: Mapping[str, CardOrder], plan: DeploymentPlan, pace: Pace | None = None
) -> PlanDiff:
    """The steps, in order, with each model's outage; also of models that the new plan has not.

    A card is left alone when its process holds what the plan wants there, to the last option. One
    that holds only models which the deployment has no more comes before all that somebody misses.
    """
    wanted = {slot: plan.orders(slot) for slot in plan.slots}
    before = Change(
        tuple(
            PreviousCard(slot, tuple(model.name for model in order.models))
            for slot, order in held.items()
        )
    )
    altered = {slot for slot in held if slot in wanted and not same_work(held[slot], wanted[slot])}
    problem = before.of(_with_leaving(plan.problem, held))
    return plan_diff(problem, plan.plan, pace, altered)


def _with_leaving(problem: Problem, slots: Iterable[str]) -> Problem:
    """The problem with the cards that it has no more: they serve until they stop, no more."""
    there = {card.name for card in problem.cards}
    leaving = (
        replace(
            problem.cards[0],
            name=slot,
            node=slot.rpartition("/")[0],
            capacity_bytes=0,
            overhead_bytes=1,
        )
        for slot in slots
        if slot not in there
    )
    return replace(problem, cards=(*problem.cards, *leaving))


def same_work(one: CardOrder, other: CardOrder) -> bool:
    """Whether a process that was told the one need not be replaced to do the other.

    Bytes are what plans reckon with, versions are labels, and a process that runs keeps the shares
    that it was told. Files are what it runs.
    """
    return _work(one) == _work(other)


def order_of(step: Step, plan: DeploymentPlan) -> CardOrder:
    """What the card of a starting step is told to load, as a stand-in or as planned."""
    if not step.stone:
        return plan.orders(step.card)
    others = tuple(card for card in plan.plan.cards if card.card != step.card)
    cards = (*others, CardPlan(step.card, step.models))
    return replace(plan, plan=replace(plan.plan, cards=cards)).orders(step.card)


def _work(order: CardOrder) -> CardOrder:
    return replace(
        order,
        capacity_bytes=0,
        overhead_bytes=0,
        reserve_bytes=0,
        memory_wait_seconds=0.0,
        host=HostMemory(),
        models=tuple(
            sorted(
                (replace(m, footprint=None, share=1.0, version="") for m in order.models),
                key=lambda m: m.name,
            )
        ),
    )
