"""What a deployment has lost for good, and what that means."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.placement import DeploymentPlan, unserved


@dataclass(frozen=True)
class Losses:
    """Cards that a deployment does without, and why; ``whole`` is the plan before the first."""

    whole: DeploymentPlan | None = None
    lost: Mapping[str, str] = field(default_factory=dict)

    def told(self, now: DeploymentPlan) -> tuple[str, ...]:
        """What became of what they served, under the plan that runs now."""
        if not self.lost:
            return ()
        missing, alpha = unserved(now), now.plan.alpha
        if missing:
            what = f"no longer served: {', '.join(missing)}"
        else:
            what = "every model is still served"
        if alpha is not None and alpha < 1:
            what += f", at {alpha:.0%} of the demand"
        return (f"planned without {', '.join(self.lost)}: {what}",)
