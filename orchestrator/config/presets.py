"""What is assumed about a card of a known type until the card itself has been asked."""

from dataclasses import dataclass

_MIB = 1 << 20


@dataclass(frozen=True)
class CardType:
    """A hardware preset: bytes free on an idle card, bytes the process takes, relative speed."""

    capacity_bytes: int
    overhead_bytes: int
    speed: float


#: Assumptions, not measurements: nameplate memory less what the driver usually holds, and a guess
#: at speed. A capacity in the deployment, or the free memory of the idle card, goes first.
CARD_TYPES = {
    "310P": CardType(21504 * _MIB, 1536 * _MIB, 1.0),
    "910B-32G": CardType(32768 * _MIB, 3072 * _MIB, 3.0),
    "910B-64G": CardType(65536 * _MIB, 3072 * _MIB, 4.0),
}
