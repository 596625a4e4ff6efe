"""Which cards the cluster has, as slots; and which node serves which node of a plan."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import ray
from ray._private.state import available_resources_per_node
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.machine.npusmi import SmiCard, SmiError, read_cards
from orchestrator.config import Cards
from orchestrator.errors import CardsUnavailableError, DeploymentError
from orchestrator.inventory import LOCAL_NODE, Inventory, ray_start_options

_RELEASE_SECONDS = 5.0
_RELEASE_TICK = 0.05
#: Ray's own resource of the head node: what dies with it takes the whole cluster along anyway.
_HEAD = "node:__internal_head__"


@dataclass(frozen=True)
class Node:
    """A node with free cards. ``name`` is what slots are called after, ``id`` is Ray's."""

    name: str
    id: str
    cards: int


def find_nodes(resource: str, wanted: int = 1) -> tuple[Node, ...]:
    """The nodes that have free cards, sorted by name.

    The only one is called ``local``; several are called by host name, numbered where that repeats.
    Ray gives the cards of work that has just ended back a moment later: while fewer than ``wanted``
    are free of a cluster that has as many, this waits for a moment too.
    """
    total = ray.cluster_resources().get(resource, 0)  # type: ignore[no-untyped-call]
    deadline = time.monotonic() + (_RELEASE_SECONDS if total >= wanted else 0.0)
    while True:
        nodes = _free_now(resource)
        if sum(node.cards for node in nodes) >= wanted or time.monotonic() >= deadline:
            return nodes
        time.sleep(_RELEASE_TICK)


def _free_now(resource: str) -> tuple[Node, ...]:
    return named(list(free_cards(resource)))


def free_cards(resource: str, kept: Sequence[str] = ()) -> tuple[Node, ...]:
    """The nodes that have free cards now, under their host names.

    ``kept``: the node of each card that is in use, but kept for us.
    """
    # Ray tells free amounts per node only here; the public call sums them up.
    free = available_resources_per_node()  # type: ignore[no-untyped-call]
    found = []
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        count = min(
            node["Resources"].get(resource, 0), free.get(node["NodeID"], {}).get(resource, 0)
        )
        count += kept.count(node["NodeID"])
        if node["Alive"] and count >= 1:
            found.append(Node(node["NodeManagerHostname"], node["NodeID"], int(count)))
    return tuple(found)


def alive_nodes() -> frozenset[str]:
    """Ray's ids of the nodes that are up."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return frozenset(node["NodeID"] for node in nodes if node["Alive"])


def head_share() -> dict[str, float]:
    """The resources of an actor that is to be where Ray's head is."""
    return {_HEAD: 0.001} if ray.cluster_resources().get(_HEAD) else {}  # type: ignore[no-untyped-call]


def same_machine(node_id: str, resource: str, taken: Collection[str] = ()) -> str:
    """Ray's id of the machine that was this node, which has another one after a reboot.

    ``resource`` is what its cards are called, ``taken`` are nodes that are others.

    Raises:
        DeploymentError: it is not there.
    """
    nodes = {node["NodeID"]: node for node in ray.nodes()}  # type: ignore[no-untyped-call]
    before = nodes.get(node_id)
    if before is not None and before["Alive"]:
        return node_id
    where = ("NodeManagerHostname", "NodeManagerAddress")
    for other, node in nodes.items():
        same = before is not None and all(node[key] == before[key] for key in where)
        has_cards = node["Alive"] and node["Resources"].get(resource, 0) >= 1
        if same and has_cards and other not in taken:
            return str(other)
    name = before["NodeManagerHostname"] if before is not None else node_id[:12]
    text = f"node {name} is gone: start Ray there again, or plan without it with orchestrator up"
    raise DeploymentError("the cluster", (text,))


def known_as(nodes: Iterable[Node], names: Mapping[str, str]) -> tuple[Node, ...]:
    """These nodes under the names that they have already, Ray's ids by name; new ones get others.

    A host's second node is numbered, as is one whose host is the name of a node that is gone.
    """
    by_id = {node_id: name for name, node_id in names.items()}
    taken = set(names)
    found = []
    for node in sorted(nodes, key=lambda node: node.id):
        name = by_id.get(node.id, node.name)
        number = 1
        while node.id not in by_id and name in taken:
            number += 1
            name = f"{node.name}-{number}"
        taken.add(name)
        found.append(replace(node, name=name))
    return tuple(found)


