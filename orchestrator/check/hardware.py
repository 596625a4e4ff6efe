"""What a model was compiled for, against the cards of the deployment."""

import re
from collections.abc import Iterator

from actors.machine.finding import Finding
from orchestrator.config import Cards

#: Families of SoCs whose compiled models run on one another; longer names first.
_FAMILY = re.compile(r"(?:ascend)?[-_ ]?(910_?93|910b|310p|310b|910|310)", re.IGNORECASE)


def hardware_findings(
    cards: Cards, *, converted: bool, soc: str | None, allowed: bool
) -> Iterator[Finding]:
    """Whether a model file can run on these cards as it is.

    ``allowed``: the deployment lets models be compiled whenever they are built.
    """
    if cards.kind == "ascend" and not converted and not allowed:
        fix = (
            "orchestrator convert --target ascend, or allow it with compile_at_build: true, which "
            "makes every start slow"
        )
        wanted = "a MindIR that was converted for Ascend"
        yield Finding("file", "one that is compiled whenever it is built", wanted, fix, False)
    if cards.kind == "cpu" and converted:
        fix = "orchestrator convert --target cpu"
        wanted = "one for the processor (kind cpu)"
        yield Finding("file", f"a model compiled for {soc or 'Ascend'}", wanted, fix, False)
    mine, theirs = family(cards.type), family(soc)
    if cards.kind == "ascend" and mine and theirs and mine != theirs:
        fix = f"convert it on a machine with cards of type {cards.type}, or correct cards.type"
        wanted = f"one for cards of type {cards.type}"
        yield Finding("file", f"a model compiled for {soc}", wanted, fix, False)


def family(name: str | None) -> str:
    """The family of a SoC or card type: ``310p`` of Ascend310P3, ``910b`` of 910B-64G; or empty."""
    match = _FAMILY.match(name or "")
    return match[1].lower().replace("_", "") if match else ""
