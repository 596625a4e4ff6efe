"""Cards as they fill up: what each holds, whether one more group may join it, and why not."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from actors.memory import CardMemory
from orchestrator.inventory import Card
from orchestrator.placement.groups import Group, World
from orchestrator.placement.problem import Model
from orchestrator.units import format_bytes

#: Shares of a card below this are nothing: they are what floating point leaves over.
EPSILON = 1e-9


@dataclass(frozen=True)
class Obstacle:
    """Why a group cannot join a card: ``kind`` for programs, ``text`` for people.

    ``missing_bytes`` is above 0 only where memory is what lacks.
    """

    kind: str
    text: str
    missing_bytes: int = 0


@dataclass(frozen=True)
class Tally:
    """One card and what its models take, with the workspace shared and with everyone's own.

    ``share`` is how the card will run: apart only if that fits and serves more, or if sharing would
    break a member's max_delay.
    """

    card: Card
    models: tuple[Model, ...] = ()
    sharing: CardMemory = field(default_factory=CardMemory)
    lone: CardMemory = field(default_factory=CardMemory)
    share: bool = True

    @property
    def memory(self) -> CardMemory:
        """The bytes under the way the card will run."""
        return self.sharing if self.share else self.lone

    @property
    def names(self) -> frozenset[str]:
        """Names of the models on the card."""
        return frozenset(model.name for model in self.models)

    def gain(self, model: Model) -> float:
        """How much more of this model's work the card does because it does not share."""
        return 1.0 if self.share else model.overlap

    def cost_ms(self, model: Model) -> float:
        """Milliseconds of this card that one item of the model takes."""
        return model.service_ms / self.card.speed / self.gain(model)


def empty_tally(card: Card) -> Tally:
    """A card with nothing but its overhead."""
    start = CardMemory(overhead=card.overhead_bytes)
    return Tally(card, sharing=start, lone=start)


def joined(tally: Tally, models: Iterable[Model]) -> Tally:
    """The card with more models; how it runs is decided anew."""
    sharing, lone, held = tally.sharing, tally.lone, [*tally.models]
    for model in models:
        sharing = sharing.plus(model.footprint)
        lone = lone.plus(model.lone_footprint)
        held.append(model)
    card = tally.card
    share = sharing.total <= card.usable_bytes and late(card, held) is None
    apart_better = lone.total <= card.usable_bytes and (not share or _gains_apart(held))
    return Tally(card, tuple(held), sharing, lone, not apart_better)


def tally_of(card: Card, models: Iterable[Model], *, share: bool | None = None) -> Tally:
    """A card with all of ``models`` in name order; ``share`` settles how it runs."""
    tally = joined(empty_tally(card), sorted(models, key=lambda model: model.name))
    return tally if share is None else replace(tally, share=share)


def late(card: Card, models: Iterable[Model]) -> tuple[Model, Model] | None:
    """A model and a member of its shared workspace whose batch takes longer than it can wait."""
    members = [model for model in models if model.footprint.shares]
    for model in members:
        if model.max_delay_ms is None:
            continue
        for other in members:
            if other is not model and other.batch_time_ms / card.speed > model.max_delay_ms:
                return model, other
    return None


def forbidden(world: World, group: Group, tally: Tally) -> Obstacle | None:
    """What rules the card out whatever its free memory: permission, a replica there, enemies."""
    for model in group.models:
        obstacle = _permission(model, tally.card)
        if obstacle:
            return obstacle
    names = tally.names
    if group.models[0].name in names:
        return Obstacle("replica", "has a replica already")
    for model in group.models:
        foes = sorted(world.enemies[model.name] & names)
        if foes:
            return Obstacle(
                "anti_affinity", f"must stay apart from {', '.join(foes)}, which is there"
            )
    return None


def overfull(before: Tally, after: Tally) -> Obstacle | None:
    """What the card lacks for the models in ``after``: bytes, streams, or patience."""
    card, used = before.card, after.memory
    if used.total > card.usable_bytes:
        free = card.usable_bytes - before.sharing.total
        needs = after.sharing.total - before.sharing.total
        held = ", ".join(model.name for model in before.models)
        holds = f" (holds {held})" if held else ""
        return Obstacle(
            "memory",
            f"needs {format_bytes(needs)}, free {format_bytes(max(free, 0))} of "
            f"{format_bytes(card.usable_bytes)}{holds}: {needs - free:,} bytes too few",
            needs - free,
        )
    if card.streams is not None and used.streams > card.streams:
        return Obstacle("streams", f"needs {used.streams} streams, has {card.streams}")
    clash = late(card, after.models) if after.share else None
    if clash:
        model, other = clash
        return Obstacle(
            "max_delay",
            f"{model.name} may wait {model.max_delay_ms:g} ms, a batch of {other.name} takes "
            f"{other.batch_time_ms / card.speed:g} ms, and separate workspaces do not fit",
        )
    return None


def _permission(model: Model, card: Card) -> Obstacle | None:
    if model.cards is not None and card.name not in model.cards:
        return Obstacle("pinned", f"{model.name} is pinned to {', '.join(model.cards)}")
    if model.allowed_kinds is not None and card.kind not in model.allowed_kinds:
        kinds = ", ".join(model.allowed_kinds)
        return Obstacle("kind", f"kind {card.kind}, and {model.name} is allowed on {kinds}")
    if model.allowed_types is not None and card.type not in model.allowed_types:
        types = ", ".join(model.allowed_types)
        return Obstacle("type", f"type {card.type}, and {model.name} is allowed on {types}")
    return None


def _gains_apart(models: Iterable[Model]) -> bool:
    gains = [model.overlap for model in models if model.work > 0]
    return bool(gains) and min(gains) >= 1 and max(gains) > 1
