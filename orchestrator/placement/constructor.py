"""Largest-workspace-first best fit, in a few variants of which the search keeps the best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.placement.board import EPSILON, Tally, empty_tally, enemies, joined, overfull
from orchestrator.placement.groups import Group, World, natural

Fit = Literal["tightest", "largest", "emptiest"]
Order = Literal["workspace", "size", "work", "choice"]


@dataclass(frozen=True)
class Variant:
    """One way to construct: which group comes next, and which of its cards is best.

    ``tightest`` prefers used cards and opens the smallest new one, ``largest`` opens the largest,
    ``emptiest`` spreads the load over all cards.
    """

    order: Order
    fit: Fit


VARIANTS: tuple[Variant, ...] = tuple(
    Variant(order, fit)
    for order in ("workspace", "choice", "size", "work")
    for fit in ("tightest", "largest", "emptiest")
)

_ORDERS: dict[Order, Callable[[Group], tuple[float, ...]]] = {
    "workspace": lambda group: (-group.workspace, -group.always, -group.work),
    "size": lambda group: (-(group.workspace + group.always), -group.work),
    "work": lambda group: (-group.work, -group.workspace, -group.always),
    "choice": lambda group: (len(group.allowed), -group.workspace, -group.always),
}


@dataclass
class Board:
    """All cards while a plan is made; ``busy`` is in card-seconds a second at speed 1."""

    world: World
    tallies: list[Tally] = field(default_factory=list)
    shares: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def empty(cls, world: World) -> "Board":
        """Every card with nothing on it."""
        count = len(world.cards)
        return cls(
            world,
            [empty_tally(card) for card in world.cards],
            [{} for _ in range(count)],
            [0.0] * count,
        )


@dataclass(frozen=True)
class Offer:
    """A card that could take a replica: ``fraction`` of the group's work fits beside the rest."""

    card: int
    after: Tally
    fraction: float


def construct(world: World, variant: Variant, scale: float) -> tuple[Tally, ...] | None:
    """Place every group with ``scale`` times its demand; None when some group finds no cards."""
    board = Board.empty(world)
    key = _ORDERS[variant.order]
    for group in sorted(world.groups, key=lambda group: (*key(group), natural(group.name))):
        if not _place(board, group, variant.fit, scale):
            return None
    return tuple(board.tallies)


def _place(board: Board, group: Group, fit: Fit, scale: float) -> bool:
    """Add replicas until the required count, the nodes and the demand are all served."""
    left, chosen = (1.0 if group.work * scale > EPSILON else 0.0), list[int]()
    while len(chosen) < group.low or left > EPSILON:
        if group.high is not None and len(chosen) >= group.high:
            return False
        want = left / max(1, group.low - len(chosen))
        offers = _offers(board, group, chosen, scale)
        if len(chosen) >= group.low:
            offers = [offer for offer in offers if offer.fraction > EPSILON]
        if not offers:
            return False
        full = [offer for offer in offers if offer.fraction >= want - EPSILON]
        best = (
            min(full, key=_preference(board, fit))
            if full
            else max(offers, key=lambda offer: (offer.fraction, -offer.card))
        )
        taken = min(want, best.fraction)
        _take(board, group, best, taken * scale)
        left -= taken
        chosen.append(best.card)
    return True


def _offers(board: Board, group: Group, chosen: Sequence[int], scale: float) -> list[Offer]:
    """The cards that memory and rules allow; only new nodes while the group must still spread."""
    cards = board.world.cards
    nodes = {cards[index].node for index in chosen}
    offers = []
    for index in group.allowed:
        if index in chosen or (len(nodes) < group.spread and cards[index].node in nodes):
            continue
        tally = board.tallies[index]
        if tally.sharing.total + group.always > cards[index].usable_bytes:
            continue
        if enemies(board.world, group, tally):
            continue
        after = joined(tally, group.models)
        if overfull(tally, after):
            continue
        busy = (
            board.seconds[index]
            if after.share == tally.share
            else _busy(after, board.shares[index])
        )
        work = sum(model.work / after.gain(model) for model in group.models) * scale
        room = board.world.room(cards[index]) - busy
        if room >= -EPSILON:
            offers.append(Offer(index, after, max(0.0, room) / work if work > EPSILON else 1.0))
    return offers


def _preference(board: Board, fit: Fit) -> Callable[[Offer], tuple[float, ...]]:
    """Smallest is best. Ties go to a card that had the group before, then to the first by name."""

    def key(offer: Offer) -> tuple[float, ...]:
        before, after = board.tallies[offer.card], offer.after
        card = before.card
        growth = after.memory.workspace - before.memory.workspace
        free = card.usable_bytes - after.memory.total
        had = board.world.previous.get(card.name, frozenset())
        moved = float(after.models[-1].name not in had)
        opens = float(not before.models)
        fill = board.seconds[offer.card] / board.world.room(card)
        if fit == "emptiest":
            return (fill, moved, growth, -free, offer.card)
        if fit == "largest" and opens:
            return (opens, growth, -free, moved, offer.card)
        return (opens, growth, free, -fill, moved, offer.card)

    return key


def _take(board: Board, group: Group, offer: Offer, fraction: float) -> None:
    board.tallies[offer.card] = offer.after
    shares = board.shares[offer.card]
    for model in group.models:
        shares[model.name] = model.work * fraction
    board.seconds[offer.card] = _busy(offer.after, shares)


def _busy(tally: Tally, shares: dict[str, float]) -> float:
    return sum(shares.get(model.name, 0.0) / tally.gain(model) for model in tally.models)
