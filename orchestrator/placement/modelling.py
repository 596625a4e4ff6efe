"""From a deployment with profiles to the problem: final bytes, milliseconds, demand and rules."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from actors.memory import footprint
from actors.messages import ModelOrder
from orchestrator.config import Deployment, ModelSpec
from orchestrator.inventory import Inventory
from orchestrator.placement.joining import Joining
from orchestrator.placement.problem import Model, Problem
from orchestrator.profiles import ModelProfile, batch_times, gears_of, largest_batch

#: Milliseconds that an item of a job is taken to need where no time at all is known.
_ANY_MS = 1.0


@dataclass(frozen=True)
class Modelling:
    """A deployment's models as a problem has them, on cards of which the fastest has ``speed``.

    ``job``: for a batch job, which keeps cards busy with full batches, and has a share of the work
    for each model in place of a rate.
    """

    deployment: Deployment
    profiles: Mapping[str, ModelProfile]
    speed: float
    batch: bool

    @classmethod
    def of(
        cls,
        deployment: Deployment,
        profiles: Mapping[str, ModelProfile],
        inventory: Inventory,
        *,
        batch: bool,
    ) -> "Modelling":
        """For these cards; ``batch``: for a job."""
        speed = max((card.speed for card in inventory.cards), default=1.0)
        return cls(deployment, profiles, speed, batch)

    @property
    def job(self) -> bool:
        """Whether the models share the work of a job; where cards follow the work, they do not."""
        return self.batch and self.deployment.autoscale is None

    @property
    def utilisation(self) -> float:
        """The largest planned busy share of a card."""
        return self.deployment.placement.utilisation(self.batch)

    def problem(self, inventory: Inventory) -> Problem:
        """The placement problem.

        Raises:
            DeploymentError: rules that contradict each other or name unknown models or cards.
        """
        placement = self.deployment.placement
        made = Problem(
            objective="max_alpha" if self.job else placement.objective,
            models=tuple(self.model(self.profiles[spec.name]) for spec in self.deployment.models),
            cards=inventory.cards,
            name=self.deployment.name,
            affinity=placement.affinity,
            anti_affinity=(*placement.anti_affinity, *_providers_apart(self.deployment)),
            max_utilisation=self.utilisation,
            job=self.job,
        )
        made.require_sound(self.deployment.name)
        return made

    def model(self, profile: ModelProfile) -> Model:
        """The model of a profile, which need not be one of those that the problem is made of."""
        spec, order = self._specs[profile.name], self._orders[profile.name]
        # The library refuses to group paths without weights, for their workspace too.
        groups = order.provider == "ge" or profile.sizes.weights > 0
        used = footprint(
            spec.name,
            profile.sizes,
            self.deployment.rule,
            threads=order.threads,
            share_weights=order.share_weights and groups,
            share_workspace=order.share_workspace and groups,
            widens_workspace=order.shares_weights_alone and groups and not order.dynamic,
        )
        demand, service_ms, rows = self._timed(spec, order, profile)
        largest_ms = profile.batch_ms if profile.service_ms else 0.0
        return Model(
            name=spec.name,
            weight_bytes=used.weights,
            workspace_bytes=used.workspace,
            io_bytes=used.io,
            dynamic=used.dynamic,
            threads=used.threads,
            service_ms=service_ms,
            demand_rps=demand,
            min_replicas=spec.replicas.min,
            max_replicas=spec.replicas.max,
            share_weights=used.share_weights,
            share_workspace=used.share_workspace,
            overlap=spec.overlap,
            object_bytes=used.object_bytes,
            streams=used.streams,
            max_delay_ms=None if spec.max_delay is None else spec.max_delay * 1000,
            batch_ms=None if largest_ms == service_ms else largest_ms,
            batch_rows=rows,
            spread_nodes=self.deployment.placement.spread.get(spec.name, 1),
            allowed_kinds=spec.allowed_kinds or None,
            allowed_types=spec.allowed_types or None,
            cards=spec.cards or None,
            widens_workspace=used.widens_workspace,
            session_bytes=profile.session_bytes,
        )

    def origin(self, name: str) -> str:
        """Where a model's numbers come from, in words."""
        spec, profile = self._specs[name], self.profiles[name]
        if not profile.service_ms and self.job:
            return f"{profile.label}, no known time: as much work as the others"
        if not profile.service_ms and spec.demand is not None:
            return f"{profile.label}, demand left out: no known time"
        return profile.label

    @cached_property
    def _specs(self) -> Mapping[str, ModelSpec]:
        return {spec.name: spec for spec in self.deployment.models}

    @cached_property
    def _orders(self) -> Mapping[str, ModelOrder]:
        return {order.name: order for order in self.deployment.orders()}

    def _timed(
        self, spec: ModelSpec, order: ModelOrder, profile: ModelProfile
    ) -> tuple[float, float, float | None]:
        """Items a second (of a job, for each record), milliseconds of one, and rows of a batch."""
        demand = self._shares[spec.name] if self.job else spec.demand or 0.0
        if not profile.service_ms:
            return (
                (demand, self._usual_work / (demand or 1.0), None) if self.job else (0.0, 0.0, None)
            )
        joining = self._joining(spec, order, profile)
        if joining is None:
            return demand, profile.service_ms, None
        fewest = max(spec.replicas.min, self.deployment.placement.spread.get(spec.name, 1))
        rate = 0.0 if self.job else demand
        joined = joining.under(rate, fewest, spec.replicas.max)
        return demand, float(f"{joined.row_ms:.9g}"), float(f"{joined.rows:.4g}")

    def _joining(self, spec: ModelSpec, order: ModelOrder, profile: ModelProfile) -> Joining | None:
        """How its requests are joined; None where only the time of an item is known."""
        measured = profile.measurement
        measured = None if measured is None or measured.compiled else measured
        times = batch_times(spec, order, self.deployment.cards, measured)
        if not times or order.dynamic:
            return None
        return Joining(
            times=times,
            most=largest_batch(order, gears_of(spec, order, measured)),
            max_wait=order.batching.max_wait,
            utilisation=self.utilisation,
            speed=self.speed,
            copies=order.threads == 1,
        )

    @cached_property
    def _shares(self) -> Mapping[str, float]:
        """Items of each model for each record of a job: as declared, else as the rates are."""
        models = self.deployment.models
        if any(spec.work_share is not None for spec in models):
            return {m.name: 1.0 if m.work_share is None else m.work_share for m in models}
        least = min((spec.demand for spec in models if spec.demand), default=1.0)
        return {spec.name: (spec.demand or least) / least for spec in models}

    @cached_property
    def _usual_work(self) -> float:
        """Milliseconds for each record of a job: the mean of the models whose times are known."""
        known = [
            share * (self.profiles[name].service_ms or 0.0)
            for name, share in self._shares.items()
            if share and self.profiles[name].service_ms
        ]
        return statistics.fmean(known) if known else _ANY_MS


def problem_of(
    deployment: Deployment,
    profiles: Mapping[str, ModelProfile],
    inventory: Inventory,
    *,
    batch: bool = False,
) -> Problem:
    """The placement problem of a deployment: final bytes, milliseconds per item, and its rules.

    Raises:
        DeploymentError: rules that contradict each other or name unknown models or cards.
    """
    return Modelling.of(deployment, profiles, inventory, batch=batch).problem(inventory)


def _providers_apart(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """Pairs of models that no card may mix: those of provider ge with those of provider acl."""
    if deployment.cards.mix_ge_and_acl or deployment.cards.kind == "cpu":
        return
    for ge in deployment.models:
        for acl in deployment.models:
            if (ge.provider, acl.provider) == ("ge", "acl"):
                yield ge.name, acl.name
