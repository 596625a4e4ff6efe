"""The public JSON: strict, described by committed schemas, and said in one clear line each."""

import json

import jsonschema
import pytest
from hypothesis import given, settings

from orchestrator.cli.schema import placement_schemas, schema_text
from orchestrator.errors import DeploymentError
from orchestrator.placement import Plan, Problem, solve
from orchestrator.placement.plan import plan_schema
from orchestrator.placement.problem import problem_schema
from tests.placement.build import cards, model, problem
from tests.placement.worlds import problems

GOOD = problem([model("a"), model("b")], cards(2, 100))


def changed(path, value):
    data = json.loads(json.dumps(GOOD))
    at = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return data


A = ("models", 0)
HUGE = {"io_bytes": 1 << 50, "threads": 10_000}
MUCH = {"demand_rps": 1e15, "service_ms": 1}
WRONG = [
    (changed(A, model("a") | HUGE), "models (a): takes 11,258,999,068,427,288,576 bytes"),
    (changed(A, model("a") | MUCH), "models: the demand of all takes 1e+12 of the fastest cards"),
    (changed(("modles",), []), "unknown key 'modles', did you mean 'models'?"),
    (changed((*A, "thread"), 2), "models[0] (a): unknown key 'thread', did you mean 'threads'?"),
    (changed((*A, "weight_bytes"), -1), "models[0] (a): weight_bytes must be a whole number"),
    (changed((*A, "weight_bytes"), 5.0), "models[0] (a): weight_bytes must be a whole number"),
    (changed((*A, "weight_bytes"), True), "models[0] (a): weight_bytes must be a whole number"),
    (changed((*A, "weight_bytes"), 1 << 60), "models[0] (a): weight_bytes must be a whole number"),
    (changed((*A, "threads"), 0), "models[0] (a): threads must be a whole number from 1"),
    (changed((*A, "service_ms"), -1), "models[0] (a): service_ms must be a number of at least 0"),
    (changed((*A, "service_ms"), 10**400), "service_ms must be a number of at least 0, got 1000"),
    (
        changed(A, model("a") | {"demand_rps": 10**200, "service_ms": 10**200}),
        "models: the demand of all takes inf of the fastest cards",
    ),
    (changed((*A, "name"), "\ud800"), "name must be text that can be printed, got"),
    (changed((*A, "name"), "a\nb"), "name must be text that can be printed, got"),
    (
        changed((*A, "allowed_kinds"), ["emulatd"]),
        "models (a): allowed_kinds: no kind is called 'emulatd', did you mean 'emulated'?",
    ),
    (
        changed(("cards", 0, "speed"), 1e-300),
        "cards (local/0): does 1e-300 of a card's work, less than 1e-09: check speed",
    ),
    (changed((*A, "service_ms"), "5ms"), "service_ms must be a number of at least 0, got '5ms'"),
    (changed((*A, "demand_rps"), 5), "models (a): demand_rps 5 needs a service_ms above 0"),
    (changed((*A, "name"), "b"), "models: the name 'b' is given 2 times"),
    (
        changed((*A, "cards"), ["local/7"]),
        "no card is called 'local/7' (there are: local/0, local/1)",
    ),
    (changed((*A, "cards"), []), "models (a): cards is an empty list"),
    (changed((*A, "allowed_types"), []), "models (a): allowed_types is an empty list"),
    (
        changed((*A, "cards"), ["local/0", "local/0"]),
        "models (a): cards: the name 'local/0' is given 2 times",
    ),
    (
        changed((*A, "allowed_kinds"), ["cpu", "cpu"]),
        "models (a): allowed_kinds: the name 'cpu' is given 2 times",
    ),
    (changed(("affinity",), [[]]), "affinity[0]: names no model"),
    (
        changed(("previous_plan",), [{"card": "local/0", "models": ["a", "a"]}]),
        "previous_plan[0]: the name 'a' is given 2 times",
    ),
    (
        changed(("previous_plan",), [{"card": "local/0", "models": ["b"], "ended": ["a"]}]),
        "previous_plan[0]: a is not ended: the problem has it",
    ),
    (changed((*A, "batch_rows"), 0.5), "batch_rows must be a number of at least 1, or null"),
    (changed(("job",), "yes"), "job must be true or false"),
    (changed(A, 5), "models[0]: expected a record with keys, got int"),
    (changed((*A, "max_replicas"), 0), "max_replicas must be a whole number from 1"),
    (changed((*A, "spread_nodes"), 0), "spread_nodes must be a whole number from 1"),
    (changed(("models",), []), "models: the list is empty"),
    (changed(("cards",), []), "cards: the list is empty"),
    (changed(("cards",), {}), "cards must be a list of records"),
    (changed(("cards", 0, "name"), "local/1"), "cards: the name 'local/1' is given 2 times"),
    (changed(("cards", 0, "kind"), "npu"), "kind must be one of ascend, cpu, emulated, got 'npu'"),
    (changed(("cards", 0, "speed"), 0), "speed must be a number above 0"),
    (changed(("cards", 0, "speed"), 1e306), "speed must be a number above 0 and at most 1e+06"),
    (changed((*A, "overlap"), 1e-300), "overlap must be a number of at least 0.01"),
    (changed((*A, "cards"), ["a\x1b"]), "cards must be a list of names that can be printed"),
    (changed(("objective",), "fast"), "objective must be one of min_cards, max_alpha"),
    (changed(("max_utilisation",), 1.5), "max_utilisation must be a number above 0 and at most 1"),
    (changed(("affinity",), [["a", "c"]]), "affinity[0]: no model is called 'c'"),
    (changed(("affinity",), [["a", "a"]]), "affinity[0]: the name 'a' is given 2 times"),
    (
        changed(("previous_plan",), [{"card": "gone/1", "models": []}]),
        "previous_plan[0]: no card is called 'gone/1'",
    ),
    ({**GOOD, "affinity": [["a", "b"]], "anti_affinity": [["b", "a"]]}, "must stay apart, but"),
    ({}, "objective is missing: one of min_cards, max_alpha"),
    ([], "expected a record with keys, got list"),
]


