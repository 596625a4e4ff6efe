"""What a job's driver makes of what its calls to workers end with."""

import asyncio
from concurrent.futures import Future

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    ActorUnschedulableError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectStoreFullError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
)

from orchestrator.errors import JobError, NotServingError, OrchestratorError
from orchestrator.runtime.jobs.workercall import WorkerLostError, answer


def told(error: RayError) -> OrchestratorError:
    call: Future[None] = Future()
    call.set_exception(error)
    with pytest.raises(OrchestratorError) as found:
        asyncio.run(answer(call))
    return found.value


@pytest.mark.parametrize(
    "error",
    [
        ActorDiedError(),
        ActorUnavailableError("it is restarting", None),
        ActorUnschedulableError("its node is gone"),
        LocalRayletDiedError(),
        NodeDiedError("its node died"),
        ObjectStoreFullError(),
        OutOfMemoryError("killed by the memory monitor\nwith the usage of all processes"),
        RayTaskError("news", "", NodeDiedError("what it was given is gone")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_ray_says_of_a_process_its_worker_is_lost(error: RayError) -> None:
    lost = told(error)
    assert isinstance(lost, WorkerLostError)
    assert str(lost)
    assert "\n" not in str(lost)


def test_what_a_worker_raised_is_told_as_it_is() -> None:
    closed = NotServingError("deployment tiny", "it was closed")
    assert told(RayTaskError("write", "", closed)) is closed
    missing = told(RayTaskError("open", "", ModuleNotFoundError("No module named 'pipeline'")))
    assert isinstance(missing, JobError)
    assert "No module named 'pipeline'; what the pipeline imports must be there" in str(missing)
    mistake = told(RayTaskError("write", "", ZeroDivisionError("of ours")))
    assert str(mistake) == "the job's workers: ZeroDivisionError: of ours"
