"""Whether what was measured with sharing, against what was without, shows that memory is shared.

Nobody tells the size of a workspace or of shared weights, so claims are about differences: what the
same models take with and without sharing, build by build.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from actors.claims.bench import LOOPS, THREADS, UncheckedError
from actors.claims.trial import Taken
from actors.memory import ASCEND

#: Differences of no more than two large pages are no difference: others use the card too.
NOISE = 4 << 20


class Verdict(str, Enum):
    """What was found of a claim."""

    HELD = "held"
    FAILED = "failed"
    UNCHECKED = "not checked"


@dataclass(frozen=True)
class Found:
    """A verdict, its reason, and the largest use of the card of what was tried."""

    verdict: Verdict
    says: str
    unshared: int | None = None
    shared: int | None = None

    @classmethod
    def of(
        cls, held: bool, says: str, unshared: int | None = None, shared: int | None = None
    ) -> "Found":
        """Held or failed."""
        return cls(Verdict.HELD if held else Verdict.FAILED, says, unshared, shared)


def judge_workspace(alone: Taken, shared: Taken) -> Found:
    """The group's first build must take the workspace of all; every later one must bring none.

    So the later builds tell their workspaces by what they no longer take, and the first may take
    more than alone by no more than the largest of those.

    Raises:
        UncheckedError: what sharing can save is too little to be told from noise, or nothing is
            seen to be saved and no file tells whether there was anything to save.
    """
    before, after = _steps(alone), _steps(shared)
    known = _known_workspaces(alone)
    extra = after[0] - before[0]
    spared = [b - a for b, a in zip(before[1:], after[1:], strict=True)]
    unshared, together = largest(alone), largest(shared)
    saved = unshared - together
    if not known and max(saved, extra, *spared) <= NOISE:
        raise UncheckedError(
            "it could not be proven here, because the files do not tell their workspaces and no "
            f"build is seen to take less in the group: {_list(before)} alone, {_list(after)} in "
            f"the group, {mib(saved)} saved. Nothing is shared, or the workspaces are too small to "
            "count: use models with larger ones"
        )
    held = saved > NOISE and extra <= max(0, *spared) + NOISE
    says = (
        f"the first build takes {mib(after[0])} in the group and {mib(before[0])} alone; the later "
        f"ones bring no workspace of their own ({_list(spared)} less): {mib(saved)} saved"
        if held
        else f"{mib(unshared)} unshared and {mib(together)} as a group: the workspace is not that "
        f"of the largest (first build {mib(after[0])}, alone {mib(before[0])}; later: "
        f"{_list(spared)} less)"
    )
    return Found.of(held, says, unshared, together)


def _known_workspaces(taken: Taken) -> Sequence[int]:
    """The workspace of every model, as allocated; none where a file does not tell.

    Raises:
        UncheckedError: they are too small for what sharing saves to be told from noise.
    """
    known = [ASCEND.alloc(nbytes) for nbytes in taken.workspaces if nbytes is not None]
    if not known or len(known) < len(taken.workspaces):
        return ()
    spared = sum(known) - max(known)
    if spared <= NOISE:
        raise UncheckedError(
            f"the workspaces are {_list(known)}, of which sharing saves {mib(spared)}: too little "
            "to count, use models with larger ones"
        )
    return known


def judge_weights(alone: Taken, shared: Taken, file_bytes: int) -> Found:
    """All copies but one must be saved, give or take one.

    A copy is what the compiled file says; where it says nothing, what a thread's build takes alone
    and no longer takes in a group. The first build of each brings what is no copy, so it is none of
    these.

    Raises:
        UncheckedError: copies of so few bytes cannot be told from noise, or nothing is seen to be
            saved and no file tells whether there was anything to save.
    """
    unshared, together = largest(alone), largest(shared)
    weights = next(iter(alone.weights), None)
    most = file_bytes if weights is None else weights
    if most <= NOISE:
        raise UncheckedError(
            f"the weights are {mib(most)} at most, too few to count: use a larger model"
        )
    before, after = _steps(alone)[1:], _steps(shared)[1:]
    seen = max(b - a for b, a in zip(before, after, strict=True))
    if weights is None and seen <= NOISE:
        raise UncheckedError(
            "it could not be proven here, because the file does not tell its weights and no "
            f"further thread is seen to take less in a group: {_list(before)} alone, "
            f"{_list(after)} in a group. Nothing is shared, or the weights are too few to count: "
            "use a model with more"
        )
    copy = seen if weights is None else ASCEND.alloc(weights)
    low, high = unshared - THREADS * copy, unshared - (THREADS - 2) * copy
    copies = THREADS - (unshared - together) / copy
    says = (
        f"{THREADS} threads, {LOOPS} loops each: {copies:.1f} copies of {mib(copy)}; largest use "
        f"{mib(together)}, which must be above {mib(low)} and below {mib(high)}"
    )
    return Found.of(low < together < high, says, unshared, together)


def judge_session(alone: Taken, shared: Taken, common: int | None) -> Found:
    """One session of GE graphs must take less than two: by the constants that they have in common.

    ``common``: bytes of those as the files have them; None where the files do not tell. A card may
    hold floats in half as many, so half of them must be saved.

    Raises:
        UncheckedError: what sharing can save is too little to be told from noise, or nothing is
            seen to be saved and no file tells whether anything could be.
    """
    unshared, together = largest(alone), largest(shared)
    saved = unshared - together
    says = f"two sessions take {mib(unshared)}, one session {mib(together)}"
    if common is None:
        if saved > NOISE:
            return Found.of(True, says, unshared, together)
        raise UncheckedError(
            "it could not be proven here, because the files do not tell which parameters the "
            f"graphs have in common: {says}. Nothing is shared, or they have little in common: "
            "name two graphs of one network"
        )
    least = common // 2
    if least < NOISE:
        raise UncheckedError(
            f"it could not be proven here, because the graphs have {mib(common)} of parameters in "
            f"common, too little to count: {says}. Name two larger graphs of one network"
        )
    wanted = max(NOISE, least - NOISE)
    says = f"{says}: {mib(saved)} saved, with {mib(common)} of parameters in common"
    says = says if saved > wanted else f"{says}: more than {mib(wanted)} must be"
    return Found.of(saved > wanted, says, unshared, together)


def largest(taken: Taken) -> int:
    """The largest use of the card.

    Raises:
        UncheckedError: nobody can read its memory.
    """
    if taken.largest is None:
        raise UncheckedError("the card's memory cannot be read here: pyACL is needed for it")
    return taken.largest


def _steps(taken: Taken) -> list[int]:
    """Bytes that each build took."""
    totals = [step for step in taken.steps if step is not None]
    if len(totals) < len(taken.steps):
        largest(taken)
    return [after - before for before, after in zip([0, *totals], totals, strict=False)]


def mib(nbytes: int) -> str:
    """``12.5 MiB``."""
    return f"{nbytes / (1 << 20):.1f} MiB"


def _list(sizes: Sequence[int]) -> str:
    return ", ".join(map(mib, sizes))
