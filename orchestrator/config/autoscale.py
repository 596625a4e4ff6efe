"""The section that lets the number of cards follow the work."""

from typing import Annotated

from pydantic import Field

from orchestrator.config.section import Count, DurationAboveZero, Section


class Autoscale(Section):
    """Between which bounds cards are added and given back, and how soon."""

    min_cards: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = Field(
        default=1,
        description="Cards that are kept when there is little to do; 0: none. cards.count is the "
        "most. As many as hold all models are used whenever there is work.",
    )
    busy: Annotated[float, Field(strict=True, gt=0.05, le=1)] = Field(
        default=0.8,
        description="Cards are added when they would be busier than this; they are given back when "
        "fewer would stay a quarter below it.",
    )
    idle: DurationAboveZero = Field(
        default=60.0,
        description="How long there must have been too many cards before some are given back.",
    )
    starts_per_minute: Count = Field(
        default=20, description="At most so many cards are started for it in a minute."
    )
