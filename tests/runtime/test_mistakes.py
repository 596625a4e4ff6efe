"""What people write by mistake, and what they are told: at once, and where it went wrong."""

import multiprocessing
import traceback
from pathlib import Path

import numpy as np
import pytest

from orchestrator import (
    DeploymentError,
    InvalidRequestError,
    JobError,
    NotServingError,
    Orchestrator,
)
from orchestrator.runtime.cards.slots import SlotState
from tests.runtime.deployments import rows, three_models


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"name": "tiny"}, "expected a deployment, a plan or a name, got a dict: load_deployment"),
        (None, "expected a deployment, a plan or a name, got a NoneType"),
        (Path("tiny.yaml"), "tiny.yaml: is a file, and neither a deployment nor the name of one"),
    ],
)
def test_what_is_no_deployment_is_refused_before_anything_starts(wanted, told) -> None:
    with pytest.raises(DeploymentError, match=told):
        Orchestrator(wanted)


def test_all_options_that_are_none_are_told_at_once() -> None:
    wrong = {
        "address": 6379,
        "patience_seconds": "5s",
        "max_in_flight": 0,
        "max_bytes_in_flight": 1.5,
        "object_store_bytes": -1,
    }
    with pytest.raises(DeploymentError) as caught:
        Orchestrator("tiny", **wrong)
    assert str(caught.value).splitlines() == [
        "Orchestrator: max_in_flight: expected a whole number from 1 on, got 0",
        "Orchestrator: max_bytes_in_flight: expected a whole number from 1 on, got 1.5",
        "Orchestrator: object_store_bytes: expected a whole number from 1 on, got -1",
        "Orchestrator: patience_seconds: expected seconds from 0 on, got '5s'",
        "Orchestrator: address: expected local, auto or host:port, got 6379",
    ]


def test_options_may_be_numpys_numbers() -> None:
    options = {"patience_seconds": np.float32(5), "max_in_flight": np.int64(3)}
    assert repr(Orchestrator("tiny", **options)) == "<Orchestrator of tiny>"


def test_one_that_was_not_started_or_is_closed_says_so(tmp_path, cluster) -> None:
    idle = Orchestrator(three_models(tmp_path))
    cure = "use it in its with block, or between start() and close()"
    for use in (lambda: idle.model("both"), lambda: idle.plan, idle.status):
        with pytest.raises(NotServingError) as caught:
            use()
        told = f"deployment tiny takes no requests: it was not started: {cure}"
        assert str(caught.value) == told


def test_a_handle_of_one_that_was_closed_says_so(tmp_path, cluster) -> None:
    with Orchestrator(three_models(tmp_path)) as running:
        both = running.model("both")
    for call in (both.predict, both.submit, lambda request: both.map([request])):
        with pytest.raises(NotServingError, match="deployment tiny takes no requests: it was clos"):
            call({"x": rows(1)})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bth", "model bth: no such model, did you mean 'both'?"),
        ("resnet", "model resnet: no such model, there are: both, pair, slow"),
        (None, "model None: no such model, there are: both, pair, slow"),
    ],
)
def test_a_model_that_there_is_not_is_told_when_it_is_named(running, name, told) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        running.model(name)
    assert str(caught.value) == told


def test_a_priority_is_named_and_is_one(running) -> None:
    with pytest.raises(TypeError, match="positional"):
        running.model("both", "batch")
    with pytest.raises(InvalidRequestError) as caught:
        running.model("both", priority="onlin")
    told = "model both: priority 'onlin' is none of online, batch, did you mean 'online'?"
    assert str(caught.value) == told


@pytest.mark.parametrize("timeout", ["5s", float("nan"), float("inf"), True])
def test_a_timeout_that_is_no_time_is_refused(running, timeout) -> None:
    with pytest.raises(InvalidRequestError, match=r"model both: timeout is .*: give seconds, such"):
        running.model("both").predict({"x": rows(1)}, timeout=timeout)


@pytest.mark.parametrize("window", [0, -1, "3", 1.5, True])
def test_a_window_that_lets_nothing_through_is_refused_at_the_call(running, window) -> None:
    both = running.model("both")
    for through in (both.map, both.map_unordered):
        with pytest.raises(
            InvalidRequestError, match=r"window is .*: give a whole number from 1 o"
        ):
            through([], window=window)


@pytest.mark.parametrize(
    ("batches", "told"),
    [
        ({"x": rows(1)}, "batches are one mapping, and must be a stream of them: write map"),
        (None, "batches are a NoneType, and must be a stream of requests"),
    ],
)
def test_what_is_no_stream_is_refused_at_the_call(running, batches, told) -> None:
    with pytest.raises(InvalidRequestError, match=told):
        running.model("both").map(batches)


