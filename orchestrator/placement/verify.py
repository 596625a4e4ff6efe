"""Whether a plan keeps every rule of its problem: for plans that come from files."""

from collections import Counter
from collections.abc import Iterable, Iterator

from orchestrator.placement.board import Tally, late, tally_of
from orchestrator.placement.groups import World, may_use, world
from orchestrator.placement.plan import Plan
from orchestrator.placement.problem import Problem
from orchestrator.units import format_bytes

_TOLERANCE = 1e-6


def verify(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """One line for each rule that the plan breaks; none for a valid plan."""
    unknown = tuple(_unknown(problem, plan))
    if unknown:
        return unknown
    scene = world(problem)
    return (
        *_cards(scene, plan),
        *_models(scene, plan),
        *_groups(scene, plan),
        *_loads(scene, plan),
    )


def tally_in(problem: Problem, plan: Plan, slot: str) -> Tally:
    """A card as the plan fills it, sharing as the plan says.

    Raises:
        KeyError: no such card.
    """
    card = {card.name: card for card in problem.cards}[slot]
    held = plan.by_card.get(slot)
    models = [model for model in problem.models if held and model.name in held.models]
    return tally_of(card, models, share=held.share_workspace if held else True)


def _unknown(problem: Problem, plan: Plan) -> Iterator[str]:
    """Names that the problem does not have, and things that are said twice."""
    models = {model.name for model in problem.models}
    cards = {card.name for card in problem.cards}
    yield from _twice("card {0}: appears {1} times", [card.card for card in plan.cards])
    for card in plan.cards:
        if card.card not in cards:
            yield f"card {card.card}: not in the problem"
        yield from _twice(f"card {card.card}: holds {{0}} {{1}} times", card.models)
        for name in card.models:
            if name not in models:
                yield f"card {card.card}: model {name} is not in the problem"
    placed = {(name, card.card) for card in plan.cards for name in card.models}
    pairs = [f"{load.model} on {load.card}" for load in plan.loads]
    yield from _twice("load of {0}: given {1} times", pairs)
    for load in plan.loads:
        if (load.model, load.card) not in placed:
            yield f"load of {load.model} on {load.card}: there is no such replica"


def _twice(text: str, names: Iterable[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield text.format(name, count)


def _cards(scene: World, plan: Plan) -> Iterator[str]:
    for held in plan.cards:
        tally = tally_in(scene.problem, plan, held.card)
        card, used = tally.card, tally.memory
        if used.total > card.usable_bytes:
            short = used.total - card.usable_bytes
            yield (
                f"card {card.name}: needs {format_bytes(used.total)} and has "
                f"{format_bytes(card.usable_bytes)}: {short:,} bytes too few"
            )
        if card.streams is not None and used.streams > card.streams:
            yield f"card {card.name}: needs {used.streams} streams and has {card.streams}"
        clash = late(card, tally.models) if tally.share else None
        if clash:
            yield f"card {card.name}: {clash[0].name} may not wait for a batch of {clash[1].name}"
        for model in tally.models:
            if not may_use(model, card):
                yield f"card {card.name}: {model.name} is not allowed there"


def _models(scene: World, plan: Plan) -> Iterator[str]:
    nodes = {card.name: card.node for card in scene.cards}
    for model in scene.models:
        slots = plan.replicas(model.name)
        most = model.max_replicas
        if len(slots) < model.min_replicas or (most is not None and len(slots) > most):
            wanted = f"at least {model.min_replicas}" + (f", at most {most}" if most else "")
            yield f"model {model.name}: {len(slots)} replicas, wanted {wanted}"
        spread = len({nodes[slot] for slot in slots})
        if model.spread_nodes > 1 and spread < model.spread_nodes:
            yield f"model {model.name}: on {spread} nodes, wanted {model.spread_nodes}"


def _groups(scene: World, plan: Plan) -> Iterator[str]:
    for group in scene.problem.affinity:
        if len({plan.replicas(name) for name in group}) > 1:
            yield f"affinity: {', '.join(group)} are not on the same cards"
    for group in scene.problem.anti_affinity:
        for held in plan.cards:
            both = sorted(set(group) & set(held.models))
            if len(both) > 1:
                yield f"anti_affinity: {' and '.join(both)} are both on {held.card}"


def _loads(scene: World, plan: Plan) -> Iterator[str]:
    for held in plan.cards:
        tally = tally_in(scene.problem, plan, held.card)
        busy = sum(
            plan.rps.get((model.name, held.card), 0.0) * tally.cost_ms(model) / 1000
            for model in tally.models
        )
        if busy > scene.problem.max_utilisation * (1 + _TOLERANCE):
            limit = scene.problem.max_utilisation
            yield f"card {held.card}: busy {busy:.4f} of its time, at most {limit:g}"
    served = [
        sum(plan.rps.get((model.name, slot), 0.0) for slot in plan.replicas(model.name))
        / model.demand_rps
        for model in scene.models
        if model.demand_rps > 0
    ]
    alpha = min(served, default=None)
    few = scene.problem.objective == "min_cards"
    if few and alpha is not None and alpha < 1 - _TOLERANCE:
        yield f"the loads serve {alpha:.4f} of the demand"
