"""From a deployment with profiles and cards to a problem; from its plan to the cards' orders."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from actors.machine.hostmemory import HostMemory, estimate, together
from actors.memory import CardMemory
from actors.messages import CardOrder, ModelOrder
from orchestrator.config import Deployment, ModelSpec, parse_deployment
from orchestrator.errors import DeploymentError, PlanRefusedError
from orchestrator.inventory import Inventory
from orchestrator.placement.board import Tally
from orchestrator.placement.explain import explain, unshared_memory
from orchestrator.placement.gears import with_conversions
from orchestrator.placement.modelling import Modelling
from orchestrator.placement.plan import Plan
from orchestrator.placement.problem import Model, Problem, load_json
from orchestrator.placement.refusal import solve
from orchestrator.placement.search.moves import Change
from orchestrator.placement.verify import tally_in, verify
from orchestrator.profiles import ModelProfile

_PARTS = ("deployment", "profiles", "problem", "plan")
_LEAST_SHARE = 0.05


@dataclass(frozen=True)
class DeploymentPlan:
    """A plan with all that it was made from: what ``run`` and ``up`` take."""

    deployment: Deployment
    profiles: Mapping[str, ModelProfile]
    problem: Problem
    plan: Plan

    @property
    def inventory(self) -> Inventory:
        """The cards that were planned for."""
        return Inventory(self.problem.cards)

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """The slots that hold models."""
        return tuple(card.card for card in self.plan.cards)

    def explain(self) -> str:
        """For every replica its card, its bytes by part, and why the other cards were not taken."""
        return explain(self.problem, self.plan)

    def memory(self, slot: str) -> CardMemory:
        """Planned bytes of a slot by part.

        Raises:
            KeyError: no such slot.
        """
        return self._tally(slot).memory

    def unshared(self, slot: str) -> CardMemory:
        """What the slot's models would take with weights and workspace of their own per thread.

        Raises:
            KeyError: no such slot.
        """
        tally = self._tally(slot)
        return unshared_memory(tally.card, tally.models)

    def shares(self, slot: str) -> Mapping[str, float]:
        """The planned part of each model of a slot in the card's busy time; all alike without one.

        One that is planned little load for, or none, has at least a twentieth of the largest part.

        Raises:
            KeyError: no such slot.
        """
        models = self._tally(slot).models
        busy = {m.name: self.plan.rps.get((m.name, slot), 0.0) * m.service_ms for m in models}
        least = max(busy.values(), default=0.0) * _LEAST_SHARE
        total = sum(max(seconds, least) for seconds in busy.values())
        return {m: max(s, least) / total if total else 1 / len(busy) for m, s in busy.items()}

    def orders(self, slot: str) -> CardOrder:
        """What the card of a slot is told to build; no models for a slot that the plan leaves idle.

        Raises:
            KeyError: no such slot.
        """
        tally = self._tally(slot)
        card = tally.card
        names, shares = tally.names, self.shares(slot)
        return CardOrder(
            slot=slot,
            kind=card.kind,
            capacity_bytes=card.capacity_bytes,
            models=tuple(
                replace(self._order(order, tally), share=shares[order.name])
                for order in self.deployment.orders()
                if order.name in names
            ),
            overhead_bytes=card.overhead_bytes,
            reserve_bytes=card.reserve_bytes,
            share_workspace=tally.share,
            rule=self.deployment.rule,
            mix_ge_and_acl=self.deployment.cards.mix_ge_and_acl,
            memory_wait_seconds=self.deployment.cards.memory_wait,
            memory_return_seconds=self.deployment.cards.memory_return,
            deployment=self.deployment.name,
            host=together(self._host(model) for model in tally.models),
        )

    def to_dict(self) -> dict[str, Any]:
        """The bundle: four parts and the SHA-256 of each."""
        parts = {
            "deployment": self.deployment.as_data(),
            "profiles": {name: profile.to_dict() for name, profile in self.profiles.items()},
            "problem": self.problem.to_dict(),
            "plan": self.plan.to_dict(),
        }
        parts = json.loads(json.dumps(parts))
        return {**parts, "hashes": {name: _hash(parts[name]) for name in _PARTS}}

    def to_json(self) -> str:
        """The bundle as JSON text."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "plan") -> "DeploymentPlan":
        """Read a bundle, and check it anew: hashes, then every rule of its problem.

        Raises:
            DeploymentError: not a bundle, edited by hand, or a plan that breaks a rule.
        """
        data = load_json(text, source)
        if not isinstance(data, dict) or any(part not in data for part in (*_PARTS, "hashes")):
            raise DeploymentError(
                source, (f"not a plan bundle: it needs {', '.join(_PARTS)}, hashes",)
            )
        hashes = data["hashes"] if isinstance(data["hashes"], dict) else {}
        edited = [part for part in _PARTS if hashes.get(part) != _hash(data[part])]
        problem = Problem.from_dict(data["problem"], f"{source}: problem")
        plan = Plan.from_dict(data["plan"], f"{source}: plan")
        broken = verify(problem, plan)
        if edited or broken:
            changed = tuple(f"{part} was changed after the plan was made" for part in edited)
            raise DeploymentError(source, (*changed, *broken))
        bundle = cls(_deployment(data, source), _profiles(data, source), problem, plan)
        names = {model.name for model in problem.models}
        told = {model.name for model in bundle.deployment.models} & bundle.profiles.keys()
        if unknown := sorted(names - told):
            text = f"deployment or profiles say nothing of {', '.join(unknown)}"
            raise DeploymentError(source, (text,))
        return bundle

    def _host(self, model: Model) -> tuple[HostMemory, int]:
        """What the probe saw of one Model object, and what the further ones add to it.

        Estimated from the model's files where it saw nothing, or from its weights.
        """
        profile, used = self.profiles[model.name], model.footprint
        seen = profile.measurement.host if profile.measurement else None
        if seen is not None and seen.process:
            each = used.io + (0 if used.share_weights else used.weights)
            return seen, (model.threads - 1) * each
        stored = profile.files.files if profile.files else ()
        nbytes = sum(file.nbytes for file in stored) or used.weights
        return estimate(nbytes, model.threads), model.threads * used.io

    def _tally(self, slot: str) -> Tally:
        return tally_in(self.problem, self.plan, slot)

    def _order(self, order: ModelOrder, tally: Tally) -> ModelOrder:
        model = next(model for model in tally.models if model.name == order.name)
        share = model.share_workspace and tally.share
        return replace(
            order,
            share_weights=model.share_weights,
            share_workspace=share,
            footprint=replace(model.footprint, share_workspace=share),
            files=self.profiles[order.name].files,
        )