def test_a_stream_without_requests_has_no_answers(running) -> None:
    assert list(running.model("both").map(iter(()))) == []
    assert list(running.model("both").map_unordered([])) == []


def test_the_models_show_themselves(running) -> None:
    assert len(running.models) == 3
    assert list(running.models) == ["both", "pair", "slow"]
    assert "both" in running.models
    assert repr(running.models) == "<Models of <Orchestrator of tiny>>"


def test_a_misspelt_input_is_one_error_and_nothing_else(running) -> None:
    """Neither what was looked up in vain before, nor anything of ours, is shown with it."""
    try:
        running.model("both").predict({"X": rows(1)})
    except InvalidRequestError as error:
        shown = "".join(traceback.format_exception(error))
    assert "did you mean 'x'?" in shown
    assert "During handling" not in shown
    assert "KeyError" not in shown


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_is_told_that_it_cannot_reach_the_cards(running) -> None:
    """It has none of the threads that carry requests, and would wait for ever."""
    both, context = running.model("both"), multiprocessing.get_context("fork")
    told = context.SimpleQueue()

    def call() -> None:
        try:
            told.put(both.predict({"x": rows(1)}))
        except NotServingError as error:
            told.put(str(error))

    child = context.Process(target=call)
    child.start()
    child.join(60)
    child.kill()
    assert child.exitcode == 0
    assert "model both takes no requests: this process is a fork of the one that" in told.get()


def test_a_model_that_no_card_has_loaded_says_which_cards_those_are(running) -> None:
    """As after a change of the plan whose card does not come."""
    traffic = running._traffic()
    signatures, slots = traffic.signatures, {slot.name: slot for slot in traffic.slots()}
    slot = slots["local/1"]
    state, why = slot.state, slot.why
    try:
        traffic.know(traffic.plan, {"both": signatures["both"], "pair": signatures["pair"]})
        slot.state = SlotState.LOADING
        with pytest.raises(NotServingError) as caught:
            running.model("slow").predict({"x": rows(1)})
        loading = "no card has loaded it (local/1 is loading): call it again later"
        assert str(caught.value) == f"model slow takes no requests: {loading}"
        slot.state, slot.why = SlotState.QUARANTINED, "it hangs"
        with pytest.raises(NotServingError, match=r"\(local/1 is quarantined: it hangs\): orchest"):
            _ = running.model("slow").signature
    finally:
        slot.state, slot.why = state, why
        traffic.know(traffic.plan, signatures)


async def nothing(batch, models):
    return {}


@pytest.mark.parametrize(
    ("source", "options", "told"),
    [
        (3, {"model": "both"}, "input 3: expected a file, a folder, the URL of one, or a dataset"),
        ([{"x": 1}], {"model": "both"}, "got a list: ray.data.from_items makes one of a list"),
        ("rows.npy", {"model": "boht"}, "there is no model 'boht', did you mean 'both'"),
        ("rows.npy", {"model": "both", "columns": {"y": "data"}}, "model both: has no input 'y'"),
        ("rows.npy", {"model": "both", "columns": ["x"]}, "columns .*: write {'x': 'column'}"),
        (
            "rows.npy",
            {"model": "both", "columns": {"x": "data"}},
            r"and column data holds float64\[3",
        ),
        ("rows.npy", {"model": "both", "batch_size": "8"}, "batch size 8: expected a whole number"),
        ("rows.npy", {"pipeline": "mine:f"}, "pipeline mine:f: is none: a pipeline is an `async"),
        (
            "rows.npy",
            {"pipeline": lambda batch: batch},
            "takes .batch., and is called with two arg",
        ),
        ("rows.npy", {"pipeline": nothing, "max_errors": "x"}, "max errors 'x': expected a count"),
        ("rows.npy", {"pipeline": nothing, "priority": "bacth"}, "did you mean 'batch'"),
    ],
)
def test_a_job_that_cannot_be_is_refused_when_it_is_asked_for(
    running, tmp_path, monkeypatch, source, options, told
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", np.zeros((4, 3)))
    with pytest.raises((JobError, DeploymentError), match=told):
        running.run(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_one_id_may_be_named_alone(running, tmp_path) -> None:
    np.savez(tmp_path / "rows.npz", x=rows(4), key=np.arange(4))
    job = running.run(tmp_path / "rows.npz", tmp_path / "out", model="both", ids="key")
    assert job.wait().read == 4
