"""Whether models that share a workspace still answer right: tried once, before it is relied on.

Vendor documents contradict each other on whether one workspace as large as the largest model's is
enough. So the first start on an unseen combination of card type, driver, CANN and mindspore_lite
runs the card's largest and smallest models in turns, shared and unshared, in processes of their
own, and keeps the verdict on this node. Where it is bad, workspaces are summed. The models run with
their own configuration. Purely dynamic ones are left out: they never run in the shared workspace,
and so can neither spoil it nor be spoilt by it.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from actors.build_config import written_config
from actors.claims.compare import compare_answers
from actors.claims.process import run
from actors.claims.trial import Members, Trial
from actors.errors import CardError
from actors.messages import CardOrder, ModelOrder
from actors.verdicts import MAX_RULE, Verdict, combination, find, keep

#: Rounds of all models in turns: large, small, large, ...
ROUNDS = 30


def sharing_members(order: CardOrder) -> tuple[ModelOrder, ...]:
    """The models of a card that are to share its workspace, largest workspace first."""
    members = [
        model
        for model in order.models
        if order.share_workspace and model.share_workspace and not model.dynamic
        if model.provider != "ge" and model.footprint is not None
    ]
    return tuple(sorted(members, key=lambda m: -m.footprint.workspace if m.footprint else 0))


def max_rule(
    order: CardOrder,
    device_id: int,
    npu_id: str,
    try_out: Callable[[CardOrder, int], str] | None = None,
) -> Verdict | None:
    """The verdict for this card, from this node's memory or found now; None: nothing to prove.

    None too where the models do not run at all: that is no wrong answer, may be for want of memory
    that comes back late, and their own build will say why. ``try_out`` runs the models and says
    what is wrong (empty: nothing).
    """
    if order.kind != "ascend" or len(sharing_members(order)) < 2:
        return None
    where = combination(npu_id)
    known = find(MAX_RULE, where)
    if known is not None:
        return known
    try:
        problem = (try_out or differing)(order, device_id)
    except CardError:
        return None
    verdict = Verdict(where, not problem, problem or "shared runs answered as unshared ones")
    keep(verdict)
    return verdict


def differing(order: CardOrder, device_id: int) -> str:
    """What the largest and the smallest model answer otherwise when they share; empty: nothing.

    Raises:
        CardError: they do not run.
    """
    members = sharing_members(order)
    pair = (members[0], members[-1])
    paths = tuple(model.path for model in pair)
    with tempfile.TemporaryDirectory(prefix="canary-") as folder:
        configs = tuple(
            written_config(model, order.kind, Path(folder, f"{number}.ini"))
            for number, model in enumerate(pair)
        )
        precisions = tuple(model.precision or "" for model in pair)
        shapes = [
            Trial(
                order.kind,
                device_id,
                (Members(paths, flag, configs=configs, precisions=precisions),),
                loops=ROUNDS,
            )
            for flag in ("", "SHARE_WORKSPACE")
        ]
        ((alone,), (shared,)) = (run(shape) for shape in shapes)
    problems = {p: compare_answers(alone.answers[p], shared.answers[p]) for p in paths}
    return "; ".join(f"{Path(p).name} {problem}" for p, problem in problems.items() if problem)
