"""Random problems as public JSON, and the true optimum of tiny ones by trying everything."""

import itertools

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import linprog

from tests.placement.checker import check

KINDS = ("ascend", "cpu", "emulated")


@st.composite
def problems(draw, most_models=7, most_cards=5, objectives=("min_cards", "max_alpha")):
    """A problem with every constraint that the format has, each more often absent than not."""
    names = [f"m{i}" for i in range(draw(st.integers(1, most_models)))]
    slots = [f"n{i % 2}/{i}" for i in range(draw(st.integers(1, most_cards)))]
    problem = {
        "objective": draw(st.sampled_from(objectives)),
        "models": [draw(_models(name, slots)) for name in names],
        "cards": [draw(_cards(slot)) for slot in slots],
    }
    if len(names) > 1 and draw(st.integers(0, 3)) == 0:
        problem["affinity"] = [names[:2]]
    if len(names) > 3 and draw(st.integers(0, 3)) == 0:
        problem["anti_affinity"] = [names[2:4]]
    scale = draw(st.sampled_from([1.0, 1.0, 1e-6, 1e6]))
    if problem["objective"] == "max_alpha":
        for model in problem["models"]:
            if "demand_rps" in model:
                model["demand_rps"] *= scale
    if draw(st.booleans()):
        problem["max_utilisation"] = draw(st.sampled_from([0.5, 0.85]))
    if draw(st.integers(0, 3)) == 0:
        problem["previous_plan"] = [
            {
                "card": slot,
                "models": draw(st.lists(st.sampled_from(names), unique=True)),
                "ended": draw(st.sampled_from([[], [], ["gone"]])),
            }
            for slot in slots
        ]
    return problem


@st.composite
def _models(draw, name, slots):
    model = {
        "name": name,
        "weight_bytes": draw(st.integers(0, 40)),
        "workspace_bytes": draw(st.integers(0, 60)),
        "io_bytes": draw(st.integers(0, 5)),
    }
    rare = {
        "dynamic": st.just(True),
        "threads": st.integers(1, 3),
        "min_replicas": st.sampled_from([0, 0, 1, 2]),
        "share_weights": st.just(False),
        "share_workspace": st.just(False),
        "overlap": st.sampled_from([0.9, 1.2, 1.5]),
        "object_bytes": st.integers(0, 3),
        "streams": st.integers(0, 2),
        "max_delay_ms": st.sampled_from([2.0, 10.0]),
        "batch_ms": st.sampled_from([1.0, 20.0]),
        "spread_nodes": st.just(2),
        "max_replicas": st.integers(2, 3),
        "allowed_kinds": st.sampled_from([["ascend"], ["ascend", "emulated"]]),
        "allowed_types": st.just(["big", "small"]),
        "cards": st.just(slots[:2]),
        "widens_workspace": st.just(True),
    }
    for key, values in rare.items():
        if draw(st.integers(0, 7)) == 0:
            model[key] = draw(values)
    if draw(st.booleans()):
        model["demand_rps"] = draw(st.sampled_from([5.0, 20.0, 60.0]))
        model["service_ms"] = draw(st.sampled_from([1.0, 5.0, 15.0]))
    return model


@st.composite
def _cards(draw, slot):
    card = {
        "name": slot,
        "node": slot.partition("/")[0],
        "kind": draw(st.sampled_from(["ascend", "ascend", "emulated", "cpu"])),
        "capacity_bytes": draw(st.sampled_from([80, 120, 250])),
    }
    rare = {
        "type": st.sampled_from(["big", "small"]),
        "overhead_bytes": st.integers(0, 10),
        "reserve_bytes": st.integers(0, 10),
        "streams": st.integers(2, 8),
        "speed": st.sampled_from([0.5, 2.0]),
    }
    for key, values in rare.items():
        if draw(st.integers(0, 4)) == 0:
            card[key] = draw(values)
    return card


def optimum(problem):
    """The best value of any placement: cards used or alpha; None when nothing is valid.

    Tries every set of models on every card, with the workspace shared or not; loads by one linear
    program per placement, written for this test.
    """
    names = [m["name"] for m in problem["models"]]
    slots = [c["name"] for c in problem["cards"]]
    subsets = [s for n in range(len(names) + 1) for s in itertools.combinations(names, n)]
    best = None
    for choice in itertools.product(subsets, repeat=len(slots)):
        used = [i for i, s in enumerate(choice) if s]
        for shares in itertools.product((True, False), repeat=len(used)):
            entries = [
                {"card": slots[i], "models": list(choice[i]), "share_workspace": share}
                for i, share in zip(used, shares, strict=True)
            ]
            if _breaks_a_rule(problem, entries):
                continue
            value = _value(problem, entries)
            if value is not None:
                better = min if problem["objective"] == "min_cards" else max
                best = value if best is None else better(best, value)
    return best


def _breaks_a_rule(problem, entries):
    quiet = [{**m, "demand_rps": 0} for m in problem["models"]]
    plan = {
        "plan": entries,
        "loads": [],
        "objective": "max_alpha",
        "value": None,
        "alpha": None,
        "bound": None,
        "cards_used": len(entries),
    }
    return check({**problem, "models": quiet, "objective": "max_alpha"}, plan)


def _value(problem, entries):
    alpha = _alpha(problem, entries)
    if problem["objective"] == "min_cards":
        return len(entries) if alpha is None or alpha >= 1 - 1e-9 else None
    return alpha or 0.0


def _alpha(problem, entries):
    models = {m["name"]: m for m in problem["models"] if m.get("demand_rps", 0) > 0}
    cards = {c["name"]: c for c in problem["cards"]}
    if not models:
        return None
    pairs = [(m, e) for e in entries for m in e["models"] if m in models]
    serve = np.zeros((len(models), len(pairs) + 1))
    fill = np.zeros((len(entries), len(pairs) + 1))
    for column, (name, entry) in enumerate(pairs):
        gain = 1.0 if entry["share_workspace"] else models[name].get("overlap", 1.0)
        speed = cards[entry["card"]].get("speed", 1.0) * gain
        serve[list(models).index(name), column] = 1
        fill[entries.index(entry), column] = models[name]["service_ms"] / 1000 / speed
    # Demands as shares of the largest, so that the solver sees numbers near 1.
    most = max(m["demand_rps"] for m in models.values())
    serve[:, -1] = [-m["demand_rps"] / most for m in models.values()]
    limits = np.full(len(entries), problem.get("max_utilisation", 1.0))
    aim = np.zeros(len(pairs) + 1)
    aim[-1] = -1
    return linprog(aim, fill, limits, serve, np.zeros(len(models))).x[-1] / most
