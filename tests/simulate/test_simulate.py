"""A plan under a load, by the rules that deployments run with: shares, tails, losses."""

import pytest

from actors.queue import Terms
from orchestrator import Deployment, Inventory, plan_deployment
from orchestrator.dispatch import Route
from orchestrator.profiles import ProfileCache, collect
from orchestrator.simulate import (
    BatchTimes,
    Death,
    Slower,
    Source,
    World,
    demand_of,
    simulate,
)
from tests.models import write_mlp

HEAVY, LIGHT = 0.05, 0.002


def world(*slots: str, seconds: float = 0.01, most: int = 1, threads: int = 2) -> World:
    """Model ``hot`` alone on so many cards of speed 1."""
    gears = tuple((rows, seconds * rows) for rows in sorted({1, most}))
    return World(
        models={"hot": BatchTimes(gears, most, threads)},
        speeds=dict.fromkeys(slots, 1.0),
        terms={slot: {"hot": Terms()} for slot in slots},
        routes=tuple(Route("hot", slot, row_seconds=seconds) for slot in slots),
    )


def shared(share: float = 0.5, max_wait: float = 0.0) -> World:
    """``light`` and ``heavy`` on one card, which they share in turns."""
    return World(
        models={
            "light": BatchTimes(((1, LIGHT),), threads=2),
            "heavy": BatchTimes(((1, HEAVY),), threads=2),
        },
        speeds={"n/0": 1.0},
        terms={"n/0": {"light": Terms(max_wait, share), "heavy": Terms(max_wait, 1 - share)}},
        routes=(
            Route("light", "n/0", row_seconds=LIGHT, rows_per_call=2),
            Route("heavy", "n/0", row_seconds=HEAVY, rows_per_call=2),
        ),
    )


