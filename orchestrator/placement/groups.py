"""Models that must go together, as one thing to place."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from actors.memory import card_memory
from orchestrator.inventory import Card
from orchestrator.placement.problem import Model, PreviousCard, Problem


@dataclass(frozen=True)
class Group:
    """Models of one affinity group (mostly just one model) and the cards that may have them.

    From ``low`` to ``high`` replicas (None: unbounded), over ``spread`` nodes at least.
    """

    models: tuple[Model, ...]
    low: int
    high: int | None
    spread: int
    allowed: tuple[int, ...]

    @cached_property
    def name(self) -> str:
        """The members' names, for ties and messages."""
        return " + ".join(model.name for model in self.models)

    @cached_property
    def work(self) -> float:
        """Card-seconds a second of all members' demand at speed 1."""
        return sum(model.work for model in self.models)

    @cached_property
    def always(self) -> int:
        """Bytes that every card with the group pays at most, the shared workspace apart."""
        used = card_memory(model.footprint for model in self.models)
        return used.total - used.workspace

    @cached_property
    def least(self) -> int:
        """The same at least: a GE session that is there already may take no more for a member."""
        alone = [m.footprint for m in self.models if not m.footprint.session_bytes]
        return sum(footprint.own for footprint in alone)

    @property
    def in_session(self) -> bool:
        """Whether a member is of a measured GE session."""
        return any(model.footprint.session_bytes for model in self.models)

    @cached_property
    def workspace(self) -> int:
        """The largest workspace that the group brings to the shared one."""
        return max(
            model.footprint.workspace if model.footprint.shares else 0 for model in self.models
        )

    @cached_property
    def sized(self) -> int:
        """The largest workspace that the card's shared one cannot be smaller than, if it is used.

        More than ``workspace`` where a member widens it that has workspaces of its own.
        """
        return max(model.footprint.sized for model in self.models)


@dataclass(frozen=True)
class World:
    """A problem in canonical order, by name, so that the order of the input is moot."""

    problem: Problem
    cards: tuple[Card, ...]
    groups: tuple[Group, ...]
    enemies: dict[str, frozenset[str]]
    previous: dict[str, frozenset[str]]

    @cached_property
    def before(self) -> dict[str, PreviousCard]:
        """What each card held under the previous plan; those that it names, even with nothing."""
        return {old.card: old for old in self.problem.previous_plan}

    def as_before(self, card: str, names: Collection[str]) -> bool:
        """Whether a card with these models holds what it held, and nothing that has ended."""
        old = self.before.get(card, PreviousCard(card, ()))
        return frozenset(names) == frozenset(old.models) and not old.ended

    @cached_property
    def allowed(self) -> dict[str, tuple[int, ...]]:
        """The cards that each model may use."""
        return {model.name: group.allowed for group in self.groups for model in group.models}

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """All models by name."""
        return tuple(sorted(self.problem.models, key=lambda model: natural(model.name)))

    def room(self, card: Card) -> float:
        """Card-seconds a second that the card may be busy, at speed 1."""
        return card.speed * self.problem.max_utilisation


def world(problem: Problem) -> World:
    """Sort the problem and merge what must go together."""
    cards = tuple(sorted(problem.cards, key=lambda card: natural(card.name)))
    by_name = {model.name: model for model in problem.models}
    names = sorted(by_name, key=natural)
    everywhere = tuple(range(len(cards)))
    groups = tuple(
        _group(tuple(by_name[name] for name in members), cards, everywhere)
        for members in merge(names, problem.affinity)
    )
    enemies: dict[str, set[str]] = {name: set() for name in names}
    for apart in problem.anti_affinity:
        for name in apart:
            enemies[name] |= set(apart) - {name}
    return World(
        problem=problem,
        cards=cards,
        groups=groups,
        enemies={name: frozenset(others) for name, others in enemies.items()},
        previous={old.card: frozenset(old.models) for old in problem.previous_plan},
    )


def merge(names: Sequence[str], affinity: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """Names joined by any chain of affinity groups, each in the order of ``names``."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for group in affinity:
        for name in group[1:]:
            parent[root(name)] = root(group[0])
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(root(name), []).append(name)
    return [tuple(group) for group in members.values()]


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key that puts ``node/2`` before ``node/10``."""
    pieces = re.findall(r"\d{1,18}|\D+", name)
    ordered = tuple((int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces)
    return (*ordered, (-2, name))


def may_use(model: Model, card: Card) -> bool:
    """Whether kind, type and pins allow the card."""
    return (
        (model.allowed_kinds is None or card.kind in model.allowed_kinds)
        and (model.allowed_types is None or card.type in model.allowed_types)
        and (model.cards is None or card.name in model.cards)
    )


def _group(
    models: tuple[Model, ...], cards: tuple[Card, ...], everywhere: tuple[int, ...]
) -> Group:
    bound = any(m.allowed_kinds is not None or m.allowed_types is not None or m.cards is not None
                for m in models)  # fmt: skip
    highs = [model.max_replicas for model in models if model.max_replicas is not None]
    return Group(
        models=models,
        low=max(model.replicas_needed for model in models),
        high=min(highs) if highs else None,
        spread=max(model.spread_nodes for model in models),
        allowed=tuple(
            index
            for index, card in enumerate(cards)
            if all(may_use(model, card) for model in models)
        )
        if bound
        else everywhere,
    )
