"""From what the cards of a deployment hold to what a plan wants, step by step."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait

from actors.messages import CardOrder
from orchestrator.placement import DeploymentPlan, order_of, transition
from orchestrator.runtime.cards.controller import Controller
from orchestrator.runtime.cards.slots import Slot

#: What a card that is to be replaced may take to finish what it has.
DRAIN_SECONDS = 30.0


def carry_out(
    controller: Controller,
    plan: DeploymentPlan,
    held: Mapping[str, CardOrder],
    slot_of: Callable[[str, CardOrder], Slot],
) -> None:
    """Take the steps in their order; cards that held nothing are started at the same time.

    ``slot_of`` makes the slot of a card that is started.

    Raises:
        LoadError, DoesNotFitError, CardLostError, CardsUnavailableError: a card cannot serve; the
            steps after it are not taken.
        CancelledError: the deployment was closed.
    """
    starting: list[Future[None]] = []
    for step in transition(held, plan).steps:
        if step.action not in ("drain", "start"):
            continue
        at_once = step.action == "start" and step.card not in held
        if not at_once:
            _settle(starting)
        controller.retire(step.card, DRAIN_SECONDS).result()  # a start finds nothing to end
        if step.action == "start":
            starting.append(controller.install(slot_of(step.card, order_of(step, plan))))
            if not at_once:
                _settle(starting)
    _settle(starting)
    for name, slot in list(controller.slots.items()):
        if name in plan.slots:
            slot.order = plan.orders(name)
        elif not slot.lost:  # those stay, for their story and for whoever wants them back
            controller.forget(name)


def give_back_all(controller: Controller) -> None:
    """Let every card finish what it has, and end its process; none is left.

    Raises:
        CancelledError: the deployment was closed.
    """
    names = list(controller.slots)
    for done in [controller.retire(name, DRAIN_SECONDS) for name in names]:
        done.result()
    for name in names:
        controller.forget(name)


def beside(name: str, work: Callable[[], None]) -> "Future[None]":
    """Do it on a thread of its own; done when it is, with whatever it raised."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # CancelledError too: the deployment was closed
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done


def _settle(starting: "list[Future[None]]") -> None:
    """Wait for all, then raise what one of them raised."""
    wait(starting)
    for done in starting:
        done.result()
    starting.clear()
