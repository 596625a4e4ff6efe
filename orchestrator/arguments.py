"""What callers give to the driver's API, checked before anything is done with it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import PurePath
from typing import TypeGuard, TypeVar

from actors.errors import InvalidRequestError
from actors.queue import PRIORITIES, Priority
from orchestrator.config import Deployment, names_a_file
from orchestrator.config.findings import did_you_mean
from orchestrator.errors import DeploymentError
from orchestrator.placement import DeploymentPlan

T = TypeVar("T")


def known_model(name: object, names: Sequence[str]) -> str:
    """The name of a model.

    Raises:
        InvalidRequestError: there is none of that name.
    """
    if isinstance(name, str) and name in names:
        return name
    near = did_you_mean(str(name), names) or f", there are: {', '.join(names)}"
    raise InvalidRequestError(str(name), f"no such model{near}")


def known_priority(model: str, priority: Priority) -> Priority:
    """A priority that there is.

    Raises:
        InvalidRequestError: it is none.
    """
    if priority in PRIORITIES:
        return priority
    told = f"priority {priority!r} is none of {', '.join(PRIORITIES)}"
    raise InvalidRequestError(model, told + did_you_mean(str(priority), PRIORITIES))


def require_seconds(model: str, timeout: object) -> None:
    """A time for a call, or None for no limit.

    Raises:
        InvalidRequestError: it is no number of seconds.
    """
    if timeout is not None and not _is_finite(timeout):
        told = f"timeout is {timeout!r}: give seconds, such as 5.0, or None for no limit"
        raise InvalidRequestError(model, told)


def require_window(model: str, window: object) -> None:
    """How many requests a stream may have under way.

    Raises:
        InvalidRequestError: it is no whole number from 1 on.
    """
    if not _is_whole(window):
        raise InvalidRequestError(model, f"window is {window!r}: give a whole number from 1 on")


def stream_of(model: str, batches: Iterable[T]) -> Iterable[T]:
    """Requests one after the other.

    Raises:
        InvalidRequestError: it is one request, or nothing to go through.
    """
    if isinstance(batches, Mapping):
        told = "batches are one mapping, and must be a stream of them: write map([request])"
    elif not isinstance(batches, Iterable):
        told = f"batches are a {type(batches).__name__}, and must be a stream of requests"
    else:
        return batches
    raise InvalidRequestError(model, told)


def require_deployment(wanted: object) -> None:
    """A deployment, a plan of one, or the name of one that is up.

    Raises:
        DeploymentError: it is a file, or something else.
    """
    if isinstance(wanted, PurePath) or (isinstance(wanted, str) and names_a_file(wanted)):
        told = "is a file, and neither a deployment nor the name of one: load_deployment reads it"
        raise DeploymentError(str(wanted), (told,))
    if not isinstance(wanted, Deployment | DeploymentPlan | str):
        made = "load_deployment reads a file, Deployment(**mapping) takes plain data"
        told = f"expected a deployment, a plan or a name, got a {type(wanted).__name__}: {made}"
        raise DeploymentError("Orchestrator", (told,))


def require_options(
    *,
    address: object,
    patience_seconds: object,
    max_in_flight: object,
    max_bytes_in_flight: object,
    object_store_bytes: object,
) -> None:
    """The options of ``Orchestrator``.

    Raises:
        DeploymentError: one line for each that is of the wrong kind or size.
    """
    whole = {"max_in_flight": max_in_flight, "max_bytes_in_flight": max_bytes_in_flight}
    if object_store_bytes is not None:
        whole["object_store_bytes"] = object_store_bytes
    problems = [
        f"{name}: expected a whole number from 1 on, got {value!r}"
        for name, value in whole.items()
        if not _is_whole(value)
    ]
    if not _is_finite(patience_seconds) or patience_seconds < 0:
        problems.append(f"patience_seconds: expected seconds from 0 on, got {patience_seconds!r}")
    if not (address is None or isinstance(address, str)):
        problems.append(f"address: expected local, auto or host:port, got {address!r}")
    if problems:
        raise DeploymentError("Orchestrator", tuple(problems))


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _is_finite(value: object) -> TypeGuard[float]:
    """Also of numpy's own numbers."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
