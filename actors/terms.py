"""How a card serves each of its models, by its order. Pure."""

from actors.messages import CardOrder, ModelOrder
from actors.queue import Terms


def terms_of(order: CardOrder, model: ModelOrder) -> Terms:
    """How a model is served: in turns with those that it shares workspace or GE session with."""
    if model.provider == "ge":
        in_turns = model.share_weights
    else:
        in_turns = model.share_workspace and order.share_workspace and not model.dynamic
    return Terms(model.batching.max_wait, model.share, in_turns and order.kind != "cpu")
