"""Whether models that share a workspace still answer right: tried once, before it is relied on.

Vendor documents contradict each other on whether one workspace as large as the largest model's is
enough. So the first start on an unseen combination of card type, driver, CANN and mindspore_lite
runs the card's largest and smallest models in turns, shared and unshared, in processes of their
own, and keeps the verdict on this node. Where it is bad, or none is reached, workspaces are summed.
The models run with their own configuration. Purely dynamic ones are left out: they never run in the
shared workspace, and so can neither spoil it nor be spoilt by it.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from actors.claims.compare import compare_answers
from actors.claims.process import run
from actors.claims.trial import Answer, Members, TooSlowError, Trial, TrialError
from actors.errors import CardError
from actors.files.build_config import written_config
from actors.machine.verdicts import MAX_RULE, Verdict, combination, find, keep
from actors.messages import CardOrder, ModelOrder

#: Rounds of all models in turns: large, small, large, ...
ROUNDS = 30
#: Longer than a trial takes; a card that is started waits for three or four of them at most.
TRIAL_SECONDS = 200.0


def sharing_members(order: CardOrder) -> tuple[ModelOrder, ...]:
    """The models of a card that are to share its workspace, largest workspace first."""
    members = [
        model
        for model in order.models
        if order.share_workspace and model.share_workspace and not model.dynamic
        if model.provider != "ge" and model.footprint is not None
    ]
    return tuple(sorted(members, key=lambda m: -m.footprint.workspace if m.footprint else 0))


@dataclass(frozen=True)
class Ruling:
    """Whether a card may share its workspace, and what is told of that in its report."""

    shares: bool
    told: str = ""


def max_rule(
    order: CardOrder,
    device_id: int,
    npu_id: str,
    try_out: Callable[[CardOrder, int], str] | None = None,
) -> Ruling:
    """What holds for this card, from this node's memory or found now.

    Models that do not run unshared prove nothing, may lack memory that comes back late, and their
    own build will say why: then nothing is kept, and the next start tries again. ``try_out`` runs
    the models and says what is wrong (empty: nothing).
    """
    if order.kind != "ascend" or len(sharing_members(order)) < 2:
        return Ruling(True)
    where = combination(npu_id)
    known = find(MAX_RULE, where)
    if known is not None:
        return Ruling(known.holds, "" if known.holds else str(known))
    try:
        problem = (try_out or differing)(order, device_id)
    except CardError as error:
        told = f"{MAX_RULE} could not be tried, so workspaces are summed ({where}): {error}"
        return Ruling(False, told)
    verdict = Verdict(where, not problem, problem or "shared runs answered as unshared ones")
    said = [] if verdict.holds else [str(verdict)]
    try:
        keep(verdict)
    except OSError as error:
        said.append(f"what was found of {MAX_RULE} is tried at every start: {error}")
    return Ruling(verdict.holds, "; ".join(said))


def differing(order: CardOrder, device_id: int) -> str:
    """What goes wrong when the largest and the smallest model share; empty: nothing.

    Raises:
        CardError: they do not run unshared, not even one by one; it takes too long; or they fail
            when they share, and it may be for want of memory, as they failed together unshared.
    """
    members = sharing_members(order)
    pair = (members[0], members[-1])
    paths = tuple(model.path for model in pair)
    with tempfile.TemporaryDirectory(prefix="canary-") as folder:
        together = Members(
            paths,
            configs=tuple(
                written_config(model, order.kind, Path(folder, f"{number}.ini"))
                for number, model in enumerate(pair)
            ),
            precisions=tuple(model.precision or "" for model in pair),
        )
        alone, fit = _unshared(order, device_id, together)
        try:
            shared = _answers(order, device_id, replace(together, flag="SHARE_WORKSPACE"))
        except TrialError as error:
            if not fit or isinstance(error, TooSlowError):
                raise
            return f"they run apart and fail when they share: {error}"
    problems = {path: compare_answers(alone[path], shared[path]) for path in paths}
    return "; ".join(f"{Path(p).name} {problem}" for p, problem in problems.items() if problem)


#: By path, every different answer.
_Answers = Mapping[str, tuple[Answer, ...]]


def _unshared(order: CardOrder, device_id: int, together: Members) -> tuple[_Answers, bool]:
    """What the models answer unshared, and whether they ran in one process as the sharing ones."""
    try:
        return _answers(order, device_id, together), True
    except TooSlowError:
        raise
    except TrialError:
        found: dict[str, tuple[Answer, ...]] = {}
        for own in range(len(together.paths)):
            here = slice(own, own + 1)
            one = Members(
                together.paths[here],
                configs=together.configs[here],
                precisions=together.precisions[here],
            )
            found |= _answers(order, device_id, one)
        return found, False


def _answers(order: CardOrder, device_id: int, members: Members) -> _Answers:
    trial = Trial(order.kind, device_id, (members,), loops=ROUNDS)
    (taken,) = run(trial, timeout_seconds=TRIAL_SECONDS)
    return taken.answers
