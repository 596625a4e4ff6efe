"""What is kept of a named deployment, so that whoever comes after a crash can go on with it.

It lies in the store of the cluster's control service (GCS), where a controller on any node finds
it, and where it ends with the cluster, as the cards do. A file on one node would do neither.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.experimental import internal_kv

from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.losses import Losses

#: The part of the store that is ours; a key is a deployment's name.
_STORE = b"ascend-orchestrator"


@dataclass(frozen=True)
class Record:
    """A deployment's plan, which node of Ray each of its nodes is, and what was done to it.

    ``generation`` counts plans, from 1. ``served``: all cards of its first plan have served once.
    ``changing``: the cards do not hold all of the plan yet. ``drained`` are slots that must not be
    started. ``asleep``: there was nothing to do, and all cards were given back. ``losses``: cards
    that are gone for good.
    """

    plan: DeploymentPlan
    nodes: Mapping[str, str]
    generation: int = 1
    served: bool = False
    changing: bool = False
    drained: frozenset[str] = frozenset()
    asleep: bool = False
    losses: Losses = field(default_factory=Losses)

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.plan.deployment.name

    def node_id(self, slot: str) -> str:
        """Ray's id of the node that a slot is on."""
        return self.nodes[slot.rpartition("/")[0]]

    def save(self, *, new: bool = False) -> bool:
        """Keep it; ``new``: only if there is none of this name yet. Whether it was kept."""
        data: dict[str, Any] = {
            "plan": self.plan.to_dict(),
            "nodes": dict(self.nodes),
            "generation": self.generation,
            "served": self.served,
            "changing": self.changing,
            "drained": sorted(self.drained),
            "asleep": self.asleep,
            "lost": dict(self.losses.lost),
            "whole": self.losses.whole.to_dict() if self.losses.whole else None,
        }
        was_there = internal_kv._internal_kv_put(
            self.name.encode(), json.dumps(data).encode(), overwrite=not new, namespace=_STORE
        )
        return not (new and was_there)

    @classmethod
    def load(cls, name: str) -> "Record | None":
        """What is kept under a name."""
        found = internal_kv._internal_kv_get(name.encode(), namespace=_STORE)
        if found is None:
            return None
        data = json.loads(found)

        def plan(part: object) -> DeploymentPlan:
            return DeploymentPlan.from_json(json.dumps(part), f"deployment {name}")

        return cls(
            plan=plan(data["plan"]),
            nodes=data["nodes"],
            generation=data["generation"],
            served=data["served"],
            changing=data["changing"],
            drained=frozenset(data["drained"]),
            asleep=data["asleep"],
            losses=Losses(plan(data["whole"]) if data["whole"] else None, data["lost"]),
        )


def forget(name: str) -> None:
    """Keep nothing of a deployment any more."""
    internal_kv._internal_kv_del(name.encode(), namespace=_STORE)


def kept() -> tuple[str, ...]:
    """The names of all deployments of this cluster."""
    return tuple(sorted(k.decode() for k in internal_kv._internal_kv_list(b"", namespace=_STORE)))
