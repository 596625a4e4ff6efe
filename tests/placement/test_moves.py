"""What a change costs is counted alike by the plan, its curve, its steps and the limit on moves."""

from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.errors import PlanRefusedError
from orchestrator.placement import Change, Problem, explain, plan_diff, solve
from orchestrator.placement.problem import PreviousCard
from orchestrator.placement.refusal import only
from tests.placement.build import MIB, cards, model, problem
from tests.placement.checker import check
from tests.placement.worlds import problems


def solved(data, **options):
    try:
        return solve(data, budget=150, **options)
    except PlanRefusedError:
        return None


def counted(data, plan):
    """Moves, restarts and bytes, from nothing but the two placements."""
    before = {old.card: old for old in data.previous_plan}
    weights = {m.name: m.weight_bytes * (1 if m.share_weights else m.threads) for m in data.models}
    moves = restarts = nbytes = 0
    for card in plan.cards:
        old = before.get(card.card, PreviousCard(card.card, ()))
        held = {*old.models, *old.ended}
        moves += len(set(card.models) - held)
        if set(card.models) != held or old.share_workspace not in (None, card.share_workspace):
            restarts += bool(held)
            nbytes += sum(weights[name] for name in card.models)
    return moves, restarts, nbytes


@settings(deadline=None, max_examples=60)
@given(problems(), st.data())
def test_moves_are_counted_alike_and_the_limit_keeps_to_them(found, draw):
    first = Problem.from_dict({**found, "previous_plan": []})
    plan = solved(first)
    assume(plan is not None and plan.cards)
    running = tuple(PreviousCard(c.card, c.models, c.share_workspace) for c in plan.cards)
    factors = [draw.draw(st.sampled_from((0.3, 1.0, 1.6))) for _ in first.models]
    models = tuple(
        replace(m, demand_rps=m.demand_rps * by)
        for m, by in zip(first.models, factors, strict=True)
    )
    names = [model.name for model in models]
    kept = draw.draw(st.lists(st.sampled_from(names), min_size=len(names) // 2 + 1, unique=True))
    data = Change(running).of(only(replace(first, models=models), kept))
    free = solved(data)
    for limit in (None, 0, 1, 2, 3):
        new = solved(data, moves=limit) if limit is not None else free
        if new is None:
            continue
        assert check(data.to_dict(), new.to_dict()) == []
        assert limit is None or new.moves <= limit
        assert (new.moves, new.restarts, new.bytes_loaded) == counted(data, new)
        steps = plan_diff(data, new)
        assert (steps.moves, steps.restarts) == (new.moves, new.restarts)
        stand_ins = sum(
            first_weights(data, step.models)
            for step in steps.steps
            if step.stone and step.action == "start"
        )
        assert steps.nbytes - stand_ins == new.bytes_loaded
        assert [point.moves for point in new.curve] == sorted({p.moves for p in new.curve})
        assert f"{new.moves} replicas move, {new.restarts} cards restart" in explain(data, new)
        assert any(
            (p.moves, p.restarts, p.bytes_loaded) == (new.moves, new.restarts, new.bytes_loaded)
            for p in new.curve
        )


def first_weights(data, names):
    return sum(m.footprint.weight_total for m in data.models if m.name in names)


def test_a_group_that_moves_is_as_many_moves_as_it_has_models():
    """Two pairs on one card: one pair's way to the other card is two moves, not one."""
    models = [model(name, 10, service_ms=10, demand_rps=30) for name in "abcd"]
    held = [{"card": "local/0", "models": list("abcd")}]
    data = Problem.from_dict(
        problem(
            models,
            cards(2, 60),
            objective="max_alpha",
            affinity=[["a", "b"], ["c", "d"]],
            previous_plan=held,
        )
    )
    assert solve(data, moves=1).moves == 0
    both = solve(data, moves=2)
    # The first card keeps all four: without the pair that works elsewhere it would be restarted.
    assert (both.moves, both.restarts, both.bytes_loaded) == (2, 0, 20 * MIB)
    assert both.alpha > 1.6 > solve(data, moves=1).alpha