@pytest.mark.parametrize(("data", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_problems_are_refused_in_words(data, message):
    with pytest.raises(DeploymentError) as caught:
        Problem.from_dict(data, "p.json")
    assert message in str(caught.value)
    assert str(caught.value).startswith("p.json: ")


def test_replica_limits_that_contradict_each_other():
    data = changed((*A, "min_replicas"), 3)
    data["models"][0]["max_replicas"] = 2
    with pytest.raises(DeploymentError, match="min_replicas 3 is more than max_replicas 2"):
        Problem.from_dict(data)
    data = changed((*A, "min_replicas"), 3)
    data["models"][1]["max_replicas"] = 2
    data["affinity"] = [["a", "b"]]
    with pytest.raises(DeploymentError, match="one needs 3 replicas and another may have 2"):
        Problem.from_dict(data)
    data = changed((*A, "spread_nodes"), 3)
    data["models"][0]["max_replicas"] = 2
    with pytest.raises(DeploymentError, match="spread_nodes 3 is more than max_replicas 2"):
        Problem.from_dict(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "x",\n "name" }', "p.json:2: not JSON"),
        ('{"name": "x", "name": "y"}', "key 'name' is given twice"),
        ('{"max_utilisation": NaN}', "NaN is not a number that JSON has"),
        ("", "p.json:1: not JSON"),
    ],
)
def test_text_that_is_not_json(text, message):
    with pytest.raises(DeploymentError) as caught:
        Problem.from_json(text, "p.json")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"loads": [{"model": "a", "card": "local/0", "rps": -1}]},
            "loads[0]: rps must be a number",
        ),
        ({"plan": [{"models": []}]}, "plan[0]: card is missing"),
        ({"vlaue": 3}, "unknown key 'vlaue', did you mean 'value'?"),
        ({"alpha": float("inf")}, "alpha must be a finite number or null"),
    ],
)
def test_wrong_plans_are_refused_in_words(change, message):
    plan = solve(Problem.from_dict(GOOD)).to_dict()
    with pytest.raises(DeploymentError) as caught:
        Plan.from_dict({**plan, **change})
    assert message in str(caught.value)


def test_committed_schemas_are_those_of_the_code():
    for path, made in placement_schemas().items():
        assert path.read_text(encoding="utf-8") == schema_text(made), "run: make schema"


@settings(max_examples=10, deadline=None)
@given(problems())
def test_schemas_accept_what_the_code_writes(data):
    jsonschema.validate(data, problem_schema())
    try:
        problem_ = Problem.from_dict(data)
    except DeploymentError:
        return
    jsonschema.validate(problem_.to_dict(), problem_schema())


def test_plan_schema_accepts_a_plan_and_refuses_an_unknown_key():
    plan = solve(Problem.from_dict(GOOD)).to_dict()
    jsonschema.validate(plan, plan_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**plan, "more": 1}, plan_schema())