def named(nodes: list[Node]) -> tuple[Node, ...]:
    """Give every node a name of its own."""
    if len(nodes) == 1:
        return (replace(nodes[0], name=LOCAL_NODE),)
    ordered = sorted(nodes, key=lambda node: (node.name, node.id))
    seen: dict[str, int] = {}
    result = []
    for node in ordered:
        seen[node.name] = seen.get(node.name, 0) + 1
        number = f"-{seen[node.name]}" if seen[node.name] > 1 else ""
        result.append(replace(node, name=node.name + number))
    return tuple(result)


def inventory_of(cards: Cards, nodes: tuple[Node, ...], *, started: bool) -> Inventory:
    """The cards to plan for: as many as the deployment names, or all. ``started``: Ray is ours.

    An Ascend card's capacity is what the deployment says, else the least that npu-smi sees free on
    an idle card, else what the type is assumed to have.

    Raises:
        CardsUnavailableError: fewer than the deployment names, or none.
        DeploymentError: nobody says what a card's capacity is.
    """
    found = sum(node.cards for node in nodes)
    wanted = cards.count or max(found, 1)
    if found < wanted:
        raise CardsUnavailableError(wanted, found, cards.resource, _hint(cards, found, started))
    changes: dict[str, object] = {"count": 1}
    if cards.kind == "ascend" and cards.capacity is None:
        changes["capacity"] = idle_bytes(ray.get([_cards_of(node) for node in nodes]))
    template = Inventory.declared(cards.model_copy(update=changes)).cards[0]
    made = [
        replace(template, name=f"{node.name}/{index}", node=node.name)
        for node in nodes
        for index in range(node.cards)
    ]
    return Inventory(tuple(made[:wanted]))


def idle_bytes(nodes: Iterable[Sequence[SmiCard]]) -> int | None:
    """The least that is free on any card that nobody uses; None where no node tells of one."""
    idle = (card for cards in nodes for card in cards if card.total_bytes and not card.holders)
    return min((card.free_bytes for card in idle), default=None)


def _cards_of(node: Node) -> "ray.ObjectRef[tuple[SmiCard, ...]]":
    """What the node's npu-smi says: no card is touched, so a Ray task may ask."""
    where = NodeAffinitySchedulingStrategy(node.id, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0)(_listed)
    return task.options(scheduling_strategy=where).remote()


def _listed() -> tuple[SmiCard, ...]:
    try:
        return read_cards()
    except SmiError:
        return ()


def bind_nodes(
    planned: Mapping[str, int], nodes: tuple[Node, ...], resource: str
) -> dict[str, str]:
    """Ray's node id for each node of a plan, given how many of its cards the plan uses.

    A node of the same name is taken if it has enough cards; the others, which a plan made elsewhere
    may call anything, get the smallest node that is large enough, largest first.

    Raises:
        CardsUnavailableError: no node is large enough.
    """
    free = {node.name: node for node in nodes}
    bound = {}
    for name, count in planned.items():
        if name in free and free[name].cards >= count:
            bound[name] = free.pop(name).id
    rest = [name for name in planned if name not in bound]
    for name in sorted(rest, key=lambda name: -planned[name]):
        fitting = [node for node in free.values() if node.cards >= planned[name]]
        if not fitting:
            largest = max((node.cards for node in free.values()), default=0)
            hint = "wait for other work to end, or add nodes"
            if nodes:
                hint = (
                    f"node {name} of the plan uses {planned[name]}, and the largest node that is "
                    f"left has {largest} free: plan again for these nodes"
                )
            found = sum(node.cards for node in nodes)
            raise CardsUnavailableError(sum(planned.values()), found, resource, hint)
        chosen = min(fitting, key=lambda node: node.cards)
        bound[name] = free.pop(chosen.name).id
    return bound


def _hint(cards: Cards, found: int, started: bool) -> str:
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    total = int(resources.get(cards.resource, 0))
    if total and total <= found:
        return f"it has {total} in all: set cards.count lower, or add nodes"
    if total:
        return (
            f"of {total} in the cluster some are in use by other work: wait for it, set "
            "cards.count lower, or add nodes"
        )
    if started:
        return (
            "no card was found on this machine: npu-smi info shows them; kind: emulated needs none"
        )
    return (
        f"no node offers {cards.resource}: start Ray on the nodes with cards with "
        f"{ray_start_options(cards.resource, 8)}, or set cards.resource to what they offer"
    )
