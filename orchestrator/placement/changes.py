"""The nearest changes that would make a refused problem fit, each proved by planning it."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from orchestrator.inventory import Card
from orchestrator.placement.groups import natural, world
from orchestrator.placement.problem import Model, Problem
from orchestrator.placement.search.bounds import min_cards_bound
from orchestrator.placement.search.run import CHECK_BUDGET
from orchestrator.placement.search.solve import search
from orchestrator.units import format_bytes

_MOST_NEW_CARDS = 64
#: Where more cards than this are lacking, it is not tried how many would do.
_MOST_LACKING = 400
_MIB = 1 << 20


def fits(problem: Problem) -> bool:
    """Whether the planner finds a plan. For max_alpha any placement with every model is one."""
    problem = problem.in_memory() if problem.objective == "max_alpha" else problem
    return search(problem, CHECK_BUDGET) is not None


@dataclass
class Trials:
    """Tries whether problems fit, until that has cost too much: each counts its replicas x cards.

    ``cut``: something was not tried any more. ``interrupted`` ends it too, once it is true.
    """

    left: int
    interrupted: Callable[[], bool] = lambda: False
    made: int = 0
    cut: bool = False

    def fits(self, problem: Problem) -> bool:
        """Whether a plan was found; not where that was not tried."""
        return self._may() and self._tried(problem)

    def misfits(self, problem: Problem) -> bool:
        """Whether no plan was found; not where that was not tried."""
        return self._may() and not self._tried(problem)

    def part(self, parts: int) -> "Trials":
        """One of so many parts of what is left; ``take_back`` ends it."""
        given = self.left // parts
        self.left -= given
        return Trials(given, self.interrupted)

    def take_back(self, part: "Trials") -> None:
        """What a part has left is everybody's again."""
        self.left += part.left
        self.made += part.made
        self.cut = self.cut or part.cut

    def _may(self) -> bool:
        self.cut = self.cut or self.left <= 0 or self.interrupted()
        return not self.cut

    def _tried(self, problem: Problem) -> bool:
        replicas = sum(max(1, model.replicas_needed) for model in problem.models)
        self.left -= replicas * len(problem.cards)
        self.made += 1
        return fits(problem)


def nearest_changes(trouble: Problem, whole: Problem, trials: Trials) -> tuple[str, ...]:
    """Changes to the models of ``trouble`` (which do not fit) after which the ``whole`` does.

    Each kind of change has its part of what may be tried, and what those before it left.
    """
    names = sorted((model.name for model in trouble.models), key=natural)
    kinds: tuple[Callable[[Problem, list[str], Trials], Iterator[str]], ...] = (
        _fewer_threads,
        _more_sharing,
        _fewer_replicas,
        _looser_rules,
        _longer_delay,
        _more_cards,
        _more_capacity,
        _less_demand,
    )
    found: list[str] = []
    for index, kind in enumerate(kinds):
        part = trials.part(len(kinds) - index)
        found += kind(whole, names, part)
        trials.take_back(part)
    return tuple(found)


def changed(problem: Problem, names: Iterable[str], **fields: object) -> Problem:
    """The problem with some fields of some models replaced."""
    some = set(names)
    return replace(
        problem,
        models=tuple(
            replace(model, **fields) if model.name in some else model  # type: ignore[arg-type]
            for model in problem.models
        ),
    )


def _models(problem: Problem, names: list[str]) -> list[Model]:
    by_name = {model.name: model for model in problem.models}
    return [by_name[name] for name in names]


def _fewer_threads(problem: Problem, names: list[str], trials: Trials) -> Iterator[str]:
    """The most threads that fit, of one model; if no one model is enough, one thread each."""
    many = [model for model in _models(problem, names) if model.threads > 1]
    found = False
    for model in many:
        most = _most(trials, problem, model.name, "threads", 1, model.threads - 1)
        if most is not None:
            found = True
            yield f"threads of {model.name} <= {most}"
    if (
        not found
        and len(many) > 1
        and trials.fits(changed(problem, [m.name for m in many], threads=1))
    ):
        yield f"threads 1 for {', '.join(model.name for model in many)}"


