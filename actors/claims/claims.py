"""The claims, and what was found of each: held, failed, or not checked and why.

Nobody tells the size of a workspace or of shared weights, so each claim is about differences: what
the same models take with and without sharing, build by build.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from actors.claims.bench import LOOPS, THREADS, Bench, UncheckedError
from actors.claims.compare import compare_answers
from actors.claims.trial import Members, Taken, Trial, TrialError
from actors.memory import ASCEND
from actors.modelfiles import model_bytes, served_file
from actors.parameters import parameter_digests
from actors.verdicts import MIXTURE

#: Differences of no more than two large pages are no difference: others use the card too.
NOISE = 4 << 20


class Verdict(str, Enum):
    """What was found of a claim."""

    HELD = "held"
    FAILED = "failed"
    UNCHECKED = "not checked"


@dataclass(frozen=True)
class Claim:
    """One claim as it was found. Bytes are the largest use of the card, of what was tried."""

    name: str
    verdict: Verdict
    says: str
    unshared_bytes: int | None = None
    shared_bytes: int | None = None


def verify(bench: Bench) -> Iterator[Claim]:
    """Check every claim, one after the other.

    Raises:
        LibraryError: the library of the card kind cannot be imported.
    """
    for name, check in CLAIMS.items():
        try:
            found = check(bench)
        except UncheckedError as error:
            found = _Found(Verdict.UNCHECKED, str(error))
        except TrialError as error:
            found = _Found(Verdict.FAILED, str(error))
        yield Claim(name, found.verdict, found.says, found.unshared, found.shared)


@dataclass(frozen=True)
class _Found:
    verdict: Verdict
    says: str
    unshared: int | None = None
    shared: int | None = None


def _found(held: bool, says: str, unshared: int | None = None, shared: int | None = None) -> _Found:
    return _Found(Verdict.HELD if held else Verdict.FAILED, says, unshared, shared)


def one_workspace(bench: Bench) -> _Found:
    """The group's workspace is the largest of its members', not their sum."""
    bench.require("acl")
    alone = bench.alone(bench.acl_trial(""))
    shared = bench.carried_out(bench.acl_trial("SHARE_WORKSPACE"))
    return judge_workspace(alone, shared)


def judge_workspace(alone: Taken, shared: Taken) -> _Found:
    """The group's first build takes the workspace of all; every later one must bring none.

    So the later builds tell their workspaces by what they no longer take, and the first may take
    more than alone by no more than the largest of those.

    Raises:
        UncheckedError: what sharing can save is too little to be told from noise.
    """
    before, after = _steps(alone), _steps(shared)
    _require_workspaces(alone.workspaces)
    extra = after[0] - before[0]
    spared = [b - a for b, a in zip(before[1:], after[1:], strict=True)]
    unshared, together = _largest(alone), _largest(shared)
    saved = unshared - together
    held = saved > NOISE and extra <= max(0, *spared) + NOISE
    told = ", ".join(mib(nbytes) for nbytes in spared)
    says = (
        f"the first build takes {mib(after[0])} in the group and {mib(before[0])} alone; the later "
        f"ones bring no workspace of their own ({told} less): {mib(saved)} saved"
        if held
        else f"{mib(unshared)} unshared and {mib(together)} as a group: the workspace is not that "
        f"of the largest (first build {mib(after[0])}, alone {mib(before[0])}; later: {told} less)"
    )
    return _found(held, says, unshared, together)


def _require_workspaces(workspaces: Sequence[int | None]) -> None:
    known = [ASCEND.alloc(nbytes) for nbytes in workspaces if nbytes is not None]
    if not known or len(known) < len(workspaces):
        return  # the measurement alone has to tell
    spared = sum(known) - max(known)
    if spared <= NOISE:
        told = ", ".join(mib(nbytes) for nbytes in known)
        raise UncheckedError(
            f"the workspaces are {told}, of which sharing saves {mib(spared)}: too little to "
            "count, use models with larger ones"
        )


def five_groups(bench: Bench) -> _Found:
    """Five threads with a SHARE_WEIGHT group each hold one copy of the weights."""
    return _threads(bench, own_groups=True)


def one_group(bench: Bench) -> _Found:
    """Five threads of one SHARE_WEIGHT group hold one copy of the weights."""
    return _threads(bench, own_groups=False)


def _threads(bench: Bench, own_groups: bool) -> _Found:
    bench.require("weights")
    alone = bench.alone(bench.thread_trial(""))
    shared = bench.carried_out(bench.thread_trial("SHARE_WEIGHT", own_groups))
    return judge_weights(alone, shared, model_bytes(bench.weights, bench.kind))


def judge_weights(alone: Taken, shared: Taken, weights: int) -> _Found:
    """All copies but one must be saved, give or take one: a file is a little more than its weights.

    Raises:
        UncheckedError: copies of so few bytes cannot be told from noise.
    """
    unshared, together = _largest(alone), _largest(shared)
    if weights <= NOISE:
        raise UncheckedError(
            f"the weights are {mib(weights)} at most, too few to count: use a larger model"
        )
    copy = ASCEND.alloc(weights)
    low, high = unshared - THREADS * copy, unshared - (THREADS - 2) * copy
    copies = THREADS - (unshared - together) / copy
    says = (
        f"{THREADS} threads, {LOOPS} loops each: {copies:.1f} copies of {mib(copy)}; largest use "
        f"{mib(together)}, which must be above {mib(low)} and below {mib(high)}"
    )
    return _found(low < together < high, says, unshared, together)


def each_card(bench: Bench) -> _Found:
    """Two cards in two processes each hold the largest workspace of their own models."""
    bench.require("acl", "other")
    small = (bench.acl[-1],) * 2
    other = bench.card if bench.other is None else bench.other
    elsewhere = Trial(bench.kind, other, (Members(small),))
    apart = [bench.alone(bench.acl_trial("")), bench.alone(elsewhere)]
    grouped = Trial(bench.kind, other, (Members(small, "SHARE_WORKSPACE"),))
    together = bench.at_once(bench.acl_trial("SHARE_WORKSPACE"), grouped)
    found = [judge_workspace(a, s) for a, s in zip(apart, together, strict=True)]
    says = "; ".join(
        f"card {card}: {one.says}" for card, one in zip((bench.card, other), found, strict=True)
    )
    held = all(one.verdict is Verdict.HELD for one in found)
    return _found(held, says, sum(map(_largest, apart)), sum(map(_largest, together)))


def ge_pair(bench: Bench) -> _Found:
    """Two GE graphs of one session hold their constants once and reuse one memory."""
    bench.require("ge")
    _require_common_parameters(bench)
    alone = bench.alone(bench.ge_trial(""))
    shared = bench.carried_out(bench.ge_trial("SHARE_WEIGHT"))
    unshared, together = _largest(alone), _largest(shared)
    says = f"two sessions take {mib(unshared)}, one session {mib(together)}"
    return _found(unshared - together > NOISE, says, unshared, together)


def _require_common_parameters(bench: Bench) -> None:
    """Raise UncheckedError where one session has too little to save."""
    owners = _parameter_owners(bench)
    if owners and max(owners.values()) < 2:
        raise UncheckedError(
            "the graphs have no parameter of one name, and a session shares no others: name two "
            "graphs of one network"
        )
    least = min(model_bytes(path, bench.kind) for path in bench.ge)
    if least <= NOISE:
        raise UncheckedError(
            f"what the graphs can share is {mib(least)} at most, too little to count: use larger "
            "ones"
        )


def _parameter_owners(bench: Bench) -> Mapping[str, int]:
    """How many of the GE graphs have a parameter of each name; empty where they cannot be read.

    Raises:
        UncheckedError: a name has other values in another graph.
    """
    digests: dict[str, str] = {}
    owners: Counter[str] = Counter()
    for path in bench.ge:
        try:
            found = parameter_digests(served_file(path, bench.kind))
        except (ValueError, OSError):
            return {}
        for name, digest in found.items():
            owners[name] += 1
            if digests.setdefault(name, digest) != digest:
                raise UncheckedError(
                    f"parameter {name} has other values in {Path(path).name} than in another "
                    "graph, and one session would answer with one of them for both: name two "
                    "graphs of one network"
                )
    return owners


def ge_each_card(bench: Bench) -> _Found:
    """A GE pair on each of two cards, in two processes, takes on each what it takes alone."""
    bench.require("ge", "other")
    _parameter_owners(bench)
    alone = bench.carried_out(bench.ge_trial("SHARE_WEIGHT"))
    trials = (bench.ge_trial("SHARE_WEIGHT"), bench.ge_trial("SHARE_WEIGHT", bench.other))
    both = [_largest(taken) for taken in bench.at_once(*trials)]
    says = (
        f"card {bench.card}: {mib(both[0])}, card {bench.other}: {mib(both[1])}, at the same "
        f"time; {mib(_largest(alone))} with one card alone"
    )
    held = all(abs(nbytes - _largest(alone)) <= NOISE for nbytes in both)
    return _found(held, says, None, sum(both))


def ge_beside_acl(bench: Bench) -> _Found:
    """A GE pair and a group of ACL models in one process disturb neither memory nor results."""
    bench.require("acl", "ge")
    _parameter_owners(bench)
    acl, ge = bench.acl_trial("SHARE_WORKSPACE"), bench.ge_trial("SHARE_WEIGHT")
    apart = _largest(bench.carried_out(acl)) + _largest(bench.carried_out(ge))
    mixed = bench.carried_out(Trial(bench.kind, bench.card, acl.members + ge.members))
    different = _differences(
        {"ACL": (bench.acl_trial(""), mixed), "GE": (bench.ge_trial(""), mixed)}, bench
    )
    together = _largest(mixed)
    says = f"{mib(together)} in one process, {mib(apart)} in two; "
    says += "; ".join(different) or "results as without sharing"
    return _found(together <= apart + NOISE and not different, says, None, together)


def same_results(bench: Bench) -> _Found:
    """Shared models answer as unshared ones: to the bit, or within the spread of unshared runs."""
    pairs = {
        "workspace": (bench.acl_trial(""), bench.acl_trial("SHARE_WORKSPACE")),
        "five groups": (bench.thread_trial(""), bench.thread_trial("SHARE_WEIGHT", True)),
        "one group": (bench.thread_trial(""), bench.thread_trial("SHARE_WEIGHT")),
        "GE": (bench.ge_trial(""), bench.ge_trial("SHARE_WEIGHT")),
    }
    known = {
        name: (alone, bench.done[shared])
        for name, (alone, shared) in pairs.items()
        if alone in bench.done and shared in bench.done
    }
    if not known:
        raise UncheckedError("nothing ran both with and without sharing")
    different = _differences(known, bench)
    exact = [name for name, (alone, _) in known.items() if _repeats(bench.done[alone])]
    says = "; ".join(different) or f"{', '.join(known)}: as without sharing"
    says += f"; unshared runs are bit-equal for: {', '.join(exact) or 'none'}"
    return _found(not different, says)


def _differences(pairs: Mapping[str, tuple[Trial, Taken]], bench: Bench) -> list[str]:
    """What shared models answered that unshared ones would not have."""
    found = []
    for name, (alone, shared) in pairs.items():
        private = bench.alone(alone)
        for path in dict.fromkeys(alone.paths):
            problem = compare_answers(private.answers[path], shared.answers[path])
            if problem:
                found.append(f"{name}, {Path(path).name}: {problem}")
    return found


def _repeats(taken: Taken) -> bool:
    return all(len(answers) == 1 for answers in taken.answers.values())


def _largest(taken: Taken) -> int:
    if taken.largest is None:
        raise UncheckedError("the card's memory cannot be read here: pyACL is needed for it")
    return taken.largest


def _steps(taken: Taken) -> list[int]:
    """Bytes that each build took."""
    totals = [step for step in taken.steps if step is not None]
    if len(totals) < len(taken.steps):
        _largest(taken)
    return [after - before for before, after in zip([0, *totals], totals, strict=False)]


def mib(nbytes: int) -> str:
    """``12.5 MiB``."""
    return f"{nbytes / (1 << 20):.1f} MiB"


#: Every claim by its name, in the order in which they are checked.
CLAIMS: Mapping[str, Callable[[Bench], _Found]] = {
    "one workspace": one_workspace,
    "one copy of weights, five groups": five_groups,
    "one copy of weights, one group": one_group,
    "a workspace for each card": each_card,
    "GE pair": ge_pair,
    "GE pair on two cards": ge_each_card,
    MIXTURE: ge_beside_acl,
    "same results": same_results,
}
