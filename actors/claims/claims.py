"""The claims, and what was found of each: held, failed, or not checked and why."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.claims.bench import Bench, UncheckedError
from actors.claims.compare import compare_answers
from actors.claims.judging import (
    NOISE,
    Found,
    Verdict,
    judge_session,
    judge_weights,
    judge_workspace,
    largest,
    mib,
)
from actors.claims.trial import Members, Taken, Trial, TrialError
from actors.files.modelfiles import model_bytes, served_file
from actors.files.parameters import Parameter, read_parameters
from actors.machine.verdicts import MIXTURE

GE_EACH_CARD = "GE pair on two cards"
SAME_RESULTS = "same results"
#: What may hold on a card that shares nothing.
NOT_OF_SHARING = (GE_EACH_CARD, MIXTURE, SAME_RESULTS)


@dataclass(frozen=True)
class Claim:
    """One claim as it was found. Bytes are the largest use of the card, of what was tried."""

    name: str
    verdict: Verdict
    says: str
    unshared_bytes: int | None = None
    shared_bytes: int | None = None


def verify(name: str, bench: Bench) -> Claim:
    """Check one of ``CLAIMS``. In their order, since the last looks at what the others ran.

    Raises:
        LibraryError: the library of the card kind cannot be imported.
    """
    try:
        found = CLAIMS[name](bench)
    except UncheckedError as error:
        found = Found(Verdict.UNCHECKED, str(error))
    except TrialError as error:
        found = Found(Verdict.FAILED, str(error))
    return Claim(name, found.verdict, found.says, found.unshared, found.shared)


def one_workspace(bench: Bench) -> Found:
    """The group's workspace is the largest of its members', not their sum."""
    bench.require("acl")
    alone = bench.alone(bench.acl_trial(""))
    shared = bench.carried_out(bench.acl_trial("SHARE_WORKSPACE"))
    return judge_workspace(alone, shared)


def five_groups(bench: Bench) -> Found:
    """Five threads with a SHARE_WEIGHT group each hold one copy of the weights."""
    return _threads(bench, own_groups=True)


def one_group(bench: Bench) -> Found:
    """Five threads of one SHARE_WEIGHT group hold one copy of the weights."""
    return _threads(bench, own_groups=False)


def _threads(bench: Bench, own_groups: bool) -> Found:
    bench.require("weights")
    alone = bench.alone(bench.thread_trial(""))
    shared = bench.carried_out(bench.thread_trial("SHARE_WEIGHT", own_groups))
    return judge_weights(alone, shared, model_bytes(bench.weights, bench.kind))


def each_card(bench: Bench) -> Found:
    """Two cards in two processes each hold the largest workspace of their own models."""
    bench.require("acl", "other")
    other = bench.card if bench.other is None else bench.other
    first = bench.alone(bench.acl_trial(""))
    small = (_smallest_that_counts(bench.acl, first),) * 2
    elsewhere = Trial(bench.kind, other, (Members(small),))
    apart = [first, bench.alone(elsewhere)]
    grouped = Trial(bench.kind, other, (Members(small, "SHARE_WORKSPACE"),))
    together = bench.at_once(bench.acl_trial("SHARE_WORKSPACE"), grouped)
    found = [judge_workspace(a, s) for a, s in zip(apart, together, strict=True)]
    says = "; ".join(
        f"card {card}: {one.says}" for card, one in zip((bench.card, other), found, strict=True)
    )
    held = all(one.verdict is Verdict.HELD for one in found)
    return Found.of(held, says, sum(map(largest, apart)), sum(map(largest, together)))


def _smallest_that_counts(paths: Sequence[str], alone: Taken) -> str:
    """A model of another workspace than the largest, if one is large enough to be told from noise.

    The last, which is as good as any, where files do not tell.
    """
    sizes = zip(alone.workspaces, paths, strict=True)
    known = [(nbytes, path) for nbytes, path in sizes if nbytes is not None and nbytes > NOISE]
    return min(known)[1] if known else paths[-1]


def ge_pair(bench: Bench) -> Found:
    """Two GE graphs of one session hold their constants once and reuse one memory."""
    bench.require("ge")
    common = _common_bytes(bench)
    if common == 0:
        raise UncheckedError(
            "the graphs have no parameter of one name, and a session shares no others: name two "
            "graphs of one network"
        )
    alone = bench.alone(bench.ge_trial(""))
    shared = bench.carried_out(bench.ge_trial("SHARE_WEIGHT"))
    return judge_session(alone, shared, common)


def _common_bytes(bench: Bench) -> int | None:
    """Bytes of constants that one session holds once for several of the GE graphs.

    They have one name and are the same in each. None where the files do not tell.

    Raises:
        UncheckedError: a name has other values in another graph.
    """
    seen: dict[str, Parameter] = {}
    common = 0
    for path in bench.ge:
        try:
            found = read_parameters(served_file(path, bench.kind))
        except (ValueError, OSError):
            return None
        for name, parameter in found.items():
            if name not in seen:
                seen[name] = parameter
            elif seen[name] == parameter:
                common += parameter.nbytes
            else:
                raise UncheckedError(
                    f"parameter {name} has other values in {Path(path).name} than in another "
                    "graph, and one session would answer with one of them for both: name two "
                    "graphs of one network"
                )
    return common


def ge_each_card(bench: Bench) -> Found:
    """A GE pair on each of two cards, in two processes, takes on each what it takes alone there."""
    bench.require("ge", "other")
    _common_bytes(bench)
    bench.alone(bench.ge_trial(""))
    trials = (bench.ge_trial("SHARE_WEIGHT"), bench.ge_trial("SHARE_WEIGHT", bench.other))
    alone = [bench.carried_out(trial) for trial in trials]
    _require_enough(*alone)
    apart, both = map(largest, alone), map(largest, bench.at_once(*trials))
    pairs = list(zip((trial.device_id for trial in trials), both, apart, strict=True))
    says = "; ".join(
        f"card {card}: {mib(now)} with both at the same time, {mib(before)} alone"
        for card, now, before in pairs
    )
    held = all(abs(now - before) <= NOISE for _, now, before in pairs)
    return Found.of(held, says, None, sum(now for _, now, _ in pairs))


def ge_beside_acl(bench: Bench) -> Found:
    """A GE pair and a group of ACL models in one process disturb neither memory nor results."""
    bench.require("acl", "ge")
    _common_bytes(bench)
    for trial in (bench.acl_trial(""), bench.ge_trial("")):
        bench.alone(trial)
    acl, ge = bench.acl_trial("SHARE_WORKSPACE"), bench.ge_trial("SHARE_WEIGHT")
    both = bench.carried_out(acl), bench.carried_out(ge)
    _require_enough(*both)
    apart = sum(map(largest, both))
    mixed = bench.carried_out(Trial(bench.kind, bench.card, acl.members + ge.members))
    different = _differences(
        {"ACL": (bench.acl_trial(""), mixed), "GE": (bench.ge_trial(""), mixed)}, bench
    )
    together = largest(mixed)
    says = f"{mib(together)} in one process, {mib(apart)} in two; "
    says += "; ".join(different) or "results as without sharing"
    return Found.of(together <= apart + NOISE and not different, says, None, together)


def _require_enough(*trials: Taken) -> None:
    """Raise UncheckedError where all that was taken is too little to be told from noise."""
    for taken in trials:
        if largest(taken) <= NOISE:
            raise UncheckedError(
                f"all that the models take is {mib(largest(taken))}, too little to count: use "
                "larger ones"
            )


def same_results(bench: Bench) -> Found:
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
    return Found.of(not different, says)


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


#: Every claim by its name, in the order in which they are checked.
CLAIMS: Mapping[str, Callable[[Bench], Found]] = {
    "one workspace": one_workspace,
    "one copy of weights, five groups": five_groups,
    "one copy of weights, one group": one_group,
    "a workspace for each card": each_card,
    "GE pair": ge_pair,
    GE_EACH_CARD: ge_each_card,
    MIXTURE: ge_beside_acl,
    SAME_RESULTS: same_results,
}
