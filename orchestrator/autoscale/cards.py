"""Which cards a deployment of so many should be on. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from orchestrator.config.cards import slot_parts


def choose_cards(
    ours: Sequence[str],
    free: Mapping[str, int],
    wanted: int,
    taken: Collection[str] = (),
) -> tuple[str, ...]:
    """So many slots, or as many as there are: ours as far as they are wanted, then free ones.

    ``free`` cards by node. Nodes on which we have the fewest cards are left first, so that they can
    be given back; of the free cards those beside ours are taken first. A new slot gets the lowest
    number that its node has left: one that is neither ours nor in ``taken``.
    """
    on = Counter(_node(slot) for slot in ours)
    kept = sorted(ours, key=lambda slot: (-on[_node(slot)], slot_parts(slot) or (slot, 0)))
    chosen = kept[:wanted]
    used = {*ours, *taken}
    for node in sorted(free, key=lambda node: (-on[node], -free[node], node)):
        numbers = (f"{node}/{number}" for number in range(len(used) + free[node] + 1))
        room = max(min(free[node], wanted - len(chosen)), 0)
        chosen += [slot for slot in numbers if slot not in used][:room]
    return tuple(chosen)


def _node(slot: str) -> str:
    return slot.rpartition("/")[0]
