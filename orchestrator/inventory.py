"""The cards there are, or that a plan supposes: ``Card`` and ``Inventory``."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from actors.messages import CardKind
from orchestrator.config.cards import Cards
from orchestrator.config.presets import CARD_TYPES
from orchestrator.errors import DeploymentError
from orchestrator.units import parse_bytes

#: What Ray has options of its own for, and refuses among other resources.
_GPU = "GPU"
_GROUP = re.compile(r"(?:(?P<node>[\w.-]+):)?(?P<count>\d+)\s*x\s*(?P<what>[\w.-]+)")
_SYNTAX = (
    "write COUNTxSIZE or COUNTxTYPE, such as 2x160MiB, 1x310P or node-a:2x64GiB,node-b:2x64GiB"
)

#: The node of every card when there is only one machine.
LOCAL_NODE = "local"
#: More cards than any cluster has; a larger number is a slip of the finger.
MOST_CARDS = 100_000


@dataclass(frozen=True)
class Card:
    """One slot. ``capacity_bytes`` is the free memory of the idle card; ``speed`` is relative.

    At most ``capacity_bytes - reserve_bytes`` are used, ``overhead_bytes`` of it by the process.
    """

    name: str
    node: str
    kind: CardKind
    capacity_bytes: int
    type: str | None = None
    overhead_bytes: int = 0
    reserve_bytes: int = 0
    streams: int | None = None
    speed: float = 1.0

    @property
    def usable_bytes(self) -> int:
        """What the card may hold, its overhead included."""
        return self.capacity_bytes - self.reserve_bytes


@dataclass(frozen=True)
class Inventory:
    """Cards with unique names, in the order that reports list them."""

    cards: tuple[Card, ...]

    def __iter__(self) -> Iterator[Card]:
        return iter(self.cards)

    def __len__(self) -> int:
        return len(self.cards)

    def reserving(self, nbytes: int) -> "Inventory":
        """The same cards with at least so many bytes of each left free."""
        return Inventory(
            tuple(replace(c, reserve_bytes=max(c.reserve_bytes, nbytes)) for c in self.cards)
        )

    def taking(self, overhead_bytes: int) -> "Inventory":
        """The same cards with a process that takes so many bytes before it has any model."""
        return Inventory(tuple(replace(c, overhead_bytes=overhead_bytes) for c in self.cards))

    @classmethod
    def parse(cls, text: str, section: Cards) -> "Inventory":
        """Read ``--cards``: groups of ``[NODE:]COUNTxSIZE`` or ``[NODE:]COUNTxTYPE``.

        What a group leaves open (kind, overhead, reserve, type) comes from ``section``.

        Raises:
            DeploymentError: unknown syntax, size or type, or no card at all.
        """
        made: list[Card] = []
        per_node: Counter[str] = Counter()
        for group in text.split(","):
            match = _GROUP.fullmatch(group.strip())
            if not match:
                raise _bad(text, f"cannot read {group.strip()!r}: {_SYNTAX}")
            count = int(match["count"])
            if not 1 <= count <= MOST_CARDS:
                raise _bad(text, f"between 1 and {MOST_CARDS:,} cards can be planned, got {count}")
            card = _supposed(match["what"], section, text)
            node = match["node"] or LOCAL_NODE
            made.extend(_slots(card, node, per_node[node], count))
            per_node[node] += count
        return cls(tuple(made))

    @classmethod
    def declared(cls, section: Cards) -> "Inventory":
        """The cards that the deployment itself names, all on one node.

        Raises:
            DeploymentError: neither a capacity nor a known type, or no count.
        """
        if section.count is None:
            raise _missing("count", "write count: 2, or use --cards 2x20GiB")
        if section.capacity is None and section.type is None:
            hint = "write capacity: 20GiB, a type such as 310P, or use --cards 2x20GiB"
            raise _missing("capacity", hint)
        card = _card(section.type, section.capacity, section)
        return cls(tuple(_slots(card, LOCAL_NODE, 0, section.count)))


def _slots(card: Card, node: str, first: int, count: int) -> Iterator[Card]:
    for index in range(first, first + count):
        yield replace(card, name=f"{node}/{index}", node=node)


def _supposed(what: str, section: Cards, source: str) -> Card:
    """A card as the command line names it: by size, or by type with the preset's size.

    The deployment's own capacity stands for its own type: it may be what an idle card reported.
    """
    if what not in CARD_TYPES:
        card = _card(section.type, _capacity(what, source), section)
    else:
        card = _card(what, section.capacity if what == section.type else None, section)
    taken = card.reserve_bytes + card.overhead_bytes
    if taken >= card.capacity_bytes:
        text = f"reserve and overhead take {taken:,} bytes: nothing of {what} is left for models"
        raise _bad(source, text)
    return card


def _card(card_type: str | None, capacity: int | None, section: Cards) -> Card:
    """A card without a name, from what is known of it, then from its type's preset."""
    preset = CARD_TYPES.get(card_type or "")
    if capacity is None:
        if preset is None:
            raise _missing("capacity", f"type {card_type!r} is not one of {', '.join(CARD_TYPES)}")
        capacity = preset.capacity_bytes
    overhead, streams = section.overhead, section.streams
    if preset is not None and section.kind == "ascend":
        overhead = preset.overhead_bytes if overhead is None else overhead
        streams = preset.streams if streams is None else streams
    return Card(
        name="",
        node="",
        kind=section.kind,
        type=card_type,
        capacity_bytes=capacity,
        overhead_bytes=overhead or 0,
        reserve_bytes=section.reserve,
        streams=streams,
        speed=preset.speed if preset else 1.0,
    )


def _capacity(what: str, source: str) -> int:
    try:
        capacity = parse_bytes(what)
    except ValueError:
        known = ", ".join(CARD_TYPES)
        raise _bad(source, f"{what!r} is neither a size nor a type ({known}): {_SYNTAX}") from None
    if capacity == 0:
        raise _bad(source, "a card of 0 bytes holds nothing")
    return capacity


def _bad(text: str, problem: str) -> DeploymentError:
    return DeploymentError(f"--cards {text}", (problem,))


def _missing(field: str, hint: str) -> DeploymentError:
    return DeploymentError("cards", (f"{field} is not known: {hint}",))


def ray_resources(amounts: Mapping[str, float]) -> dict[str, Any]:
    """Resources as keyword arguments of ``ray.init`` and ``ray.remote``."""
    others = {resource: amount for resource, amount in amounts.items() if resource != _GPU}
    gpus = {"num_gpus": amounts[_GPU]} if _GPU in amounts else {}
    return {"resources": others, **gpus}


def ray_start_options(resource: str, count: int) -> str:
    """The options with which ``ray start`` offers so many cards on a node."""
    if resource == _GPU:
        return f"--num-gpus={count}"
    return f"--resources='{{\"{resource}\": {count}}}'"
