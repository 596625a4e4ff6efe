"""Where constructors fail, every placement is tried in turn, the hardest group first."""

from hypothesis import HealthCheck, given, settings

from orchestrator.placement import Problem, solve
from orchestrator.placement.groups import world
from orchestrator.placement.search.exhaust import placements
from tests.placement.build import problem
from tests.placement.checker import check
from tests.placement.test_solve import read
from tests.placement.worlds import optimum, problems


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems(most_models=3, most_cards=2))
def test_one_is_found_where_one_exists(data):
    data = {**data, "objective": "max_alpha"}
    found = next(placements(world(read(data)), few=False), None)
    best = optimum(data)
    left_out = best == 0 and any(one.get("demand_rps") for one in data["models"])
    assert (found is None) == (best is None or left_out)


def sized(name, weights, workspace, io, **rest):
    """A model of so many bytes."""
    sizes = {"weight_bytes": weights, "workspace_bytes": workspace, "io_bytes": io}
    return {"name": name, **sizes, **rest}


def slot(name, capacity, **rest):
    node = name.partition("/")[0]
    return {"name": name, "node": node, "kind": "ascend", "capacity_bytes": capacity, **rest}


def test_the_one_way_in_which_all_fit_is_found():
    models = [
        sized(
            "m6", 31, 0, 3, dynamic=True, object_bytes=5, service_ms=15.0, max_delay_ms=1000000.0
        ),
        sized("m0", 10, 47, 4, dynamic=True, widens_workspace=True),
        sized("m4", 9, 47, 5),
        sized("m1", 24, 43, 1, threads=3, min_replicas=2),
        sized("m3", 25, 31, 1),
        sized("m2", 2, 15, 3, max_delay_ms=1000000.0, service_ms=0.2, min_replicas=2),
        sized("m5", 40, 52, 3, max_delay_ms=1000000.0),
    ]
    slots = [
        slot("n0/0", 25),
        slot("n1/0", 20),
        slot("n2/0", 127, overhead_bytes=5),
        slot("n3/0", 88),
        slot("n0/1", 96),
        slot("n1/1", 62),
    ]
    data = problem(models, slots)
    plan = solve(Problem.from_dict(data))
    assert check(data, plan.to_dict()) == []
    assert plan.by_card["n2/0"].models == ("m1", "m5")


def test_what_fits_in_memory_is_served_as_far_as_that_goes():
    models = [
        sized("m6", 9, 50, 0),
        sized("m1", 14, 13, 1, max_delay_ms=10.0, spread_nodes=3),
        sized("m4", 23, 30, 1, object_bytes=3, demand_rps=20.0, service_ms=5.0),
        sized("m2", 11, 50, 5, dynamic=True),
        sized("m0", 0, 39, 0),
        sized("m3", 22, 59, 0, share_workspace=False),
        sized("m5", 31, 35, 4, demand_rps=60.0, service_ms=1.0),
    ]
    slots = [
        slot("n0/0", 80),
        slot("n1/0", 120),
        slot("n2/0", 120, reserve_bytes=27, speed=0.003),
        slot("n1/1", 120),
        slot("n1/2", 120, speed=7),
    ]
    data = problem(models, slots, "max_alpha")
    plan = solve(Problem.from_dict(data))
    assert check(data, plan.to_dict()) == []
    assert plan.alpha > 40
