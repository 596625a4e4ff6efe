"""An independent judge of plans: standard library only, no planner code, public JSON only."""

import math

TOLERANCE = 1e-6


def memory(card, models, share):
    """Bytes on a card: the sums, the largest shared workspace, everyone's own."""
    total, largest, sized = card.get("overhead_bytes", 0), 0, 0
    for model in models:
        threads = model.get("threads", 1)
        total += model["weight_bytes"] * (1 if model.get("share_weights", True) else threads)
        total += threads * (model["io_bytes"] + model.get("object_bytes", 0))
        if share and model.get("share_workspace", True) and not model.get("dynamic", False):
            largest = max(largest, model["workspace_bytes"])
        else:
            total += threads * model["workspace_bytes"]
            if model.get("widens_workspace", False):
                sized = max(sized, model["workspace_bytes"])
    return total + (max(largest, sized) if largest else 0)


def check(problem, plan):
    """Every rule that the plan breaks, as text; empty for a valid plan."""
    models = {m["name"]: m for m in problem["models"]}
    cards = {c["name"]: c for c in problem["cards"]}
    broken = _names(plan, models, cards)
    if broken:
        return broken
    held = {entry["card"]: entry for entry in plan["plan"] if entry["models"]}
    broken += _cards(held, models, cards)
    broken += _replicas(held, models, cards)
    for group in problem.get("affinity", []):
        if len({frozenset(c for c in held if m in held[c]["models"]) for m in group}) > 1:
            broken.append(f"affinity {group}")
    for group in problem.get("anti_affinity", []):
        for entry in held.values():
            if len(set(group) & set(entry["models"])) > 1:
                broken.append(f"anti_affinity {group} on {entry['card']}")
    return broken + _loads(problem, plan, held, models, cards)


def _names(plan, models, cards):
    broken, seen = [], set()
    for entry in plan["plan"]:
        if entry["card"] not in cards:
            broken.append(f"unknown card {entry['card']}")
        if entry["card"] in seen:
            broken.append(f"card {entry['card']} twice")
        seen.add(entry["card"])
        if len(set(entry["models"])) < len(entry["models"]):
            broken.append(f"duplicate model on {entry['card']}")
        broken += [f"unknown model {m}" for m in entry["models"] if m not in models]
    return broken


def _cards(held, models, cards):
    broken = []
    for name, entry in held.items():
        card, members = cards[name], [models[m] for m in entry["models"]]
        share = entry.get("share_workspace", True)
        if memory(card, members, share) > card["capacity_bytes"] - card.get("reserve_bytes", 0):
            broken.append(f"overfull {name}")
        streams = sum(m.get("streams", 0) * m.get("threads", 1) for m in members)
        if card.get("streams") is not None and streams > card["streams"]:
            broken.append(f"streams {name}")
        for m in members:
            kinds, types, pins = m.get("allowed_kinds"), m.get("allowed_types"), m.get("cards")
            if kinds is not None and card["kind"] not in kinds:
                broken.append(f"kind of {name} for {m['name']}")
            if types is not None and card.get("type") not in types:
                broken.append(f"type of {name} for {m['name']}")
            if pins is not None and name not in pins:
                broken.append(f"pin of {m['name']}")
        if share:
            broken += _delays(card, members)
    return broken


def _delays(card, members):
    sharing = [m for m in members if m.get("share_workspace", True) and not m.get("dynamic")]
    broken = []
    for m in sharing:
        for other in sharing:
            batch = other.get("batch_ms")
            time = other.get("service_ms", 0) if batch is None else batch
            limit = m.get("max_delay_ms")
            if m is not other and limit is not None and time / card.get("speed", 1) > limit:
                broken.append(f"max_delay of {m['name']} beside {other['name']}")
    return broken


def _replicas(held, models, cards):
    broken, places = [], {name: [] for name in models}
    for card, entry in held.items():
        for name in entry["models"]:
            places[name].append(card)
    for name, m in models.items():
        on = places[name]
        most = m.get("max_replicas")
        if len(on) < m.get("min_replicas", 1) or (most is not None and len(on) > most):
            broken.append(f"replicas of {name}: {len(on)}")
        spread = m.get("spread_nodes", 1)
        if spread > 1 and len({cards[c]["node"] for c in on}) < spread:
            broken.append(f"spread of {name}")
    return broken


def _loads(problem, plan, held, models, cards):
    broken, served, busy, seen = [], dict.fromkeys(models, 0.0), {}, set()
    for load in plan["loads"]:
        model, card, rps = load["model"], load["card"], load["rps"]
        if card not in held or model not in held[card]["models"]:
            broken.append(f"load of {model} on {card}: no replica")
            continue
        if (model, card) in seen:
            broken.append(f"load of {model} on {card}: twice")
        seen.add((model, card))
        if not math.isfinite(rps) or rps < 0:
            broken.append(f"load of {model} on {card}: {rps}")
            continue
        share = held[card].get("share_workspace", True)
        gain = 1.0 if share else models[model].get("overlap", 1.0)
        speed = cards[card].get("speed", 1) * gain
        served[model] += rps
        busy[card] = busy.get(card, 0.0) + rps * models[model].get("service_ms", 0) / 1000 / speed
    limit = problem.get("max_utilisation", 1.0) * (1 + TOLERANCE)
    broken += [f"busy {card}: {share}" for card, share in busy.items() if share > limit]
    ratios = [
        served[name] / m["demand_rps"] for name, m in models.items() if m.get("demand_rps", 0) > 0
    ]
    return broken + _values(problem, plan, held, min(ratios, default=None))


def _values(problem, plan, held, alpha):
    broken = []
    stated = plan["alpha"]
    if alpha is None or stated is None:
        wrong = alpha is not stated
    else:
        wrong = abs(alpha - stated) > TOLERANCE * max(1, abs(alpha))
    if wrong:
        broken.append(f"alpha {stated}, found {alpha}")
    if plan["objective"] != problem["objective"] or plan["cards_used"] != len(held):
        broken.append("objective or cards_used")
    if problem["objective"] == "min_cards":
        if alpha is not None and alpha < 1 - TOLERANCE:
            broken.append(f"alpha {alpha} below 1")
        if plan["value"] != len(held) or plan["bound"] > plan["value"] * (1 + TOLERANCE):
            broken.append(f"value {plan['value']}, bound {plan['bound']}")
    elif alpha is not None and (
        plan["value"] != plan["alpha"] or plan["bound"] < plan["value"] * (1 - TOLERANCE)
    ):
        broken.append(f"value {plan['value']}, bound {plan['bound']}")
    return broken
