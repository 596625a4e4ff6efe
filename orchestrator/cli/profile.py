"""``orchestrator profile``: measure the models of a deployment, for plans to come."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from actors.errors import LoadError
from actors.machine.finding import Finding
from actors.messages import CardKind, ModelOrder
from orchestrator.check.models import read_model
from orchestrator.cli.files import require_writable, write_output
from orchestrator.config import Deployment, load_deployment
from orchestrator.errors import DeploymentError
from orchestrator.profiles import ProfileCache, profiles_text
from orchestrator.profiles.cache import model_path
from orchestrator.profiles.profile import profile as profile_of
from orchestrator.report.console import messages_console, results_console
from orchestrator.report.profile import measuring_shown, profile_table
from orchestrator.runtime.cluster.measure import NoIdleCardError, measure


def profile(
    file: Annotated[Path, typer.Argument(help="A deployment.yaml.")],
    model: Annotated[
        str | None, typer.Option(help="Measure this model alone. By default all of them.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write them to a file too, for `plan --profiles`.")
    ] = None,
) -> None:
    """Measure sizes and times of every model at every gear, each in a process of its own.

    Plans use what was measured from then on; what a deployment declares goes first. A model that
    cannot be measured is told after the others; exit code 1 then.
    """
    deployment = load_deployment(file)
    if out is not None:
        require_writable(out)
    orders = deployment.orders()
    if model is not None:
        name = deployment.model(model).name
        orders = tuple(order for order in orders if order.name == name)
    cache, cards = ProfileCache(), deployment.cards
    for order in orders:
        _require_model(order, cards.kind)
    with measuring_shown(messages_console(), len(orders)) as tell:
        failed = _measured(deployment, orders, cache, tell)
    without = {error.model for error in failed}
    measured = {
        order.name: (order, found)
        for order in orders
        if order.name not in without
        and (found := cache.get(order, cards.kind, cards.type)) is not None
    }
    if out is not None:
        write_output(out, profiles_text(measured, cards.kind, cards.type))
    origins = {
        name: profile_of(deployment.model(name), order, cards, found).label
        for name, (order, found) in measured.items()
    }
    if measured:
        results_console().print(profile_table(measured, origins))
    for error in failed:
        typer.echo(f"error: {error}", err=True)
    if failed:
        raise typer.Exit(1)


def _measured(
    deployment: Deployment,
    orders: Sequence[ModelOrder],
    cache: ProfileCache,
    tell: Callable[[str], None],
) -> tuple[LoadError, ...]:
    try:
        return measure(deployment, orders, cache, tell)
    except NoIdleCardError as error:
        text = (
            f"kind ascend is measured on an idle card, and this machine has none to use "
            f"({'; '.join(error.problems)}): run this on a node of the cluster that has one, with "
            "--out FILE, and plan here with --profiles FILE; sizes (and service_time with a "
            "demand) in the deployment need no measuring"
        )
        raise DeploymentError(deployment.name, (text,)) from error


def _require_model(order: ModelOrder, kind: CardKind) -> None:
    """Say what is wrong with a file before the others are measured."""
    found = read_model(model_path(order, kind))
    if isinstance(found, Finding):
        raise DeploymentError(f"model {order.name}", (str(found),))
