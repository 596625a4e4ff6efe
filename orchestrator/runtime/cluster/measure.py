"""Measure models, each in a process of its own, and keep what was found."""

import os
from collections.abc import Callable, Sequence

from actors import device, probe
from actors.errors import LoadError
from actors.files.compiled import CompiledError, compiled_measurement
from actors.machine import npusmi, verdicts
from actors.messages import ModelOrder
from orchestrator.check.hardware import hardware_findings
from orchestrator.check.models import ModelFile, read_model
from orchestrator.config import Cards, Deployment
from orchestrator.errors import DeploymentError
from orchestrator.inventory import Inventory
from orchestrator.profiles import ProfileCache, Residuals, missing, session_members
from orchestrator.profiles.cache import model_path
from orchestrator.sources import local_order


class NoIdleCardError(DeploymentError):
    """Models are to be measured on a card, and this machine has none to spare: why not."""


def measure_missing(
    deployment: Deployment,
    cache: ProfileCache,
    progress: Callable[[str], None] | None = None,
) -> tuple[str, ...]:
    """Probe every model without a profile; the names of those. ``progress`` gets a line each.

    On kind ascend without an idle card here, their compiled files are asked for their sizes.

    Raises:
        DeploymentError: a model's file is missing, its kind of card cannot be measured, or several
            models do not load or run.
        LoadError: one model does not load or run. The others are measured.
    """
    _require_made_for_cards(deployment)
    wanted = missing(deployment, cache)
    try:
        failed = measure(deployment, wanted, cache, progress)
    except NoIdleCardError as error:
        _read_compiled(deployment, wanted, cache, error.problems)
        failed = ()
    if len(failed) > 1:
        raise DeploymentError(deployment.name, tuple(map(str, failed)))
    for only in failed:
        raise only
    return tuple(order.name for order in wanted)


def measure(
    deployment: Deployment,
    wanted: Sequence[ModelOrder],
    cache: ProfileCache,
    progress: Callable[[str], None] | None = None,
) -> tuple[LoadError, ...]:
    """Probe these models of the deployment, whatever is known of them, and put it in the cache.

    On kind ascend an idle card of this machine is used, in processes of the probe's own. Models of
    provider ge are also measured together, as the one session that they are on a card. Returns why
    models could not be measured, which keeps none of the others from it.

    Raises:
        NoIdleCardError: this machine has no idle card to measure on.
        DeploymentError: a model's file is missing.
        LibraryError: the library of this kind of card is not here.
    """
    kind, card_type = deployment.cards.kind, deployment.cards.type
    npu_id = _idle_card(deployment) if wanted and kind == "ascend" else ""
    failed: list[LoadError] = []
    for position, order in enumerate(wanted, start=1):
        if progress:
            progress(f"measuring {order.name} ({position} of {len(wanted)})")
        here = local_order(order, kind)
        try:
            found = probe.measure(here, kind=kind, rule=deployment.rule, npu_id=npu_id)
        except LoadError as error:
            failed.append(error)
        else:
            cache.put(order, kind, card_type, found)
    if not failed:
        _measure_session(deployment, wanted, cache, npu_id, progress)
    return tuple(failed)


def _measure_session(
    deployment: Deployment,
    wanted: Sequence[ModelOrder],
    cache: ProfileCache,
    npu_id: str,
    progress: Callable[[str], None] | None,
) -> None:
    """The models of provider ge as one session; left out where that cannot be."""
    kind, session = deployment.cards.kind, session_members(deployment)
    if not any(order in wanted for order in session):
        return
    if progress:
        progress(f"measuring {', '.join(order.name for order in session)} as one GE session")
    try:
        members = [local_order(order, kind) for order in session]
        peak = probe.measure_together(members, kind=kind, rule=deployment.rule, npu_id=npu_id)
    except LoadError as error:
        if progress:
            progress(f"they are charged one by one: {error}")
    else:
        cache.put_session(session, kind, deployment.cards.type, peak)


