"""Cards as they fill up: what each holds, whether one more group may join it, and why not."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from actors.memory import CardMemory, card_memory
from orchestrator.inventory import Card
from orchestrator.placement.groups import Group, World
from orchestrator.placement.problem import Model
from orchestrator.units import format_bytes


@dataclass(frozen=True)
class Obstacle:
    """Why a group cannot join a card: ``kind`` for programs, ``text`` for people.

    ``missing_bytes`` is above 0 only where with so many more it would be none.
    """

    kind: str
    text: str
    missing_bytes: int = 0


@dataclass(frozen=True)
class Tally:
    """One card, its models, and what they take: under a shared workspace, and as the card will run.

    ``share``: a card runs with separate workspaces only if they fit and serve more or take less, or
    if sharing would break a member's max_delay. ``special``: some member has such a reason; to take
    less, one that widens the shared workspace though it has its own, or a session that counts it.
    """

    card: Card
    models: tuple[Model, ...]
    sharing: CardMemory
    memory: CardMemory
    share: bool
    special: bool

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
    return Tally(card, (), start, start, share=True, special=False)


def joined(tally: Tally, models: Iterable[Model]) -> Tally:
    """The card with more models; how it runs is decided anew."""
    card, sharing, special, held = tally.card, tally.sharing, tally.special, tally.models
    for model in models:
        sharing = sharing.plus(model.footprint)
        special = special or is_special(model)
        held = (*held, model)
    if special:
        lone = _lone(card, held)
        clash = sharing.total > card.usable_bytes or late(card, held) is not None
        dearer = lone.total < sharing.total and all(model.overlap >= 1 for model in held)
        if lone.total <= card.usable_bytes and (clash or dearer or _gains_apart(held)):
            return Tally(card, held, sharing, lone, share=False, special=True)
    return Tally(card, held, sharing, sharing, share=True, special=special)


def is_special(model: Model) -> bool:
    """Whether the model may be a reason for its card to keep workspaces separate."""
    used = model.footprint
    may_save = used.widens_workspace or (used.shares and used.session_bytes > 0)
    return model.max_delay_ms is not None or model.overlap != 1.0 or may_save


def tally_of(card: Card, models: Iterable[Model], *, share: bool) -> Tally:
    """A card with all of ``models``, in name order, that runs as ``share`` says."""
    tally = joined(empty_tally(card), sorted(models, key=lambda model: model.name))
    memory = tally.sharing if share else _lone(card, tally.models)
    return replace(tally, share=share, memory=memory)


def _lone(card: Card, models: Iterable[Model]) -> CardMemory:
    footprints = (model.footprint for model in models)
    return card_memory(footprints, card.overhead_bytes, share_workspace=False)


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
    if any(model.name == group.models[0].name for model in tally.models):
        return Obstacle("replica", "has a replica already")
    foes = enemies(world, group, tally)
    if foes:
        text = f"must stay apart from {', '.join(foes)}, which is there"
        return Obstacle("anti_affinity", text)
    return None


def enemies(world: World, group: Group, tally: Tally) -> list[str]:
    """Models on the card from which one of the group must stay apart."""
    apart_from = frozenset[str]().union(*(world.enemies[model.name] for model in group.models))
    return [model.name for model in tally.models if model.name in apart_from] if apart_from else []


def overfull(before: Tally, after: Tally) -> Obstacle | None:
    """What the card lacks for the models in ``after``: bytes, streams, or patience."""
    card, used = before.card, after.memory
    if card.streams is not None and used.streams > card.streams:  # no bytes make up for them
        return Obstacle("streams", f"needs {used.streams} streams, has {card.streams}")
    clash = late(card, after.models) if after.share and after.special else None
    if not clash and used.total <= card.usable_bytes:
        return None
    if used.total > card.usable_bytes:
        free = card.usable_bytes - _least(before)
        needs = _least(after) - _least(before)
        held = ", ".join(model.name for model in before.models)
        holds = f" (holds {held})" if held else ""
        return Obstacle(
            "memory",
            f"needs {format_bytes(needs)}, free {format_bytes(max(free, 0))} of "
            f"{format_bytes(card.usable_bytes)}{holds}: {needs - free:,} bytes too few",
            needs - free,
        )
    assert clash is not None, "all that is left"
    model, other = clash
    return Obstacle(
        "max_delay",
        f"{model.name} may wait {model.max_delay_ms:g} ms, a batch of {other.name} takes "
        f"{other.batch_time_ms / card.speed:g} ms, and separate workspaces do not fit",
        _least(after) - card.usable_bytes,
    )


def _least(tally: Tally) -> int:
    """The bytes that the card's models take at least, in a way in which they may run."""
    if not tally.special:
        return tally.sharing.total
    apart = _lone(tally.card, tally.models).total
    return apart if late(tally.card, tally.models) else min(apart, tally.sharing.total)


def _permission(model: Model, card: Card) -> Obstacle | None:
    if model.cards is not None and card.name not in model.cards:
        return Obstacle("pinned", f"{model.name} is pinned to {', '.join(model.cards)}")
    if model.allowed_kinds is not None and card.kind not in model.allowed_kinds:
        kinds = ", ".join(model.allowed_kinds)
        return Obstacle("kind", f"kind {card.kind}, and {model.name} is allowed on {kinds}")
    if model.allowed_types is not None and card.type not in model.allowed_types:
        types = ", ".join(model.allowed_types)
        return Obstacle(
            "type", f"type {card.type or 'not given'}, and {model.name} is allowed on {types}"
        )
    return None


def _gains_apart(models: Iterable[Model]) -> bool:
    gains = [model.overlap for model in models if model.work > 0]
    return bool(gains) and min(gains) >= 1 and max(gains) > 1
