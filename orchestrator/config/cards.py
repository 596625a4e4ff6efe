"""The sections that describe the cards and how memory on them is counted."""

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from actors.memory import ASCEND, EXACT, AllocationRule
from actors.messages import CardKind
from orchestrator.config.findings import Finding, did_you_mean, require
from orchestrator.config.presets import CARD_TYPES
from orchestrator.config.section import (
    Count,
    Duration,
    Flag,
    OrWritten,
    Section,
    Size,
    SizeAboveZero,
    Text,
)

_RULES = {"ascend": ASCEND, "exact": EXACT}
#: Resources that Ray fills itself; a card cannot be counted by them.
_RAYS_OWN = ("CPU", "memory", "object_store_memory")
#: Those by which Ray tells a process which of a node's cards it has.
_WITH_IDS = ("NPU", "GPU")


class Allocation(Section):
    """How one allocation on a card is rounded up."""

    pad: Size = Field(description="Bytes added to every allocation before it is rounded.")
    granule: SizeAboveZero = Field(description="Allocations are rounded up to a multiple of this.")
    large_granule: SizeAboveZero = Field(description="The multiple for large allocations.")
    large_above: Size = Field(description="An allocation larger than this is a large one.")

    @property
    def rule(self) -> AllocationRule:
        """The same numbers as the memory arithmetic takes them."""
        return AllocationRule(self.pad, self.granule, self.large_granule, self.large_above)


def _allocation(value: object) -> object:
    """Let a known rule be written by its name."""
    if not isinstance(value, str):
        return value
    if value not in _RULES:
        hint = did_you_mean(value, _RULES) or ", nor a mapping of the four numbers"
        raise ValueError(f"{value!r} is none of {', '.join(_RULES)}{hint}")
    return _named(value)


def _named(name: str) -> Allocation:
    rule = _RULES[name]
    return Allocation(
        pad=rule.pad,
        granule=rule.granule,
        large_granule=rule.large_granule,
        large_above=rule.large_above,
    )


class Cards(Section):
    """The cards that the deployment runs on; all are alike."""

    kind: CardKind = Field(
        description="ascend: an NPU with mindspore_lite. cpu: the same library on the processor, "
        "where nothing is shared. emulated: an emulated card, which needs no hardware."
    )
    type: Text | None = Field(
        default=None,
        description="The hardware, for example 310P, 910B-32G or 910B-64G. For these three, "
        "capacity, overhead and speed are assumed when they are not given: 21 GiB, 1.5 GiB, 1; "
        "32 GiB, 3 GiB, 3; 64 GiB, 3 GiB, 4. These are assumptions, not measurements.",
    )
    count: Count | None = Field(
        default=None, description="How many cards. Omitted: as many as the cluster has."
    )
    capacity: SizeAboveZero | None = Field(
        default=None,
        description="Bytes free on an idle card, such as 20GiB. Omitted: what the type is assumed "
        "to have in a plan, and what the idle card reports when it starts.",
    )
    reserve: Size = Field(default=0, description="Bytes of each card to leave free.")
    overhead: Size | None = Field(
        default=None,
        description="Bytes that a card's process takes before it has any model. Omitted: what the "
        "type is assumed to take (kind ascend), else none.",
    )
    streams: Count | None = Field(
        default=None,
        description="Hardware streams of one card, which all Model objects on it share. Omitted: "
        "what CANN documents for the type (kind ascend): 1024 of a 310P, 2048 of a 910B; else no "
        "limit is known.",
    )
    resource: Text = Field(default="NPU", description="The Ray resource that counts the cards.")
    allocation: Annotated[
        Allocation, BeforeValidator(_allocation), OrWritten({"enum": list(_RULES)})
    ] = Field(
        default_factory=lambda: _named("ascend"),
        description="How allocations are rounded: ascend (32 bytes more, then 2 MiB pages above "
        "1 MiB and 4 KiB pages below), exact (not at all), or the four numbers.",
    )

    mix_ge_and_acl: Flag = Field(
        default=False,
        description="Allow models of provider ge and of provider acl on one card. Set it once "
        "orchestrator verify-card has passed that mixture on this card type and CANN.",
    )
    memory_wait: Duration = Field(
        default=60.0,
        description="How long a starting card waits for memory that a process which ended has not "
        "given back yet; what is then still held is somebody else's.",
    )
    memory_return: Duration = Field(
        default=0.0,
        description="Kind emulated: how long the memory of a process that ended stays taken. On "
        "real cards it does for up to a minute.",
    )

    @property
    def speed(self) -> float:
        """Assumed speed of one card, relative to a 310P."""
        preset = CARD_TYPES.get(self.type or "")
        return preset.speed if preset else 1.0

    @model_validator(mode="after")
    def _check(self) -> "Cards":
        require(self._findings())
        return self

    def _findings(self) -> Iterator[Finding]:
        preset = CARD_TYPES.get(self.type or "")
        plain = {_plain(name): name for name in CARD_TYPES}
        if self.type and preset is None and _plain(self.type) in plain:
            meant = plain[_plain(self.type)]
            yield Finding(("type",), f"unknown type {self.type!r}, did you mean {meant!r}?")
        capacity = self.capacity or (preset.capacity_bytes if preset else None)
        taken = self.reserve + (self.overhead or 0)
        if capacity is not None and taken >= capacity:
            yield Finding(
                ("reserve",) if self.reserve else ("overhead",),
                f"reserve and overhead take {taken:,} bytes and the card has {capacity:,}: "
                "nothing is left for models",
            )
        if self.memory_return and self.kind != "emulated":
            yield Finding(("memory_return",), "is played by cards of kind emulated alone")
        if self.resource in _RAYS_OWN or self.resource.startswith("node:"):
            yield Finding(
                ("resource",), f"{self.resource!r} is a resource of Ray's own: choose another name"
            )
        elif self.kind == "ascend" and self.resource not in _WITH_IDS:
            yield Finding(
                ("resource",),
                f"by {self.resource!r} Ray does not tell a process which of the node's cards it "
                f"has, and by {' and '.join(_WITH_IDS)} it does: start Ray on the nodes with "
                "--resources='{\"NPU\": 8}', and leave resource out",
            )


class Sharing(Section):
    """What the models of a card share."""

    workspace: Flag | None = Field(
        default=None,
        description="Whether models use the card's one workspace and run one at a time. Omitted: "
        "they do wherever they can (not dynamic shapes, provider ge or kind cpu).",
    )
    weights: Flag | None = Field(
        default=None,
        description="Whether the threads of a model share one copy of its weights. Omitted: they "
        "do wherever they can (not kind cpu).",
    )


_SLOT = re.compile(r"(?P<node>[^/\s]+)/(?P<index>\d{1,6})")


def slot_parts(slot: str) -> tuple[str, int] | None:
    """Node and index of a slot's name, ``local/0``; None when it is not one."""
    match = _SLOT.fullmatch(slot)
    return (match["node"], int(match["index"])) if match else None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
