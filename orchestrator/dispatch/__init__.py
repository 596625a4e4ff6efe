"""Where requests go: routing, transport bundling, retries and set-aside rules. Pure.

Time and ids come as arguments and nothing here starts a thread, so the same rules drive the router
and can drive a simulation.
"""

from orchestrator.dispatch.calls import Bundle, DeskView, Failure
from orchestrator.dispatch.desk import Desk
from orchestrator.dispatch.retry import RetryRules, Ticket
from orchestrator.dispatch.routing import Replica, Route, TransportRules

__all__ = [
    "Bundle",
    "Desk",
    "DeskView",
    "Failure",
    "Replica",
    "RetryRules",
    "Route",
    "Ticket",
    "TransportRules",
]
