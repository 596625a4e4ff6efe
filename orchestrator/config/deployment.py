"""The whole of a deployment file as one object."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from actors.memory import AllocationRule
from actors.messages import ModelOrder
from orchestrator.config.autoscale import Autoscale
from orchestrator.config.cards import Cards, Sharing
from orchestrator.config.checks import autoscale_findings, deployment_findings
from orchestrator.config.findings import did_you_mean, require
from orchestrator.config.models import ModelSpec
from orchestrator.config.orders import order_of
from orchestrator.config.placement import Placement
from orchestrator.config.section import Name, Section
from orchestrator.errors import DeploymentError


class Deployment(Section):
    """Which models run on which kind of cards, how, and what a placement must keep to."""

    name: Name = Field(description="Name of the deployment.")
    cards: Cards = Field(description="The cards that it runs on.")
    sharing: Sharing = Field(
        default_factory=Sharing, description="What models of one card share, unless they say else."
    )
    models: tuple[ModelSpec, ...] = Field(description="The models, at least one.")
    placement: Placement = Field(
        default_factory=Placement, description="What a placement is for, and what it must keep to."
    )
    autoscale: Autoscale | None = Field(
        default=None,
        description="Lets the number of cards follow the work, from autoscale.min_cards to "
        "cards.count. Omitted: cards stay as planned.",
    )

    @model_validator(mode="after")
    def _check(self) -> "Deployment":
        require(deployment_findings(self.cards, self.sharing, self.models, self.placement))
        if self.autoscale is not None:
            require(autoscale_findings(self.cards, self.autoscale.min_cards))
        return self

    @property
    def rule(self) -> AllocationRule:
        """How allocations on its cards are rounded."""
        return self.cards.allocation.rule

    def model(self, name: str) -> ModelSpec:
        """The model of that name.

        Raises:
            DeploymentError: there is none; names the nearest.
        """
        names = [model.name for model in self.models]
        if name not in names:
            hint = did_you_mean(name, names) or f" (there are: {', '.join(names)})"
            raise DeploymentError(self.name, (f"there is no model {name!r}{hint}",))
        return self.models[names.index(name)]

    def for_job(self, model: str) -> "Deployment":
        """The same for a batch job that runs this model alone: all of the work is its."""
        shares = {spec.name: float(spec.name == model) for spec in self.models}
        models = tuple(s.model_copy(update={"work_share": shares[s.name]}) for s in self.models)
        return self.model_copy(update={"models": models})

    def orders(self) -> tuple[ModelOrder, ...]:
        """Every model as a card is told to build it, in the order of the file; no footprints.

        Raises:
            DeploymentError: shapes are left to a Lite config file that cannot be read.
        """
        return tuple(order_of(model, self.cards.kind, self.sharing) for model in self.models)

    def as_data(self) -> Mapping[str, Any]:
        """Plain data for JSON, which ``parse_deployment`` reads back as an equal deployment."""
        return self.model_dump(mode="json", exclude_none=True)
