"""The section that says what a placement is for and what it must keep together or apart."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.config.findings import Finding, require
from orchestrator.config.section import Count, Name, Section

_UTILISATION_OF_RATES = 0.85
_UTILISATION_OF_JOBS = 1.0

Group = tuple[Name, ...]


class Placement(Section):
    """What to optimise, and the constraints among models."""

    objective: Literal["min_cards", "max_alpha"] = Field(
        default="min_cards",
        description="min_cards: serve the demand on as few cards as possible. max_alpha: use all "
        "cards, and serve the largest common multiple of the demand.",
    )
    affinity: tuple[Group, ...] = Field(
        default=(), description="Groups of models that must be on the same cards."
    )
    anti_affinity: tuple[Group, ...] = Field(
        default=(), description="Groups of models of which no two may be on one card."
    )
    spread: dict[Name, Count] = Field(
        default_factory=dict, description="At least how many nodes a model's replicas must be on."
    )
    max_utilisation: Annotated[float, Field(strict=True, gt=0, le=1)] | None = Field(
        default=None,
        description="Largest planned busy share of a card. Omitted: 0.85 for demand given as a "
        "rate, which needs slack for its peaks, and 1.0 for batch jobs.",
    )

    def utilisation(self, batch: bool) -> float:
        """The planned busy share of a card for batch jobs, or for a rate."""
        if self.max_utilisation is not None:
            return self.max_utilisation
        return _UTILISATION_OF_JOBS if batch else _UTILISATION_OF_RATES

    @model_validator(mode="after")
    def _check(self) -> "Placement":
        require(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        for key in ("affinity", "anti_affinity"):
            for number, group in enumerate(getattr(self, key)):
                repeated = sorted({name for name in group if group.count(name) > 1})
                if repeated:
                    yield Finding((key, number), f"names {', '.join(repeated)} more than once")
                elif len(group) < 2:
                    yield Finding((key, number), "needs at least two models")
