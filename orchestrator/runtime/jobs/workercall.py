"""What a call to a worker of a batch job ends with."""

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError, RayTaskError

from orchestrator.errors import JobError, OrchestratorError


@dataclass(eq=False, repr=False)
class WorkerLostError(OrchestratorError):
    """A worker's process or its node is gone."""

    reason: str


async def answer(call: "Future[Any]") -> Any:  # noqa: ANN401 - as the method answers
    """What a worker answers; it goes on when we no longer wait for it.

    Raises:
        WorkerLostError: the worker is gone.
        OrchestratorError: what it raised.
    """
    try:
        return await asyncio.shield(asyncio.wrap_future(call))
    except RayError as error:
        raise ours(error) from error


def ours(error: RayError) -> OrchestratorError:
    """What a call to a worker raised: an error of its own, or what became of its process."""
    if not isinstance(error, RayTaskError):  # the process, its node, or what Ray kept of it is gone
        return WorkerLostError(_few_words(error))
    if isinstance(error.cause, RayError):  # what it was given is
        return WorkerLostError(_few_words(error.cause))
    if isinstance(error.cause, OrchestratorError):
        return error.cause
    where = "the job's workers"
    if isinstance(error.cause, ImportError):
        hint = "what the pipeline imports must be there on every node: ray job submit --working-dir"
        return JobError(where, f"{error.cause}; {hint} ships a folder")
    return JobError(where, f"{type(error.cause).__name__}: {error.cause}")


def _few_words(error: RayError) -> str:
    """Ray's first line; its list of guesses is left out."""
    text = str(error).partition("Some common causes")[0].strip()
    return text.splitlines()[0] if text else type(error).__name__
