"""What the output of a job depends on beside its input: models' files and options, code, format."""

from pathlib import Path

from orchestrator.config import Deployment
from orchestrator.errors import DeploymentError
from orchestrator.jobs import INPUT
from orchestrator.placement import DeploymentPlan
from orchestrator.runtime.io.inputs import kind_of
from orchestrator.runtime.io.source import Source
from orchestrator.runtime.jobs.jobspec import JobSpec
from orchestrator.runtime.jobs.pipelinecode import pipeline_code
from orchestrator.sources import known_files


def job_facts(spec: JobSpec, source: Source, wanted: Deployment | DeploymentPlan) -> dict[str, str]:
    """Digests by name, as messages name what changed.

    With a plan, models are what its cards were told to load; else what their files hold now.
    """
    deployment = wanted.deployment if isinstance(wanted, DeploymentPlan) else wanted
    facts = {"the output format": spec.output_format, "the input format": kind_of(source)}
    if (digest := getattr(source, "digest", None)) is not None:
        facts[INPUT] = digest
    if spec.pipeline is not None:
        name, digest = pipeline_code(spec.pipeline, Path.cwd())
        facts[f"the pipeline {name}"] = digest
    else:
        columns = {**deployment.model(str(spec.model)).columns, **spec.columns}
        named = [f"{name}={column}" for name, column in sorted(columns.items())]
        facts["the model that is run"] = str(spec.model)
        facts["the columns"] = ", ".join([*named, *spec.ids])
    names = [model.name for model in deployment.models] if spec.model is None else [spec.model]
    for name in names:
        facts[f"model {name}"] = f"{_model(name, wanted)} {deployment.cards.kind}"
    return facts


def _model(name: str, wanted: Deployment | DeploymentPlan) -> str:
    if isinstance(wanted, DeploymentPlan):
        files = wanted.profiles[name].files
        return files.digest if files is not None else _model(name, wanted.deployment)
    order = next(order for order in wanted.orders() if order.name == name)
    try:
        return known_files(order, wanted.cards.kind).digest
    except DeploymentError:  # they need to be on the cards' nodes only
        return order.path