def _read_compiled(
    deployment: Deployment,
    wanted: Sequence[ModelOrder],
    cache: ProfileCache,
    problems: Sequence[str],
) -> None:
    """Take sizes from compiled files; where one does not tell, ``problems`` are why none was run.

    Raises:
        DeploymentError: one does not.
    """
    names = ", ".join(order.name for order in wanted)
    text = (
        f"not measured yet on kind ascend: {names}; {'; '.join(problems)}: run orchestrator "
        "profile --out FILE on a node with an idle card and plan with --profiles FILE, give sizes "
        "(and service_time with a demand) in the deployment, or plan with --no-probe"
    )
    for order in wanted:
        try:
            found = compiled_measurement(local_order(order, deployment.cards.kind))
        except CompiledError as problem:
            raise DeploymentError(deployment.name, (text, str(problem))) from problem
        cache.put(order, deployment.cards.kind, deployment.cards.type, found)


def proven(deployment: Deployment, progress: Callable[[str], None] | None = None) -> Deployment:
    """The deployment, without shared workspaces where cards here were found to get them wrong.

    Raises:
        DeploymentError: a model's file was made for other cards, or for none.
    """
    _require_made_for_cards(deployment)
    failed = verdicts.failed_here(verdicts.MAX_RULE) if deployment.cards.kind == "ascend" else ()
    if not failed:
        return deployment
    if progress:
        for verdict in failed:
            progress(str(verdict))
    own = {"workspace": False}
    models = [
        model.model_copy(update={"sharing": model.sharing.model_copy(update=own)})
        for model in deployment.models
    ]
    return deployment.model_copy(update={"models": tuple(models)})


def _require_made_for_cards(deployment: Deployment) -> None:
    """Refuse files that real cards would compile at every build, or could not load.

    What cannot be read is left to whoever needs it.
    """
    cards, problems = deployment.cards, []
    for order in deployment.orders():
        file = None if cards.kind == "emulated" else read_model(model_path(order, cards.kind))
        if isinstance(file, ModelFile):
            found = hardware_findings(
                cards, converted=file.converted, soc=file.soc, allowed=order.may_compile
            )
            problems += [f"model {order.name}: {finding}" for finding in found]
    if problems:
        raise DeploymentError(deployment.name, tuple(problems))


def reserved(
    inventory: Inventory, cards: Cards, progress: Callable[[str], None] | None = None
) -> Inventory:
    """The cards, with what such cards took beyond their plans left free. ``progress`` is told."""
    excess = Residuals().largest(cards.kind, cards.type)
    if excess and progress:
        what = f"cards of type {cards.type}" if cards.type else f"cards of kind {cards.kind}"
        progress(f"leaving {excess:,} bytes of each card free: {what} took so much beyond a plan")
    return inventory.reserving(excess)


def _idle_card(deployment: Deployment) -> str:
    """What npu-smi calls a card of this machine that nobody uses.

    Raises:
        NoIdleCardError: there is none.
    """
    try:
        idle, here = idle_cards()
    except (device.DeviceError, npusmi.SmiError) as error:
        problem = str(error)
    else:
        if idle:
            return idle[0]
        problem = f"all {here} cards here are in use" if here else "there is no card here"
    raise NoIdleCardError(deployment.name, (problem,))


def idle_cards() -> tuple[tuple[str, ...], int]:
    """The npu ids of cards that nobody uses, and how many cards this process sees in all.

    Raises:
        SmiError: npu-smi does not tell.
        DeviceError: the visible list is not one.
    """
    cards = npusmi.read_cards()
    numbers = device.seen(os.environ, [file.name for file in device.DEVICES.iterdir()])
    npu_ids = [device.npu_id_of(number) for number in numbers]
    found = {npu_id: npusmi.find_card(cards, npu_id) for npu_id in npu_ids}
    return tuple(npu for npu, card in found.items() if card and not card.holders), len(numbers)
