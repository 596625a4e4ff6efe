"""Rules that span several sections. Each yields what it finds; places are those of the file."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from orchestrator.config.cards import Cards, Sharing, slot_parts
from orchestrator.config.findings import Finding, Loc, did_you_mean
from orchestrator.config.models import ModelSpec
from orchestrator.config.placement import Placement

_ONE_MACHINE = "local"


def deployment_findings(
    cards: Cards, sharing: Sharing, models: Sequence[ModelSpec], placement: Placement
) -> Iterator[Finding]:
    """Everything that is wrong between sections that are right in themselves."""
    if not models:
        yield Finding(("models",), "has no model: list at least one")
    if models and all(model.work_share == 0 for model in models):
        yield Finding(("models", 0, "work_share"), "no model has a share of a job's work")
    yield from _duplicate_names(models)
    yield from _sharing_on_cpu(cards, sharing, models)
    for index, model in enumerate(models):
        yield from (f.below(("models", index)) for f in _counts(model, cards))
        if model.allowed_kinds and cards.kind not in model.allowed_kinds:
            text = f"{' and '.join(model.allowed_kinds)}, and all cards are of kind {cards.kind}"
            yield Finding(("models", index, "allowed_kinds"), text)
        if placement.objective == "min_cards":
            yield from (f.below(("models", index)) for f in _demand(model, cards, placement))
    named, unknown = _group_names(models, placement)
    yield from unknown
    if not unknown:
        yield from _together_and_apart(named, placement)
        if not cards.mix_ge_and_acl and cards.kind != "cpu":
            yield from _mixed_providers(named, placement)
        yield from _spread(named, cards, placement)


def autoscale_findings(cards: Cards, min_cards: int) -> Iterator[Finding]:
    """The least number of cards against the most."""
    if cards.count is None:
        text = "needs cards.count, which is then the most cards that it may use"
        yield Finding(("autoscale",), text)
    elif min_cards > cards.count:
        text = f"{min_cards}, and cards.count, the most, is {cards.count}"
        yield Finding(("autoscale", "min_cards"), text)


def _duplicate_names(models: Sequence[ModelSpec]) -> Iterator[Finding]:
    names = [model.name for model in models]
    for index, name in enumerate(names):
        if name in names[:index]:
            first = names.index(name)
            yield Finding(
                ("models", index, "name"), f"{name!r} is also the name of models[{first}]"
            )


def _sharing_on_cpu(
    cards: Cards, sharing: Sharing, models: Sequence[ModelSpec]
) -> Iterator[Finding]:
    if cards.kind != "cpu":
        return
    sections: list[tuple[Loc, Sharing]] = [(("sharing",), sharing)]
    sections += [(("models", index, "sharing"), m.sharing) for index, m in enumerate(models)]
    for loc, section in sections:
        for key in ("workspace", "weights"):
            if getattr(section, key):
                yield Finding((*loc, key), "nothing is shared on cards of kind cpu")


def _counts(model: ModelSpec, cards: Cards) -> Iterator[Finding]:
    """Replicas and pins against the number of cards."""
    if cards.count is None:
        return
    most = max(model.replicas.min, model.replicas.max or 1)
    if most > cards.count:
        yield Finding(
            ("replicas",),
            f"{most} replicas, and cards.count is {cards.count}: each replica needs its own card",
        )
    for number, slot in enumerate(model.cards):
        node, index = slot_parts(slot) or ("", 0)
        if node == _ONE_MACHINE and index >= cards.count:
            yield Finding(
                ("cards", number),
                f"there is no {slot}: {cards.count} cards are local/0 to local/{cards.count - 1}",
            )


def _demand(model: ModelSpec, cards: Cards, placement: Placement) -> Iterator[Finding]:
    """Declared demand and time against the declared upper limit of replicas."""
    utilisation = placement.utilisation(batch=False)
    needed = model.replicas_needed(utilisation, cards.speed)
    limits = [limit for limit in (model.replicas.max, len(model.cards) or None) if limit]
    if needed is not None and limits and needed > min(limits):
        yield Finding(
            ("demand",),
            f"{model.demand:g} items/s of {(model.service_time or 0) * 1e3:g} ms at utilisation "
            f"{utilisation:g} need {needed} cards, and at most {min(limits)} are allowed by "
            "replicas and cards",
        )


def _group_names(
    models: Sequence[ModelSpec], placement: Placement
) -> tuple[dict[str, ModelSpec], list[Finding]]:
    """The models by name, and the names in ``placement`` that are no models."""
    named = {model.name: model for model in models}
    used: list[tuple[Loc, str]] = [
        (("placement", key, number, place), name)
        for key in ("affinity", "anti_affinity")
        for number, group in enumerate(getattr(placement, key))
        for place, name in enumerate(group)
    ]
    used += [(("placement", "spread", name), name) for name in placement.spread]
    return named, [
        Finding(loc, f"there is no model {name!r}{did_you_mean(name, named)}")
        for loc, name in used
        if name not in named
    ]


def _together_and_apart(named: dict[str, ModelSpec], placement: Placement) -> Iterator[Finding]:
    """Affinity against anti-affinity, and both against pins."""
    together = _joined(placement.affinity)
    for number, group in enumerate(placement.affinity):
        loc: Loc = ("placement", "affinity", number)
        pinned = [name for name in group if named[name].cards]
        common = set.intersection(*(set(named[name].cards) for name in pinned)) if pinned else {""}
        if not common:
            yield Finding(loc, f"{' and '.join(pinned)} are pinned to different cards")
    for number, group in enumerate(placement.anti_affinity):
        loc = ("placement", "anti_affinity", number)
        for first, second in itertools.combinations(group, 2):
            if together(first) == together(second):
                yield Finding(loc, f"{first} and {second} are also to be together, by affinity")
            elif len(pins := {*named[first].cards, *named[second].cards}) == 1 and (
                named[first].cards and named[second].cards
            ):
                yield Finding(loc, f"{first} and {second} are pinned to {pins.pop()} alone")


def _mixed_providers(named: dict[str, ModelSpec], placement: Placement) -> Iterator[Finding]:
    """A card runs ACL models or GE models, so that affinity cannot ask for both."""
    for number, group in enumerate(placement.affinity):
        by_provider = {named[name].provider: name for name in group}
        if len(by_provider) > 1:
            yield Finding(
                ("placement", "affinity", number),
                f"{by_provider['ge']} is of provider ge and {by_provider['acl']} of provider acl: "
                "one card runs both only with cards.mix_ge_and_acl: true",
            )


def _joined(groups: Sequence[Sequence[str]]) -> Callable[[str], str]:
    """Which set a name belongs to when groups that overlap are one."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.get(name, name) != name:
            name = parent[name]
        return name

    for group in groups:
        for name in group[1:]:
            parent[root(name)] = root(group[0])
    return root


def _spread(named: dict[str, ModelSpec], cards: Cards, placement: Placement) -> Iterator[Finding]:
    for name, nodes in placement.spread.items():
        model = named[name]
        limits = [limit for limit in (model.replicas.max, cards.count) if limit]
        if limits and nodes > min(limits):
            yield Finding(
                ("placement", "spread", name),
                f"{nodes} nodes need {nodes} replicas, and there can be {min(limits)}",
            )
        pinned = {(slot_parts(slot) or ("", 0))[0] for slot in model.cards}
        if pinned and nodes > len(pinned):
            yield Finding(
                ("placement", "spread", name),
                f"{nodes} nodes, and cards pins it to {len(pinned)} ({', '.join(sorted(pinned))})",
            )
