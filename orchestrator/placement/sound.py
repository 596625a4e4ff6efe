"""What a problem must not say: unknown names, duplicates, rules that contradict each other."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import get_args

from actors.memory import CardMemory
from actors.messages import CardKind
from orchestrator.placement.groups import merge
from orchestrator.placement.problem import Problem
from orchestrator.placement.strict import Findings, did_you_mean

_NAMES_SHOWN = 8
_KINDS: tuple[str, ...] = get_args(CardKind)
#: More bytes of a card for one model, and more cards for all demand, are slips of the finger.
_MOST_BYTES, _MOST_CARDS = 1 << 50, 1e8
#: So are cards that do less than this, in card-seconds a second.
_LEAST_SPEED = 1e-9


def contradictions(problem: Problem) -> tuple[str, ...]:
    """One line for each thing that is wrong; none for a sound problem."""
    findings = Findings()
    _names(problem, findings)
    _models(problem, findings)
    _cards(problem, findings)
    if not findings.lines:
        _groups(problem, findings)
    return tuple(findings.lines)


def _names(problem: Problem, findings: Findings) -> None:
    models = [model.name for model in problem.models]
    cards = [card.name for card in problem.cards]
    for what, names in (("models", models), ("cards", cards)):
        if not names:
            findings.add(what, "the list is empty")
        _once(what, names, findings)
    for where, groups in (("affinity", problem.affinity), ("anti_affinity", problem.anti_affinity)):
        for index, group in enumerate(groups):
            if not group:
                findings.add(f"{where}[{index}]", "names no model")
            _known(f"{where}[{index}]", group, models, "model", findings)
            _once(f"{where}[{index}]", group, findings)
    for model in problem.models:
        where = f"models ({model.name})"
        _known(f"{where}: cards", model.cards or (), cards, "card", findings)
        _known(f"{where}: allowed_kinds", model.allowed_kinds or (), _KINDS, "kind", findings)
        for key in ("cards", "allowed_kinds", "allowed_types"):
            _once(f"models ({model.name}): {key}", getattr(model, key) or (), findings)
    for index, old in enumerate(problem.previous_plan):
        _known(f"previous_plan[{index}]", (old.card,), cards, "card", findings)
        _known(f"previous_plan[{index}]", old.models, models, "model", findings)
        _once(f"previous_plan[{index}]", old.models, findings)
        _once(f"previous_plan[{index}]: ended", old.ended, findings)
        if still := sorted(set(old.ended).intersection(models)):
            text = f"{', '.join(still)} is not ended: the problem has it"
            findings.add(f"previous_plan[{index}]", text)
    _once("previous_plan", [old.card for old in problem.previous_plan], findings)


def _once(where: str, names: Iterable[str], findings: Findings) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            findings.add(where, f"the name {name!r} is given {count} times")


def _models(problem: Problem, findings: Findings) -> None:
    for model in problem.models:
        where = f"models ({model.name})"
        most = model.max_replicas
        if most is not None and most < model.min_replicas:
            findings.add(
                where, f"min_replicas {model.min_replicas} is more than max_replicas {most}"
            )
        if most is not None and most < model.spread_nodes:
            findings.add(
                where, f"spread_nodes {model.spread_nodes} is more than max_replicas {most}"
            )
        if model.demand_rps > 0 and model.service_ms == 0:
            findings.add(where, f"demand_rps {model.demand_rps:g} needs a service_ms above 0")
        for key, what in (("cards", "card"), ("allowed_kinds", "kind"), ("allowed_types", "type")):
            if getattr(model, key) == ():
                findings.add(where, f"{key} is an empty list: leave it out or name a {what}")
        used = CardMemory().plus(model.footprint)
        if used.total > _MOST_BYTES:
            text = f"takes {used.total:,} bytes of a card ({used.parts()}, {model.threads} threads)"
            findings.add(where, f"{text}: no card has more than {_MOST_BYTES:,}")
    work = sum(model.work for model in problem.models)
    fastest = max((card.speed for card in problem.cards), default=1.0)
    if work > _MOST_CARDS * fastest:
        text = f"the demand of all takes {work / fastest:.3g} of the fastest cards"
        findings.add("models", f"{text}, more than {_MOST_CARDS:.0g}: check demand_rps, service_ms")


def _cards(problem: Problem, findings: Findings) -> None:
    for card in problem.cards:
        speed = card.speed * problem.max_utilisation
        if speed < _LEAST_SPEED:
            text = f"does {speed:.3g} of a card's work, less than {_LEAST_SPEED:.0g}"
            findings.add(f"cards ({card.name})", f"{text}: check speed, max_utilisation")


def _groups(problem: Problem, findings: Findings) -> None:
    """Affinity against anti-affinity, and against replica limits that its members do not share."""
    together = merge([model.name for model in problem.models], problem.affinity)
    by_name = {model.name: model for model in problem.models}
    for group in together:
        members = [by_name[name] for name in group]
        for index, apart in enumerate(problem.anti_affinity):
            both = sorted(set(group) & set(apart))
            if len(both) > 1:
                findings.add(
                    f"anti_affinity[{index}]",
                    f"{' and '.join(both)} must stay apart, but affinity puts them together",
                )
        low = max(model.replicas_needed for model in members)
        high = min((model.max_replicas for model in members if model.max_replicas), default=low)
        if low > high:
            findings.add(
                "affinity",
                f"{', '.join(group)} occupy the same cards, but one needs {low} replicas "
                f"and another may have {high}",
            )


def _known(
    where: str, names: Iterable[str], known: Sequence[str], what: str, findings: Findings
) -> None:
    there = set(known)
    for name in names:
        if name not in there:
            hint = did_you_mean(name, known) if what != "card" else ""
            shown = ", ".join(known[:_NAMES_SHOWN]) + (", ..." if len(known) > _NAMES_SHOWN else "")
            findings.add(where, f"no {what} is called {name!r}{hint or f' (there are: {shown})'}")
