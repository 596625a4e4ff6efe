"""What is kept of a named deployment, so that whoever comes after a crash can go on with it.

It lies in the store of the cluster's control service (GCS), where a controller on any node finds
it, and where it ends with the cluster, as the cards do. A file on one node would do neither.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ray.experimental import internal_kv

from orchestrator.errors import DeploymentError
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.cards.history import History
from orchestrator.runtime.cards.losses import Loss, Losses

#: The part of the store that is ours; a key is a deployment's name.
_STORE = b"ascend-orchestrator"


@dataclass(frozen=True)
class Record:
    """A deployment's plan, which node of Ray each of its nodes is, and what was done to it.

    ``generation`` counts plans, from 1. ``served``: all cards of its first plan have served once.
    ``changing``: the cards do not hold all of the plan yet. ``drained`` are slots that must not be
    started. ``asleep``: there was nothing to do, and all cards were given back. ``losses``: cards
    that are gone for good. ``histories``: what counts of the slots' processes so far. ``begun``:
    what no other start of this name has.
    """

    plan: DeploymentPlan
    nodes: Mapping[str, str]
    generation: int = 1
    served: bool = False
    changing: bool = False
    drained: frozenset[str] = frozenset()
    asleep: bool = False
    losses: Losses = field(default_factory=Losses)
    histories: Mapping[str, History] = field(default_factory=dict)
    begun: str = ""

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.plan.deployment.name

    def node_id(self, slot: str) -> str:
        """Ray's id of the node that a slot is on."""
        return self.nodes[slot.rpartition("/")[0]]

    def changed(
        self, plan: DeploymentPlan, nodes: Mapping[str, str], whole: DeploymentPlan
    ) -> "Record":
        """To be changed by somebody to a plan, ``whole`` if it were not for quarantined cards.

        Those stay lost, and their nodes keep their names; others are tried again.
        """
        losses = self.losses.under(whole)
        names = {slot.rpartition("/")[0] for slot in losses.lost}
        kept = {name: node for name, node in self.nodes.items() if name in names}
        return replace(
            self.forgiving(self.losses.lost.keys() - losses.lost.keys()),
            plan=plan,
            nodes={**kept, **nodes},
            generation=self.generation + 1,
            drained=self.drained & set(plan.slots),
            changing=True,
            asleep=False,
            losses=losses,
        )

    def rescaled(
        self, plan: DeploymentPlan, nodes: Mapping[str, str], back: Collection[str]
    ) -> "Record":
        """To be changed to another plan of the same deployment; ``back`` are no longer lost."""
        known = {name: node for name, node in self.nodes.items() if name in nodes}
        return replace(
            self,
            plan=plan,
            nodes={**known, **nodes},
            generation=self.generation + 1,
            changing=True,
            asleep=False,
            losses=self.losses.minus(back),
        )

    def with_history(self, slot: str, history: History) -> "Record":
        """With what became of a slot's processes so far."""
        return replace(self, histories={**self.histories, slot: history})

    def forgiving(self, slots: Collection[str]) -> "Record":
        """The slots are to be tried again, whatever became of their processes."""
        forgiven = {
            name: one.forgiven() if name in slots else one for name, one in self.histories.items()
        }
        return replace(self, histories=forgiven)

    def rebound(self, name: str, node_id: str) -> "Record":
        """One of its nodes has another id now."""
        lost = {
            slot: replace(loss, node_id=node_id) if slot.rpartition("/")[0] == name else loss
            for slot, loss in self.losses.lost.items()
        }
        nodes = {**self.nodes, name: node_id}
        return replace(self, nodes=nodes, losses=replace(self.losses, lost=lost))

    def save(self, *, new: bool = False) -> bool:
        """Keep it; ``new``: only if there is none of this name yet. Whether it was kept.

        What was forgotten meanwhile stays so.
        """
        there = internal_kv._internal_kv_exists(self.name.encode(), namespace=_STORE)
        if there is new:
            return False
        data: dict[str, Any] = {
            "plan": self.plan.to_dict(),
            "nodes": dict(self.nodes),
            "generation": self.generation,
            "served": self.served,
            "changing": self.changing,
            "drained": sorted(self.drained),
            "asleep": self.asleep,
            "lost": {name: asdict(loss) for name, loss in self.losses.lost.items()},
            "whole": self.losses.whole.to_dict() if self.losses.whole else None,
            "histories": {name: asdict(one) for name, one in self.histories.items()},
            "begun": self.begun,
        }
        was_there = internal_kv._internal_kv_put(
            self.name.encode(), json.dumps(data).encode(), overwrite=not new, namespace=_STORE
        )
        return not (new and was_there)

    @classmethod
    def load(cls, name: str) -> "Record | None":
        """What is kept under a name.

        Raises:
            DeploymentError: it cannot be read.
        """
        found = internal_kv._internal_kv_get(name.encode(), namespace=_STORE)
        if found is None:
            return None
        try:
            return cls._read(name, json.loads(found))
        except (KeyError, TypeError, ValueError, DeploymentError) as error:
            told = (
                f"what is kept of it cannot be read, as of another version ({error!r}): "
                "orchestrator down ends it, orchestrator up starts it anew"
            )
            raise DeploymentError(name, (told,)) from error

    @classmethod
    def _read(cls, name: str, data: Mapping[str, Any]) -> "Record":
        def plan(part: object) -> DeploymentPlan:
            return DeploymentPlan.from_json(json.dumps(part), f"deployment {name}")

        lost = {name: Loss(**loss) for name, loss in data["lost"].items()}
        histories = {
            name: History(one["failures"], one["restarts"], tuple(one["unfit"]))
            for name, one in data["histories"].items()
        }
        return cls(
            plan=plan(data["plan"]),
            nodes=data["nodes"],
            generation=data["generation"],
            served=data["served"],
            changing=data["changing"],
            drained=frozenset(data["drained"]),
            asleep=data["asleep"],
            losses=Losses(plan(data["whole"]) if data["whole"] else None, lost),
            histories=histories,
            begun=data["begun"],
        )


def begun(name: str) -> str | None:
    """Which start of this name is kept, if one is; empty where that cannot be read."""
    try:
        record = Record.load(name)
    except DeploymentError:
        return ""
    return None if record is None else record.begun


def forget(name: str) -> None:
    """Keep nothing of a deployment any more."""
    internal_kv._internal_kv_del(name.encode(), namespace=_STORE)


def kept() -> tuple[str, ...]:
    """The names of all deployments of this cluster."""
    return tuple(sorted(k.decode() for k in internal_kv._internal_kv_list(b"", namespace=_STORE)))
