"""A problem as columns of whole numbers, for searches that look at all cards at once."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.placement.board import is_special, late
from orchestrator.placement.groups import Group, World

Numbers = npt.NDArray[Any]
#: Work that fills the fastest card. Whole units: sums never drift, and equal plans compare equal.
FULL = 1 << 30
#: Units that rounding may add to a card's work.
SLACK = 64
#: More work than any number of cards does.
_MOST_UNITS = FULL << 16
_NONE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Lists:
    """Columns of a sheet as lists: one number is read from a list many times as fast."""

    always: list[int]
    level: list[int]
    own: list[int]
    work: list[int]
    room: list[int]
    speed: list[int]


@dataclass(frozen=True)
class Sheet:
    """Groups and cards of a world, by position.

    Of groups: bytes ``always`` paid, ``level`` brought to a shared workspace (as if somebody used
    it on every card, where anybody does at all), ``own`` workspaces where nothing is shared;
    ``work`` in units, ``apart`` the work on a card that shares nothing; ``patience`` (the shortest
    max_delay) and ``batch`` (the longest, at speed 1) in ms; ``allowed`` cards, and cards on which
    members keep each other waiting (``torn``), None for all and none; ``homes``, the cards of the
    previous plan; ``widened``: on some cards less than ``always`` and ``level`` is taken: no shared
    workspace, or groups of one GE session. Of cards: bytes of ``room`` for models, ``speed`` in
    units, ``rate`` as given, ``node``. ``scale``: the work is that of so many times the demand, and
    ``unit`` units of it are a card-second.
    """

    world: World
    scale: float
    unit: float
    always: Numbers
    level: Numbers
    own: Numbers
    streams: Numbers
    work: Numbers
    apart: Numbers
    patience: Numbers
    batch: Numbers
    room: Numbers
    speed: Numbers
    card_streams: Numbers
    node: Numbers
    rate: Numbers
    low: tuple[int, ...]
    high: tuple[int, ...]
    spread: tuple[int, ...]
    allowed: tuple[Numbers | None, ...]
    torn: tuple[Numbers | None, ...]
    foes: tuple[tuple[int, ...], ...]
    homes: tuple[frozenset[int], ...]
    special: bool
    plain: bool
    widened: bool

    @cached_property
    def members(self) -> tuple[int, ...]:
        """Models of each group: as many replicas move where it does."""
        return tuple(len(group.models) for group in self.world.groups)

    @cached_property
    def lists(self) -> Lists:
        """What single numbers are read from."""
        columns = (self.always, self.level, self.own, self.work, self.room, self.speed)
        return Lists(*(column.tolist() for column in columns))

    @cached_property
    def fastest(self) -> int:
        """The most units that a card does."""
        return max(self.lists.speed)

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self.low)

    @property
    def cards(self) -> int:
        """How many cards there are."""
        return len(self.room)


def sheet(world: World, scale: float = 1.0) -> Sheet:
    """Write down a world's numbers at ``scale`` times its demand.

    At a demand that about fills the cards, whole units of work are fine enough for all of it.
    """
    groups, cards = world.groups, world.cards
    rooms = [world.room(card) for card in cards]
    unit = FULL / max(rooms)
    nodes = {node: index for index, node in enumerate(sorted({card.node for card in cards}))}
    foes = _foes(world)
    low = tuple(max(group.low, int(group.work > 0)) for group in groups)
    special = any(map(is_special, world.models))
    allowed = _masks(world)
    in_use = any(group.workspace for group in groups)
    loads = [_units(group.work, scale * unit) for group in groups]
    return Sheet(
        world=world,
        scale=scale,
        unit=unit,
        always=_column(group.always for group in groups),
        level=_column(group.sized if in_use else 0 for group in groups),
        own=_column(_own(group) for group in groups),
        streams=_column(sum(m.streams * m.threads for m in group.models) for group in groups),
        work=_column(loads),
        apart=_column(
            _units(sum(m.work / m.overlap for m in group.models), scale * unit) for group in groups
        ),
        patience=np.array([_patience(group) for group in groups]),
        batch=np.array([_batch(group) for group in groups]),
        room=_column(card.usable_bytes - card.overhead_bytes for card in cards),
        speed=_column(round(room * unit) + SLACK for room in rooms),
        card_streams=_column(_NONE if c.streams is None else c.streams for c in cards),
        node=_column(nodes[card.node] for card in cards),
        rate=np.array([card.speed for card in cards]),
        low=low,
        high=tuple(
            len(group.allowed) if group.high is None else min(group.high, len(group.allowed))
            for group in groups
        ),
        spread=tuple(min(group.spread, group.low) for group in groups),
        allowed=allowed,
        torn=tuple(_torn(group, world) for group in groups),
        foes=foes,
        homes=tuple(_homes(group, world) for group in groups),
        special=special,
        plain=not special
        and not any(foes)
        and all(mask is None for mask in allowed)
        and not _counts_streams(world)
        and all(group.spread <= 1 for group in groups),
        widened=(in_use and any(group.sized > group.workspace for group in groups))
        or sum(group.in_session for group in groups) > 1,
    )


def _counts_streams(world: World) -> bool:
    """Whether streams could ever run out: a model takes some and a card has a number of them."""
    taken = any(model.streams for model in world.models)
    return taken and any(card.streams is not None for card in world.cards)


def _column(values: Any) -> Numbers:  # noqa: ANN401 - anything that yields whole numbers
    return np.array(list(values), dtype=np.int64)


def _units(work: float, unit: float) -> int:
    """Work in units: one at least where there is any, and no more than sums of it can hold."""
    return min(max(round(work * unit), 1), _MOST_UNITS) if work > 0 else 0


def _own(group: Group) -> int:
    """Workspaces of the members that share, if they did not."""
    shared = (model.footprint for model in group.models if model.footprint.shares)
    return sum(used.workspace * used.threads for used in shared)


def _patience(group: Group) -> float:
    waits = (m.max_delay_ms for m in group.models if m.footprint.shares)
    return min((wait for wait in waits if wait is not None), default=math.inf)


def _batch(group: Group) -> float:
    return max((m.batch_time_ms for m in group.models if m.footprint.shares), default=0.0)


def _torn(group: Group, world: World) -> Numbers | None:
    """The cards on which the group's own members cannot share a workspace."""
    if len(group.models) == 1 or _patience(group) == math.inf:
        return None
    return np.array([late(card, group.models) is not None for card in world.cards])


def _homes(group: Group, world: World) -> frozenset[int]:
    """The cards that had the whole group under the previous plan."""
    names = {model.name for model in group.models}
    return (
        frozenset(
            index
            for index, card in enumerate(world.cards)
            if names <= world.previous.get(card.name, frozenset())
        )
        if world.previous
        else frozenset()
    )


def _foes(world: World) -> tuple[tuple[int, ...], ...]:
    """The groups from which each group must stay apart."""
    of = {model.name: index for index, group in enumerate(world.groups) for model in group.models}
    return tuple(
        tuple(sorted({of[foe] for model in group.models for foe in world.enemies[model.name]}))
        for group in world.groups
    )


def _masks(world: World) -> tuple[Numbers | None, ...]:
    """Which cards each group may use; None for all. Equal choices are one array."""
    made: dict[tuple[int, ...], Numbers] = {}
    found: list[Numbers | None] = []
    for group in world.groups:
        if len(group.allowed) == len(world.cards):
            found.append(None)
            continue
        if group.allowed not in made:
            made[group.allowed] = np.zeros(len(world.cards), dtype=bool)
            made[group.allowed][list(group.allowed)] = True
        found.append(made[group.allowed])
    return tuple(found)
