"""What a plan would do under a load, without Ray, cards or waiting: discrete events. Pure.

Requests come at random from a seed. Where each goes, and what is joined with what, is decided by
the very desk and card queues that a deployment runs with; only the cards' work, and the way there
and back, are numbers: the seconds of a batch by its rows, one execution on a card at a time. What
is left out: copies to and from a card, and the driver's own work.
"""

from orchestrator.simulate.run import ModelOutcome, Outcome, simulate
from orchestrator.simulate.world import (
    BatchTimes,
    Death,
    Slower,
    Source,
    World,
    demand_of,
)

__all__ = [
    "BatchTimes",
    "Death",
    "ModelOutcome",
    "Outcome",
    "Slower",
    "Source",
    "World",
    "demand_of",
    "simulate",
]