def _most(
    trials: Trials, problem: Problem, name: str, field: str, low: int, high: int
) -> int | None:
    """The largest value of a model's field, from ``low`` to ``high``, that fits; None if none."""

    def good(value: int) -> bool:
        return trials.fits(changed(problem, [name], **{field: value}))

    return _largest(low, high, good) if low <= high and good(low) else None


def _more_sharing(problem: Problem, names: list[str], trials: Trials) -> Iterator[str]:
    for field, word in (("share_workspace", "workspace"), ("share_weights", "weights")):
        own = [
            model.name
            for model in _models(problem, names)
            if not getattr(model, field)
            and not (field == "share_workspace" and model.dynamic)
            and not (field == "share_weights" and model.threads == 1)
        ]
        one = next(
            (name for name in own if trials.fits(changed(problem, [name], **{field: True}))), None
        )
        if one is not None:
            yield f"sharing {word} on for {one}"
        elif len(own) > 1 and trials.fits(changed(problem, own, **{field: True})):
            yield f"sharing {word} on for {', '.join(own)}"


def _fewer_replicas(problem: Problem, names: list[str], trials: Trials) -> Iterator[str]:
    for model in _models(problem, names):
        low = model.spread_nodes
        most = _most(trials, problem, model.name, "min_replicas", low, model.min_replicas - 1)
        if most is not None:
            yield f"replicas of {model.name} <= {most}"
        if model.max_replicas and trials.fits(changed(problem, [model.name], max_replicas=None)):
            yield f"no upper limit on the replicas of {model.name} ({model.max_replicas} now)"


def _looser_rules(problem: Problem, names: list[str], trials: Trials) -> Iterator[str]:
    """Without one pin, permission, spread or group."""
    for model in _models(problem, names):
        for field, text in (
            ("cards", f"{model.name} not pinned to {', '.join(model.cards or ())}"),
            ("allowed_kinds", f"{model.name} allowed on every kind"),
            ("allowed_types", f"{model.name} allowed on every type"),
        ):
            if getattr(model, field) and trials.fits(
                changed(problem, [model.name], **{field: None})
            ):
                yield text
        if model.spread_nodes > 1 and trials.fits(changed(problem, [model.name], spread_nodes=1)):
            yield f"{model.name} not spread over {model.spread_nodes} nodes"
    for field in ("affinity", "anti_affinity"):
        groups: tuple[tuple[str, ...], ...] = getattr(problem, field)
        for group in groups:
            rest = tuple(other for other in groups if other != group)
            if set(group) & set(names) and trials.fits(replace(problem, **{field: rest})):  # type: ignore[arg-type]
                yield f"no {field} of {', '.join(group)}"


def _longer_delay(problem: Problem, names: list[str], trials: Trials) -> Iterator[str]:
    for model in _models(problem, names):
        if model.max_delay_ms and trials.fits(changed(problem, [model.name], max_delay_ms=None)):
            yield f"no max_delay for {model.name} ({model.max_delay_ms:g} ms now)"


def _more_cards(problem: Problem, _names: list[str], trials: Trials) -> Iterator[str]:
    """More of the largest cards there are: on its node, else each on a node that is not there."""
    like = max(problem.cards, key=lambda card: (card.usable_bytes, card.speed, natural(card.name)))
    least = _lacking(problem, like)
    if least > _MOST_LACKING:
        trials.cut = True
        return

    def fewest(more: Callable[[Problem, Card, int], Iterator[Card]]) -> int | None:
        def good(count: int) -> bool:
            cards = (*problem.cards, *more(problem, like, count))
            return trials.fits(replace(problem, cards=cards))

        return smallest(least + _MOST_NEW_CARDS - 1, good, least)

    size = format_bytes(like.capacity_bytes)
    if (count := fewest(_beside)) is not None:
        yield f"1 more card of {size}" if count == 1 else f"{count} more cards of {size}"
    elif any(model.spread_nodes > 1 for model in problem.models) and (count := fewest(_apart)):
        if count == 1:
            yield f"1 more card of {size} on another node"
        else:
            yield f"{count} more cards of {size}, each on another node"


