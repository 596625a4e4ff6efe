"""How a job is run, with the values that suit pages of text. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class JobOptions:
    """``in_flight``: records between source and sink at once. ``part_size``: records in a part."""

    in_flight: int = 8
    part_size: int = 8
