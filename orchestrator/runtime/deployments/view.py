"""A named deployment as its controller shows it to drivers and commands."""

from collections.abc import Mapping
from dataclasses import dataclass

from actors.shapes import Signature
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.cards.slots import Slot
from orchestrator.runtime.deployments.scaling import Scaling


@dataclass(frozen=True)
class View:
    """A deployment as its controller sees it. ``version`` differs whenever drivers must know.

    ``waits_for``: lost cards that others are to take over from. ``notes``: what came of that.
    ``plugged``: the node of each quarantined card that a process keeps from being used.
    ``package``: what the controller runs of this project. ``changing``: a start or a change of its
    cards is under way.
    """

    version: tuple[str, int]
    plan: DeploymentPlan
    generation: int
    served: bool
    drained: frozenset[str]
    slots: tuple[Slot, ...]
    pid: int
    signatures: Mapping[str, Signature]
    asleep: bool = False
    scaling: Scaling | None = None
    notes: tuple[str, ...] = ()
    waits_for: frozenset[str] = frozenset()
    plugged: tuple[str, ...] = ()
    package: str = ""
    changing: bool = False
