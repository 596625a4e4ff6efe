"""Which models go to which cards, and why. Pure: no Ray, no card, no clock."""

from orchestrator.placement.deployment import DeploymentPlan, plan_deployment
from orchestrator.placement.diff import Pace, PlanDiff, Step, plan_diff
from orchestrator.placement.explain import explain
from orchestrator.placement.modelling import problem_of
from orchestrator.placement.plan import CardPlan, Load, Plan, Point
from orchestrator.placement.problem import Model, Problem
from orchestrator.placement.refusal import solve
from orchestrator.placement.search.moves import Change
from orchestrator.placement.survivors import plan_without, unserved
from orchestrator.placement.transition import order_of, same_work, transition
from orchestrator.placement.verify import verify

__all__ = [
    "CardPlan",
    "Change",
    "DeploymentPlan",
    "Load",
    "Model",
    "Pace",
    "Plan",
    "PlanDiff",
    "Point",
    "Problem",
    "Step",
    "explain",
    "order_of",
    "plan_deployment",
    "plan_diff",
    "plan_without",
    "problem_of",
    "same_work",
    "solve",
    "transition",
    "unserved",
    "verify",
]
