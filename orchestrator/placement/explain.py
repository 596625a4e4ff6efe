"""A plan in words: for every replica its card, its bytes by part, and why not the other cards."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from actors.memory import CardMemory, card_memory, unshared
from actors.messages import NOTHING_SHARED
from orchestrator.inventory import Card
from orchestrator.placement.board import Tally, forbidden, joined, overfull
from orchestrator.placement.groups import Group, World, natural, world
from orchestrator.placement.plan import Plan
from orchestrator.placement.problem import Model, Problem
from orchestrator.placement.verify import tally_in
from orchestrator.units import format_bytes

#: Cards whose reasons are written out for one replica; the rest are counted by kind of reason.
_CARDS_SHOWN = 8


@dataclass(frozen=True)
class Rejection:
    """Why one card was not taken: ``kind`` for programs, ``text`` for people."""

    card: str
    kind: str
    text: str


@dataclass(frozen=True)
class ReplicaReason:
    """One replica: where it is, what it takes there, and why not elsewhere.

    ``workspace`` is what the model needs; if ``shared``, inside the card's, which ``sized_by`` set.
    ``widening``: the card's workspace, if it is as large as that only because this model, which
    does not use it, is sized along with those that do. ``timing``: of what time the items are, and
    in which batches.
    """

    model: str
    index: int
    card: str
    weights: int
    workspace: int
    io: int
    objects: int
    shared: bool
    sized_by: str | None
    rps: float
    rejected: tuple[Rejection, ...]
    widening: int = 0
    timing: str = ""

    @property
    def total(self) -> int:
        """Bytes that the card would save without this replica, other members left as they are."""
        own = 0 if self.shared and self.sized_by != self.model else self.workspace
        return self.weights + own + self.widening + self.io + self.objects


def reasons(problem: Problem, plan: Plan) -> tuple[ReplicaReason, ...]:
    """Every replica of the plan with its reasons, judged against the finished plan."""
    scene = world(problem)
    tallies = {card.name: tally_in(problem, plan, card.name) for card in scene.cards}
    found = []
    for group in sorted(scene.groups, key=lambda group: natural(group.name)):
        for model in group.models:
            slots = sorted(plan.replicas(model.name), key=natural)
            rejected = _rejections(scene, plan, group, slots, tallies)
            for index, slot in enumerate(slots):
                others = tuple(
                    Rejection(other, "replica", f"holds {model.name}/{number}")
                    for number, other in enumerate(slots)
                    if other != slot
                )
                both = sorted((*others, *rejected), key=lambda r: natural(r.card))
                reason = _reason(plan, model, index, tallies[slot], tuple(both))
                found.append(replace(reason, timing=_timing(problem, model)))
    return tuple(found)


def explain(problem: Problem, plan: Plan, *, headed: bool = True) -> str:
    """The whole explanation as text; without its headline where that is above it already."""
    lines = [headline(problem, plan)] if headed else []
    origins, versions = dict(plan.origins), dict(plan.versions)
    for reason in reasons(problem, plan):
        about = (origins.get(reason.model), versions.get(reason.model))
        lines.append(_replica_line(reason, ", ".join(filter(None, about))))
        shown = reason.rejected[:_CARDS_SHOWN]
        lines += [f"  {rejection.card}  {rejection.text}" for rejection in shown]
        rest = Counter(rejection.kind for rejection in reason.rejected[_CARDS_SHOWN:])
        if rest:
            kinds = ", ".join(f"{count} {kind}" for kind, count in rest.most_common())
            lines.append(f"  and {sum(rest.values())} more cards: {kinds}")
    lines += [_card_line(problem, plan, held.card) for held in plan.cards]
    estimated = sorted(name for name, origin in origins.items() if "estimated" in origin)
    if estimated:
        lines.append(f"note: sizes of {', '.join(estimated)} are estimated, not measured")
    if plan.moves is not None:
        lines.append(moved(plan))
    lines.append(quality(plan))
    return "\n".join(lines)


def headline(problem: Problem, plan: Plan) -> str:
    """One line: what was placed where, to what end."""
    name = f"{problem.name}: " if problem.name else ""
    replicas = sum(len(card.models) for card in plan.cards)
    text = (
        f"{name}{len(problem.models)} models, {replicas} replicas on {plan.cards_used} of "
        f"{len(problem.cards)} cards ({plan.objective})"
    )
    if plan.alpha is None:
        return text
    if problem.job:
        return f"{text}, does {plan.alpha:.4g} records/s"
    return f"{text}, serves {plan.alpha:.4g} x the demand"


def sharing_note(problem: Problem) -> str:
    """What the cards cannot share, in one line; empty where they can share everything."""
    if any(card.kind == "cpu" for card in problem.cards):
        return NOTHING_SHARED
    names = [m.name for m in problem.models if not (m.weight_bytes or m.share_workspace)]
    if not names:
        return ""
    return (
        f"without weights: {', '.join(names)}, which the library does not group, so that each "
        "thread has a workspace of its own"
    )


def moved(plan: Plan) -> str:
    """One line: what the change from the previous plan takes."""
    return (
        f"against the previous plan: {plan.moves} replicas move, {plan.restarts} cards restart, "
        f"{format_bytes(plan.bytes_loaded or 0)} of weights are loaded"
    )


def quality(plan: Plan) -> str:
    """One line: how far the plan may be from the best there is."""
    if plan.value is None or plan.bound is None or plan.gap is None:
        return f"no bound: {plan.stop_reason}"
    what = (
        "no plan uses fewer cards than"
        if plan.objective == "min_cards"
        else "no plan serves more than"
    )
    return f"{what} {plan.bound:.6g} ({plan.bound_name}): gap {plan.gap:.2%}, {plan.stop_reason}"


def unshared_memory(card: Card, models: Sequence[Model]) -> CardMemory:
    """The card's bytes if every thread had weights and workspace of its own."""
    return card_memory((unshared(model.footprint) for model in models), card.overhead_bytes)


