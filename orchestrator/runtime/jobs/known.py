"""What a job runs on its records, checked as far as it can be before a card starts."""

import inspect
from contextlib import suppress

from actors.shapes import Signature
from orchestrator.check.models import ModelFile, read_model
from orchestrator.config import Deployment
from orchestrator.errors import DeploymentError, JobError
from orchestrator.jobs import RECORD_ID
from orchestrator.placement import DeploymentPlan
from orchestrator.profiles import ProfileCache
from orchestrator.profiles.cache import model_path
from orchestrator.runtime.io.source import Source
from orchestrator.runtime.jobs.jobspec import JobSpec, input_name
from orchestrator.runtime.jobs.through import ThroughModel
from orchestrator.runtime.jobs.work import Pipeline


def require_choice(spec: JobSpec, deployment: Deployment) -> None:
    """One of the two, a model of the deployment or a pipeline.

    Raises:
        JobError: it is none or both, or no pipeline.
        DeploymentError: there is no such model.
    """
    if (spec.pipeline is None) == (spec.model is None):
        raise JobError(
            input_name(spec),
            "a job has one of the two, model=... or pipeline=...",
            {"model=... or pipeline=...": "--model or --pipeline"},
        )
    if spec.model is not None:
        deployment.model(spec.model)
        return
    require_pipeline(spec.pipeline)
    if spec.columns or tuple(spec.ids) != (RECORD_ID,):
        raise JobError(
            input_name(spec),
            "columns and ids go with a model; a pipeline sees all columns",
            {"columns and ids go with a model": "--column and --id go with --model"},
        )


def require_pipeline(pipeline: object) -> None:
    """What can be called with a batch and models.

    Raises:
        JobError: it cannot.
    """
    name = str(getattr(pipeline, "__qualname__", pipeline))
    if not callable(pipeline) or inspect.isasyncgenfunction(pipeline):
        raise JobError(f"pipeline {name}", "is none: a pipeline is an `async def f(batch, models)`")
    try:
        takes = inspect.signature(pipeline)
    except ValueError:  # of something built in: nobody knows
        return
    try:
        takes.bind(None, None)
    except TypeError:
        told = f"takes {takes}, and is called with two arguments, (batch, models)"
        raise JobError(f"pipeline {name}", told) from None


def pipeline_of(spec: JobSpec, deployment: Deployment, source: Source) -> Pipeline:
    """What runs on each batch.

    Raises:
        JobError: the input has no such column.
    """
    if spec.pipeline is not None:
        return spec.pipeline
    model = deployment.model(str(spec.model))
    columns, axis = {**model.columns, **spec.columns}, model.batching.axis
    known = (*source.columns, RECORD_ID)
    for column in (*columns.values(), *spec.ids):
        if column not in known:
            told = f"has no column {column!r}, there are: {', '.join(known)}"
            raise JobError(input_name(spec), told)
    return ThroughModel(model.name, columns, spec.ids, None if axis == "none" else axis)


def known_signature(name: str, wanted: Deployment | DeploymentPlan) -> Signature | None:
    """What a model takes, as it was measured, or as its file says; None where neither tells.

    A file says nothing of outputs here, and one that was converted for cards nothing at all.
    """
    deployment = wanted.deployment if isinstance(wanted, DeploymentPlan) else wanted
    cards = deployment.cards
    if isinstance(wanted, DeploymentPlan) and (found := wanted.profiles[name].measurement):
        return Signature(found.inputs, found.outputs, ())
    order = next(order for order in deployment.orders() if order.name == name)
    with suppress(DeploymentError):  # its file may be on the cards' nodes only
        if measured := ProfileCache().get(order, cards.kind, cards.type):
            return Signature(measured.inputs, measured.outputs, ())
        file = read_model(model_path(order, cards.kind))
        if isinstance(file, ModelFile) and not file.converted:
            return Signature(file.inputs, (), ())
    return None
