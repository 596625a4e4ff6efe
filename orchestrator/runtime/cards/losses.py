"""What a deployment has lost for good, and what that means."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from orchestrator.placement import DeploymentPlan, unserved


@dataclass(frozen=True)
class Loss:
    """A slot that a deployment does without, why, and Ray's id of the node that it was on.

    ``quarantined``: until somebody wants it back. One that was given up is also tried again when
    the deployment is changed. ``npu_id``: the card that its last process had, if that is known.
    """

    why: str
    node_id: str
    quarantined: bool = False
    npu_id: str = ""


@dataclass(frozen=True)
class Losses:
    """Slots that a deployment does without; ``whole`` is the plan before the first of them."""

    whole: DeploymentPlan | None = None
    lost: Mapping[str, Loss] = field(default_factory=dict)

    def plus(self, more: Mapping[str, Loss], plan: DeploymentPlan) -> "Losses":
        """With more of them, of the plan that runs now."""
        return Losses(self.whole or plan, {**self.lost, **more}) if more else self

    def minus(self, fewer: Collection[str]) -> "Losses":
        """Without those that are there again."""
        left = {name: loss for name, loss in self.lost.items() if name not in fewer}
        return Losses(self.whole if left else None, left)

    def under(self, whole: DeploymentPlan) -> "Losses":
        """What is left of them when the deployment is changed to a plan: the quarantined ones."""
        left = {name: loss for name, loss in self.lost.items() if loss.quarantined}
        return Losses(whole if left else None, left)

    def told(self, now: DeploymentPlan) -> tuple[str, ...]:
        """What became of what they served, if the plan that runs now does without them."""
        without = [name for name in self.lost if name not in now.slots]
        if not without:
            return ()
        missing, alpha = unserved(now), now.plan.alpha
        if missing:
            what = f"no longer served: {', '.join(missing)}"
        else:
            what = "every model is still served"
        if alpha is not None and alpha < 1:
            what += f", at {alpha:.0%} of the demand"
        return (f"planned without {', '.join(without)}: {what}",)