def sized_by(tally: Tally) -> str | None:
    """The model that the card's shared workspace is sized to; the first by name of several."""
    if not tally.memory.workspace:
        return None
    return max(tally.models, key=lambda model: model.footprint.sized).name


def _reason(
    plan: Plan, model: Model, index: int, tally: Tally, rejected: tuple[Rejection, ...]
) -> ReplicaReason:
    used, slot = model.footprint, tally.card.name
    shared = used.shares and tally.share
    return ReplicaReason(
        model=model.name,
        index=index,
        card=slot,
        weights=used.weight_total,
        workspace=used.workspace * (1 if shared else model.threads),
        io=used.io_total,
        objects=used.object_total,
        shared=shared,
        sized_by=sized_by(tally) if shared else None,
        rps=plan.at_demand.get((model.name, slot), 0.0),
        rejected=rejected,
        widening=tally.memory.workspace if not shared and sized_by(tally) == model.name else 0,
    )


def _timing(problem: Problem, model: Model) -> str:
    """What one item takes of a card of speed 1, and how many are joined."""
    text = f"of {model.service_ms:.3g} ms"
    if model.batch_rows is not None and model.batch_time_ms > model.service_ms:
        text += f" in batches of {model.batch_rows:.3g}"
    return f"{text}, {model.demand_rps:g} a record" if problem.job else text


def _rejections(
    scene: World, plan: Plan, group: Group, slots: Sequence[str], tallies: Mapping[str, Tally]
) -> list[Rejection]:
    found = []
    for slot, tally in tallies.items():
        if slot in slots:
            continue
        obstacle = forbidden(scene, group, tally) or overfull(tally, joined(tally, group.models))
        if obstacle:
            found.append(Rejection(slot, obstacle.kind, f"rejected: {obstacle.text}"))
        else:
            kind, text = _not_needed(plan, group, slots, tally)
            found.append(Rejection(slot, kind, f"not taken: {text}"))
    return found


def _not_needed(plan: Plan, group: Group, slots: Sequence[str], tally: Tally) -> tuple[str, str]:
    """Why a card that could hold the group does not: a word and a sentence."""
    if group.high is not None and len(slots) >= group.high:
        return "limit", f"fits, but {group.high} replicas are all that is allowed"
    if plan.objective == "min_cards" and not tally.models:
        return "unused", "fits, but would be one card more"
    if group.work == 0:
        return "spare", "fits, but without demand no further replica is needed"
    if plan.objective == "min_cards":
        return "spare", "fits, but the demand is served without it"
    return "spare", "fits, but no gain in alpha was found there"


def _replica_line(reason: ReplicaReason, about: str) -> str:
    if not reason.workspace:
        workspace = ""
    elif not reason.shared:
        workspace = f" + workspace {format_bytes(reason.workspace)} of its own"
        if reason.widening:
            workspace += f" + {format_bytes(reason.widening)} (the shared one, sized for it too)"
    elif reason.sized_by == reason.model:
        workspace = f" + workspace {format_bytes(reason.workspace)} (the shared one)"
    else:
        workspace = (
            f" + workspace {format_bytes(reason.workspace)} inside that of {reason.sized_by}"
        )
    objects = f" + objects {format_bytes(reason.objects)}" if reason.objects else ""
    load = f", {reason.rps:.4g} items/s {reason.timing}" if reason.rps else ""
    source = f" [{about}]" if about else ""
    return (
        f"{reason.model}/{reason.index} -> {reason.card}  {format_bytes(reason.total)}  "
        f"weights {format_bytes(reason.weights)}{workspace} + io {format_bytes(reason.io)}"
        f"{objects}{load}{source}"
    )


def _card_line(problem: Problem, plan: Plan, slot: str) -> str:
    tally = tally_in(problem, plan, slot)
    used, usable = tally.memory.total, tally.card.usable_bytes
    free = format_bytes(usable - used)
    text = f"card {slot}: {format_bytes(used)} of {format_bytes(usable)}, {free} free"
    saved = unshared_memory(tally.card, tally.models).total - used
    if saved > 0:
        text += f"; without any sharing {format_bytes(saved)} more"
    members = [model.name for model in tally.models if tally.share and model.footprint.shares]
    if len(members) > 1:
        text += f"; {', '.join(members)} share one workspace and run one at a time"
    return text
