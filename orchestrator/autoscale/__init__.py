"""How many cards a deployment should have: load in, wanted cards out. Pure: no Ray, no clock."""

from orchestrator.autoscale.cards import choose_cards
from orchestrator.autoscale.decide import Autoscaler, Decision, Fleet, Rules
from orchestrator.autoscale.forecast import finish_seconds, worth_starting
from orchestrator.autoscale.meter import CardReport, Load, Meter, Ran, Waiting
from orchestrator.autoscale.plan import floor_of, plan_scaled

__all__ = [
    "Autoscaler",
    "CardReport",
    "Decision",
    "Fleet",
    "Load",
    "Meter",
    "Ran",
    "Rules",
    "Waiting",
    "choose_cards",
    "finish_seconds",
    "floor_of",
    "plan_scaled",
    "worth_starting",
]
