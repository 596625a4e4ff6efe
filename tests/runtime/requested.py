"""What is requested of Ray's autoscaler, and by how many."""

import json

from ray.experimental.internal_kv import _internal_kv_get
from ray.util import list_named_actors

#: Where Ray keeps it for its autoscaler.
_KEY = b"autoscaler_resource_request"
NAMESPACE = "ascend-orchestrator-requested"


def requested() -> list[dict[str, int]]:
    """One for each card."""
    cards: list[dict[str, int]] = json.loads(_internal_kv_get(_KEY) or "[]")
    return cards


def requesters() -> int:
    """Actors of ours that are there for it."""
    return sum(one["namespace"] == NAMESPACE for one in list_named_actors(all_namespaces=True))