def plan_deployment(
    deployment: Deployment,
    profiles: Mapping[str, ModelProfile],
    inventory: Inventory,
    *,
    batch: bool = False,
    change: Change | None = None,
) -> DeploymentPlan:
    """Place a deployment's models on the cards. ``batch``: for a job, which is to fill the cards.

    ``change``: the plan that runs now, and how many of its replicas may move.

    What a card's process takes by itself is what the deployment says, else what was measured with
    its models, else what the inventory assumes.

    Raises:
        PlanRefusedError: nothing fits; with the numbers and the nearest changes that would.
        DeploymentError: the deployment's placement rules contradict each other or the cards, or a
            model has no profile.
    """
    if without := [spec.name for spec in deployment.models if spec.name not in profiles]:
        told = f"no profile of {', '.join(without)}: orchestrator.profiles.collect makes them"
        raise DeploymentError(deployment.name, (told,))
    measured = [p.measurement.overhead_bytes or 0 for p in profiles.values() if p.measurement]
    if deployment.cards.overhead is None and any(measured):
        inventory = inventory.taking(max(measured))
    change = change or Change()
    modelling = Modelling.of(deployment, profiles, inventory, batch=batch)
    problem = change.of(modelling.problem(inventory))
    origins = tuple((spec.name, modelling.origin(spec.name)) for spec in deployment.models)
    try:
        found = solve(
            problem,
            budget=change.budget,
            seed=change.seed,
            moves=change.moves,
            interrupted=change.interrupted,
            improver=change.improver,
        )
    except PlanRefusedError as error:
        raise with_conversions(error, problem, profiles, modelling.model) from None
    versions = tuple((spec.name, _version(spec, profiles[spec.name])) for spec in deployment.models)
    plan = replace(found, origins=origins, versions=tuple((n, v) for n, v in versions if v))
    return DeploymentPlan(deployment, dict(profiles), problem, plan)


def _version(spec: ModelSpec, profile: ModelProfile) -> str:
    """The user's label and what the files hold, as far as they are known."""
    return " ".join(filter(None, (spec.version, profile.files.short if profile.files else "")))


def _hash(part: object) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def _deployment(data: Mapping[str, Any], source: str) -> Deployment:
    given = data["deployment"]
    if not isinstance(given, dict):
        raise DeploymentError(source, (f"deployment: expected a record, got {given!r:.60}",))
    return parse_deployment(given, f"{source}: deployment")


def _profiles(data: Mapping[str, Any], source: str) -> dict[str, ModelProfile]:
    try:
        return {name: ModelProfile.from_dict(one) for name, one in data["profiles"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        text = "profiles: not what a plan writes, a record of models with their sizes"
        raise DeploymentError(source, (text,)) from None