def _lacking(problem: Problem, like: Card) -> int:
    """How many more such cards there must be at least, by the bounds; 1 if these do not tell."""
    alike = all(replace(card, name=like.name, node=like.node) == like for card in problem.cards)
    if problem.objective != "min_cards" or not alike:
        return 1
    bound = min_cards_bound(world(problem), 0.0).value
    work = sum(model.work / max(1.0, model.overlap) for model in problem.models)
    busy = math.ceil(work / (like.speed * problem.max_utilisation) * (1 - 1e-9))
    return max(1, max(int(bound) if bound < math.inf else 1, busy) - len(problem.cards))


def _beside(problem: Problem, like: Card, count: int) -> Iterator[Card]:
    """So many cards like this one, on its node."""
    taken = {card.name for card in problem.cards}
    names = (f"{like.node}/{index}" for index in itertools.count())
    fresh = (name for name in names if name not in taken)
    return (replace(like, name=name) for name in itertools.islice(fresh, count))


def _apart(problem: Problem, like: Card, count: int) -> Iterator[Card]:
    """So many cards like this one, each on a node that is not there."""
    taken = {name for card in problem.cards for name in (card.name, card.node)}
    names = (f"new-{index}" for index in itertools.count())
    fresh = (name for name in names if not {name, f"{name}/0"} & taken)
    return (replace(like, node=n, name=f"{n}/0") for n in itertools.islice(fresh, count))


def _more_capacity(problem: Problem, _names: list[str], trials: Trials) -> Iterator[str]:
    """The smallest growth of every card, in whole MiB (or bytes, for cards smaller than that)."""
    capacity = max(card.capacity_bytes for card in problem.cards)
    step = _MIB if capacity >= _MIB else 1
    need = most_needed(problem)

    def grown(steps: int) -> Problem:
        cards = (
            replace(card, capacity_bytes=card.capacity_bytes + steps * step)
            for card in problem.cards
        )
        return replace(problem, cards=tuple(cards))

    steps = smallest(-(-need // step), lambda n: trials.fits(grown(n)))
    if steps is not None:
        now = {card.capacity_bytes for card in problem.cards}
        if len(now) == 1:
            larger = capacity + steps * step
            yield f"cards of {format_bytes(larger)} ({larger:,} bytes)"
        else:
            more = steps * step
            yield f"{format_bytes(more)} ({more:,} bytes) more on every card"


def most_needed(problem: Problem) -> int:
    """Bytes of a card that holds every model with nothing shared but weights."""
    need = sum(
        model.footprint.weight_total + model.threads * (model.workspace_bytes + model.io_bytes)
        + model.footprint.object_total
        for model in problem.models
    )  # fmt: skip
    return need + max(card.overhead_bytes + card.reserve_bytes for card in problem.cards)


def _less_demand(problem: Problem, names: list[str], trials: Trials) -> Iterator[str]:
    """The share of the demand that is served, in whole percent; a card may also be busier."""
    if not any(model.demand_rps for model in _models(problem, names)):
        return
    if problem.max_utilisation < 1 and trials.fits(replace(problem, max_utilisation=1.0)):
        yield f"max_utilisation 1 ({problem.max_utilisation:g} now)"

    def scaled(percent: int) -> Problem:
        models = (replace(m, demand_rps=m.demand_rps * percent / 100) for m in problem.models)
        return replace(problem, models=tuple(models))

    if problem.objective == "min_cards" and trials.fits(scaled(1)):
        yield f"at most {_largest(1, 99, lambda n: trials.fits(scaled(n)))} % of the demand"


def _largest(low: int, high: int, good: Callable[[int], bool]) -> int:
    """The largest number up to ``high`` that bisection finds good; ``low`` is known to be."""
    while low < high:
        middle = -(-(low + high) // 2)
        low, high = (middle, high) if good(middle) else (low, middle - 1)
    return low


def smallest(high: int, good: Callable[[int], bool], low: int = 1) -> int | None:
    """The smallest number from ``low`` on that doubling and bisection find good, up to ``high``.

    None if they find none.
    """
    if low > high:
        return None
    step, bad, reach = 1, low - 1, low
    while not good(reach):
        if reach >= high:
            return None
        bad, reach, step = reach, min(reach + step, high), 2 * step
    while reach - bad > 1:
        middle = (bad + reach) // 2
        bad, reach = (bad, middle) if good(middle) else (middle, reach)
    return reach
