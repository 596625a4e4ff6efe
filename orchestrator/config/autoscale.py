"""The section that lets the number of cards follow the work."""

from typing import Annotated

from pydantic import Field

from orchestrator.config.section import Count, DurationAboveZero, Flag, Section


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
    request_resources: Flag = Field(
        default=False,
        description="Also call Ray's request_resources with the number of cards that are wanted, "
        "so that Ray's autoscaler (version 1) starts the nodes for all of them at once, whatever "
        "its upscaling_speed. A cluster has one such request: what others in it requested so, "
        "Ray Data too, is overwritten, and theirs overwrites ours.",
    )