def test_equal_seeds_give_equal_outcomes_and_others_do_not() -> None:
    one, same, other = (simulate(world("n/0"), [Source("hot", 50)], 20, seed=s) for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_an_idle_card_answers_in_the_time_of_a_batch_and_the_way() -> None:
    seen = simulate(world("n/0"), [Source("hot", 0.5)], 200)
    assert seen.models["hot"].latency(0.5) == pytest.approx(0.011, abs=1e-6)
    assert seen.busy["n/0"] == pytest.approx(0.005, rel=0.3)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_a_card_is_as_busy_as_its_load_and_waits_as_theory_says(load: float) -> None:
    """One server, constant service, random arrivals: the mean wait is s * load / (2 - 2 * load)."""
    seen = simulate(world("n/0"), [Source("hot", load / 0.01)], 200)
    assert seen.busy["n/0"] == pytest.approx(load, rel=0.03)
    latencies = seen.models["hot"].latencies
    mean = sum(latencies) / len(latencies) - 0.011
    assert mean == pytest.approx(0.01 * load / (2 - 2 * load), rel=0.25)


def test_batches_carry_what_single_requests_could_not() -> None:
    """A batch of 8 takes no longer than one of 1: 300 requests a second need batches."""
    joined = World(
        models={"hot": BatchTimes(((1, 0.01), (8, 0.01)), most=8, threads=2)},
        speeds={"n/0": 1.0},
        terms={"n/0": {"hot": Terms()}},
        routes=(Route("hot", "n/0", row_seconds=0.01 / 8, rows_per_call=6),),
    )
    seen = simulate(joined, [Source("hot", 300)], 30).models["hot"]
    assert seen.answered / seen.arrived > 0.99
    alone = simulate(world("n/0"), [Source("hot", 300)], 30).models["hot"]
    assert alone.answered / alone.arrived == pytest.approx(1 / 3, rel=0.05)


def test_a_large_request_is_answered_in_pieces_once() -> None:
    seen = simulate(world("n/0", "n/1", most=4), [Source("hot", 2, rows=10)], 60)
    hot = seen.models["hot"]
    assert hot.arrived - hot.answered <= 1
    assert sum(hot.rows_by_card.values()) == pytest.approx(10 * hot.answered, abs=10)


def test_a_hot_model_uses_all_its_replicas_alike() -> None:
    slots = ("n/0", "n/1", "n/2", "m/0")
    seen = simulate(world(*slots), [Source("hot", 320)], 20)
    assert seen.models["hot"].answered / seen.models["hot"].arrived > 0.99
    assert all(seen.busy[slot] == pytest.approx(0.8, abs=0.05) for slot in slots)


def test_a_card_that_becomes_slow_gets_less_and_the_others_carry_it() -> None:
    slots = ("n/0", "n/1", "n/2")
    slower = simulate(
        world(*slots), [Source("hot", 150)], 40, events=[Slower(0.0, "n/0", speed=0.25)]
    )
    hot = slower.models["hot"]
    assert hot.answered / hot.arrived > 0.99
    assert hot.rows_by_card["n/0"] < 0.5 * hot.rows_by_card["n/1"]
    assert hot.rows_by_card["n/0"] > 0


def test_a_card_that_dies_loses_nothing_and_serves_again() -> None:
    slots = ("n/0", "n/1")
    seen = simulate(world(*slots), [Source("hot", 120)], 60, events=[Death(20.0, "n/0", back=5.0)])
    hot = seen.models["hot"]
    assert hot.failed == 0
    assert hot.arrived - hot.answered < 10
    whole = simulate(world(*slots), [Source("hot", 120)], 60).models["hot"]
    assert 0.7 < hot.rows_by_card["n/0"] / whole.rows_by_card["n/0"] < 0.98


def test_the_last_card_of_a_model_that_is_gone_fails_what_waits() -> None:
    seen = simulate(world("n/0"), [Source("hot", 20)], 10, events=[Death(5.0, "n/0")])
    hot = seen.models["hot"]
    assert hot.arrived == hot.answered + hot.failed
    assert hot.failed > 0.4 * hot.arrived


@pytest.mark.parametrize("priority", ["online", "batch"])
def test_a_light_model_beside_a_heavy_one_waits_two_heavy_executions_at_most(priority) -> None:
    """The heavy one has twice the work that the card can do, from two drivers."""
    sources = [Source("light", 5)]
    sources += [Source("heavy", 20, priority=priority, driver=driver) for driver in (1, 2)]
    seen = simulate(shared(), sources, 60)
    assert seen.models["light"].latency(0.99) <= 2 * HEAVY + LIGHT + 0.001
    assert seen.busy["n/0"] == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_shares_under_overload_are_those_of_the_plan(share: float) -> None:
    seen = simulate(shared(share), [Source("light", 1000), Source("heavy", 40)], 15)
    seconds = {
        "light": seen.models["light"].rows_by_card["n/0"] * LIGHT,
        "heavy": seen.models["heavy"].rows_by_card["n/0"] * HEAVY,
    }
    assert seconds["light"] / sum(seconds.values()) == pytest.approx(share, abs=0.03)


def deployment(folder, demand: dict[str, float]) -> Deployment:
    sizes = {"weights": "1MiB", "workspace": "1MiB", "io": "1MiB"}
    gears = {"gears": [{"x": [1, 64]}, {"x": [4, 64]}]}
    models = [
        {
            "name": name,
            "path": str(write_mlp(folder, name, gears=[1, 4])),
            "sizes": sizes,
            "service_time": "4ms",
            "demand": rate,
            "threads": 2,
            "shapes": gears,
        }
        for name, rate in demand.items()
    ]
    cards = {"kind": "emulated", "count": 3, "capacity": "64MiB", "allocation": "exact"}
    return Deployment.model_validate({"name": "d", "cards": cards, "models": models})


def test_a_plan_is_as_busy_as_it_says(tmp_path) -> None:
    wanted = deployment(tmp_path, {"a": 280.0, "b": 120.0, "c": 60.0})
    inventory = Inventory.declared(wanted.cards)
    plan = plan_deployment(wanted, collect(wanted, ProfileCache()), inventory)
    seen = simulate(World.of(plan), demand_of(plan), 30)
    for slot in plan.slots:
        planned = sum(plan.plan.rps.get((m.name, slot), 0) * 0.004 for m in wanted.models)
        assert seen.busy[slot] == pytest.approx(planned / plan.plan.alpha, abs=0.1)
    work = (280 + 120 + 60) * 0.004
    assert work * 0.97 < sum(seen.busy.values()) < work * 1.12  # batches of 2 and 3 are padded
    for model in seen.models.values():
        assert model.answered / model.arrived > 0.98
