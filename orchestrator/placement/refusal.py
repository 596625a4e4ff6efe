"""The door to the planner: a plan, or a refusal with its numbers and the changes that would fit."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

from actors.memory import CardMemory
from orchestrator.errors import PlanRefusedError
from orchestrator.inventory import Card
from orchestrator.placement.board import empty_tally, forbidden, joined, overfull
from orchestrator.placement.changes import (
    Trials,
    fits,
    most_needed,
    nearest_changes,
    smallest,
)
from orchestrator.placement.groups import Group, World, natural, world
from orchestrator.placement.plan import Plan
from orchestrator.placement.problem import Improver, Model, Problem
from orchestrator.placement.search.bounds import min_cards_bound
from orchestrator.placement.search.cpsat import require
from orchestrator.placement.search.run import CHECK_BUDGET
from orchestrator.placement.search.sheet import sheet
from orchestrator.placement.search.solve import search
from orchestrator.units import format_bytes

#: Replicas times cards that may be tried to leave models out of a set, and to find changes: ten
#: seconds or so. The set that is named may be larger than it need be where that is not enough.
_MOST_NARROWED, _MOST_CHANGED = 100_000, 1_000_000
#: Cards whose obstacle, and models whose bytes, are written out.
_CARDS_SHOWN, _MODELS_SHOWN = 4, 8
_NOT_NARROWED = "more of these models could be left out: not all of that was tried"
_NOT_CHANGED = "not every change was tried that might let it fit"


def solve(
    problem: Problem,
    *,
    budget: int | None = None,
    seed: int = 0,
    interrupted: Callable[[], bool] = lambda: False,
    moves: int | None = None,
    improver: Improver | None = None,
) -> Plan:
    """Place every model. Equal input gives an equal plan, in whatever order it is given.

    ``budget`` counts steps, None: by the size of the problem; another ``seed`` draws other lots.
    ``interrupted`` is asked between steps: once it is true, the best plan so far is returned, which
    equal input may not repeat.
    ``moves``: at most so many replicas where the previous plan did not have them. ``improver``: a
    solver that the plan is given to at last; it is not interrupted.

    Raises:
        PlanRefusedError: nothing fits; with the numbers and the nearest changes that would.
        DeploymentError: the problem contradicts itself, or the improver cannot take it.
    """
    problem.require_sound(problem.name or "problem")
    if improver is not None:
        require(sheet(world(problem)))
    plan = search(problem, budget, seed, interrupted, moves, improver)
    if plan is None and moves is not None and problem.previous_plan:
        other = search(problem, budget, seed, interrupted)
        if other is None:
            raise refusal(problem, interrupted)
        raise _too_few_moves(moves, other, lambda n: search(problem, budget, seed, moves=n))
    if plan is None:
        raise refusal(problem, interrupted)
    return plan


def _too_few_moves(
    moves: int, other: Plan, within: Callable[[int], Plan | None]
) -> PlanRefusedError:
    """What is wrong when the limit on moves is; ``within`` searches with another limit."""
    limits = sorted({*(point.moves for point in other.curve), other.moves or 0})
    enough = next((n for n in limits if n > moves and within(n) is not None), None)
    return PlanRefusedError(
        f"no plan was found that moves at most {moves} replicas",
        (),
        ("no limit on moves" if enough is None else f"moves {enough}",),
    )


def refusal(problem: Problem, interrupted: Callable[[], bool] = lambda: False) -> PlanRefusedError:
    """Why nothing fits: one model that fits nowhere, or the smallest set that does not together.

    What is tried for it is limited, and once it is ``interrupted`` nothing more is; it says so.
    """
    scene = world(problem)
    narrowing = Trials(_MOST_NARROWED, interrupted)
    changing = Trials(_MOST_CHANGED, interrupted)
    trouble = next(_alone(scene, narrowing), None)
    if trouble is not None:
        reason, details = _one_group(scene, world(trouble).groups[0])
    else:
        trouble = _smallest_misfit(problem, narrowing)
        reason, details = _together(world(trouble))
    changes = nearest_changes(trouble, problem, changing)
    cut = [
        text
        for trials, text in ((narrowing, _NOT_NARROWED), (changing, _NOT_CHANGED))
        if trials.cut
    ]
    return PlanRefusedError(reason, (*details, *cut), changes)


def _alone(scene: World, trials: Trials) -> Iterator[Problem]:
    """The groups, as problems, that do not even fit when each has all the cards."""
    for group in scene.groups:
        if not _fits_alone(scene, group):
            alone = only(scene.problem, [model.name for model in group.models])
            if trials.misfits(alone):
                yield alone


def _fits_alone(scene: World, group: Group) -> bool:
    """Whether the group has room if it has all cards, as far as that is seen at a glance."""
    work, held, nodes = group.work, 0, set[str]()
    few = scene.problem.objective == "min_cards"
    for index in group.allowed:
        card = scene.cards[index]
        tally = empty_tally(card)
        if forbidden(scene, group, tally) or overfull(tally, joined(tally, group.models)):
            continue
        held, work = held + 1, work - scene.room(card)
        nodes.add(card.node)
        if held >= group.low and len(nodes) >= group.spread and (work <= 0 or not few):
            return group.high is None or held <= group.high
    return False


def only(problem: Problem, names: Iterable[str]) -> Problem:
    """The same problem with some of its models."""
    kept = set(names)
    return replace(
        problem,
        models=tuple(model for model in problem.models if model.name in kept),
        affinity=_within(problem.affinity, kept),
        anti_affinity=_within(problem.anti_affinity, kept),
        previous_plan=(),
    )


def _within(groups: Sequence[tuple[str, ...]], kept: set[str]) -> tuple[tuple[str, ...], ...]:
    cut = (tuple(name for name in group if name in kept) for group in groups)
    return tuple(group for group in cut if len(group) > 1)


def _smallest_misfit(problem: Problem, trials: Trials) -> Problem:
    """A set that does not fit and of which no model can be left out: leave out all that can be.

    Affinity groups are left out whole. Large sets are first halved, to need fewer searches.
    """
    groups = [[model.name for model in group.models] for group in world(problem).groups]
    groups.sort(key=lambda names: natural(names[0]))
    size = len(groups)
    while size > 1 and not trials.cut:
        size = -(-size // 2)
        position = 0
        while position < len(groups) and not trials.cut:
            rest = groups[:position] + groups[position + size :]
            if rest and trials.misfits(only(problem, chain(*rest))):
                groups = rest
            else:
                position += size
    return only(problem, chain(*groups))


def _one_group(scene: World, group: Group) -> tuple[str, tuple[str, ...]]:
    """A group that does not even fit when it has all the cards."""
    low = f"{group.low} replicas of " if group.low > 1 else ""
    able, reasons = [], []
    for index, card in enumerate(scene.cards):
        tally = empty_tally(card)
        obstacle = forbidden(scene, group, tally) or overfull(tally, joined(tally, group.models))
        if obstacle is None and index in group.allowed:
            able.append(card)
        elif obstacle is not None:
            reasons.append((card, obstacle.text, obstacle.missing_bytes))
    details = [f"{card.name}: {text}" for card, text, _ in reasons[:_CARDS_SHOWN]]
    if len(reasons) > _CARDS_SHOWN:
        details.append(f"and {len(reasons) - _CARDS_SHOWN} more cards")
    if not able:
        short = min((missing for _, _, missing in reasons if missing), default=0)
        size = f" by {short:,} bytes ({format_bytes(short)})" if short else ""
        return f"{group.name} fits on no card{size}", (*_parts(scene, group.models), *details)
    if len(able) < group.low:
        return f"{low}{group.name} need as many cards, and {_count(able)} can hold it", tuple(
            details
        )
    nodes = len({card.node for card in able})
    if nodes < group.spread:
        text = f"{group.name} must be on {group.spread} nodes, and its cards are on {nodes}"
        return text, tuple(details)
    return _too_much_work(scene, group, able), tuple(details)


def _too_much_work(scene: World, group: Group, able: Sequence[Card]) -> str:
    rooms = sorted((scene.room(card) for card in able), reverse=True)[: group.high]
    limit = f" and {group.high} may" if group.high else ""
    return (
        f"the demand of {group.name} takes {group.work:.3g} card-seconds a second (at speed 1): "
        f"{_count(able)} can hold it{limit}, with room for {sum(rooms):.3g}"
    )


def _together(scene: World) -> tuple[str, tuple[str, ...]]:
    """A set that does not fit although each of its groups would alone."""
    names = " + ".join(group.name for group in scene.groups[:_MODELS_SHOWN])
    if len(scene.groups) > _MODELS_SHOWN:
        names += f" and {len(scene.groups) - _MODELS_SHOWN} more"
    cards = _count(scene.cards)
    details, still = list(_parts(scene, scene.models)), scene.problem.in_memory()
    if fits(still):
        work = sum(group.work for group in scene.groups)
        room = sum(scene.room(card) for card in scene.cards)
        served = search(replace(scene.problem, objective="max_alpha"), CHECK_BUDGET)
        details.append(
            f"their demand takes {work:.3g} card-seconds a second, the cards have {room:.3g}"
        )
        if served is not None and served.alpha:
            details.append(f"the best plan found serves {served.alpha:.3g} of the demand")
        return f"{names}: fit in memory, but the demand is too much for {cards}", tuple(details)
    allowed = sorted(set(chain(*(group.allowed for group in scene.groups))))
    usable = [scene.cards[index] for index in allowed]
    details += [
        f"{card.name}: {format_bytes(card.usable_bytes - card.overhead_bytes)} for models"
        + f", {card.streams} streams" * _counts_streams(scene)
        for card in usable[:_CARDS_SHOWN]
    ]
    bound = min_cards_bound(world(still))
    where = cards if len(usable) == len(scene.cards) else f"the {_count(usable)} that they may use"
    if bound.value > len(usable):
        details.append(f"at least {bound.value:.0f} such cards are needed ({bound.name})")
        short = _missing_each(still, len(usable))
        if short is not None:
            details.append(f"at least {short:,} bytes ({format_bytes(short)}) too few on each card")
        return f"{names}: do not fit together on {where}", tuple(details)
    return f"{names}: no way was found to fit them together on {where}", tuple(details)


def _missing_each(problem: Problem, count: int) -> int | None:
    """Bytes that each card must have more before the bounds allow a plan; None: no size will do."""

    def possible(nbytes: int) -> bool:
        cards = (replace(c, capacity_bytes=c.capacity_bytes + nbytes) for c in problem.cards)
        return min_cards_bound(world(replace(problem, cards=tuple(cards)))).value <= count

    return smallest(most_needed(problem), possible)


def _counts_streams(scene: World) -> bool:
    """Whether streams may be what is too few: then memory does not tell all."""
    taken = any(model.streams for model in scene.models)
    return taken and all(card.streams is not None for card in scene.cards)


def _parts(scene: World, models: Sequence[Model]) -> Iterator[str]:
    """Each model's bytes by part, the largest consumer first."""
    counted = _counts_streams(scene)
    sized = [(CardMemory().plus(model.footprint), model) for model in models]
    sized.sort(key=lambda item: (-item[0].total, natural(item[1].name)))
    for used, model in sized[:_MODELS_SHOWN]:
        replicas = f", {model.replicas_needed} replicas" if model.replicas_needed > 1 else ""
        threads = f", {model.threads} threads" if model.threads > 1 else ""
        streams = f", {used.streams} streams" * counted
        yield (
            f"{model.name}: {format_bytes(used.total)} a card ({used.parts()})"
            f"{threads}{streams}{replicas}"
        )
    if len(sized) > _MODELS_SHOWN:
        yield f"and {len(sized) - _MODELS_SHOWN} more models, none of which is larger"


def _count(cards: Sequence[Card]) -> str:
    return "1 card" if len(cards) == 1 else f"{len(cards)} cards"
