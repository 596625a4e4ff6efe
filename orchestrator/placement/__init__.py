"""Which models go to which cards, and why. Pure: no Ray, no card, no clock."""

from orchestrator.placement.deployment import DeploymentPlan, plan_deployment, problem_of
from orchestrator.placement.explain import explain
from orchestrator.placement.plan import CardPlan, Load, Plan
from orchestrator.placement.problem import Model, Problem
from orchestrator.placement.refusal import solve
from orchestrator.placement.verify import verify

__all__ = [
    "CardPlan",
    "DeploymentPlan",
    "Load",
    "Model",
    "Plan",
    "Problem",
    "explain",
    "plan_deployment",
    "problem_of",
    "solve",
    "verify",
]
