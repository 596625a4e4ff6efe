"""Whether models that share a workspace still answer right: tried once, before it is relied on.

Vendor documents contradict each other on whether one workspace as large as the largest model's is
enough. So the first start on an unseen combination of card type, driver, CANN and mindspore_lite
runs the card's largest and smallest models in turns, shared and unshared, in processes of their
own, and keeps the verdict on this node. Where it is bad, workspaces are summed.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from actors import environment, npusmi
from actors.claims.compare import compare_answers
from actors.claims.process import run
from actors.claims.trial import Members, Trial
from actors.errors import CardError
from actors.messages import CardOrder, ModelOrder

#: Rounds of all models in turns: large, small, large, ...
ROUNDS = 30
#: What was found about the environment that the verdict depends on.
_SUBJECTS = ("driver", "CANN", "mindspore_lite")


@dataclass(frozen=True)
class Verdict:
    """``holds``: models that share a workspace answer as unshared ones. ``where``: on what."""

    where: str
    holds: bool
    says: str

    def __str__(self) -> str:
        what = "holds" if self.holds else "does not hold, so workspaces are summed"
        return f"one workspace as large as the largest {what} ({self.where}): {self.says}"


def folder() -> Path:
    """Where this node keeps its verdicts."""
    root = os.environ.get("ASCEND_ORCHESTRATOR_CACHE") or "~/.cache/ascend-orchestrator"
    return Path(root).expanduser() / "canary"


def stored() -> tuple[Verdict, ...]:
    """Every verdict of this node, by where it was found."""
    found = (_read(file) for file in sorted(folder().glob("*.json")))
    return tuple(verdict for verdict in found if verdict is not None)


def failed_here() -> tuple[Verdict, ...]:
    """The bad verdicts that hold for cards of this machine as it is now."""
    bad = [verdict for verdict in stored() if not verdict.holds]
    if not bad:
        return ()
    try:
        here = {combination(str(card.npu_id)) for card in npusmi.read_cards()}
    except npusmi.SmiError:
        here = {combination("")}
    return tuple(verdict for verdict in bad if verdict.where in here)


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
    file = folder() / f"{hashlib.sha256(where.encode()).hexdigest()[:20]}.json"
    known = _read(file)
    if known is not None:
        return known
    try:
        problem = (try_out or differing)(order, device_id)
    except CardError:
        return None
    verdict = Verdict(where, not problem, problem or "shared runs answered as unshared ones")
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as draft:
        json.dump(asdict(verdict), draft)
    Path(draft.name).replace(file)
    return verdict


def combination(npu_id: str) -> str:
    """What a verdict is for: ``910B4, driver 24.1.rc2, CANN 8.0.RC2, mindspore_lite 2.7.0``."""
    try:
        chips = {str(card.npu_id): card.chip for card in npusmi.read_cards()}
    except npusmi.SmiError:
        chips = {}
    found = {f.subject: f.found for f in environment.inspect(os.environ, kind="ascend")}
    parts = [f"{subject} {found.get(subject, 'unknown')}" for subject in _SUBJECTS]
    return ", ".join([chips.get(npu_id, "card of unknown type"), *parts])


def differing(order: CardOrder, device_id: int) -> str:
    """What the largest and the smallest model answer otherwise when they share; empty: nothing.

    Raises:
        CardError: they do not run.
    """
    members = sharing_members(order)
    paths = (members[0].path, members[-1].path)
    shapes = [
        Trial(order.kind, device_id, (Members(paths, flag),), loops=ROUNDS)
        for flag in ("", "SHARE_WORKSPACE")
    ]
    ((alone,), (shared,)) = (run(shape) for shape in shapes)
    problems = {p: compare_answers(alone.answers[p], shared.answers[p]) for p in paths}
    return "; ".join(f"{Path(p).name} {problem}" for p, problem in problems.items() if problem)


def _read(file: Path) -> Verdict | None:
    try:
        data = json.loads(file.read_text())
        return Verdict(str(data["where"]), bool(data["holds"]), str(data["says"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
