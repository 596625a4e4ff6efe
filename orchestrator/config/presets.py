"""What is assumed about a card of a known type until the card itself has been asked."""

from dataclasses import dataclass

_MIB = 1 << 20


@dataclass(frozen=True)
class CardType:
    """A preset: bytes free on an idle card, bytes of its process, relative speed, streams."""

    capacity_bytes: int
    overhead_bytes: int
    speed: float
    streams: int


#: Assumptions, not measurements: nameplate memory less what the driver usually holds, and a guess
#: at speed. A capacity in the deployment, or the free memory of the idle card, goes first. How many
#: hardware streams there are is what CANN documents: 1024 of a 310P, 2048 of a training card.
CARD_TYPES = {
    "310P": CardType(21504 * _MIB, 1536 * _MIB, 1.0, 1024),
    "910B-32G": CardType(32768 * _MIB, 3072 * _MIB, 3.0, 2048),
    "910B-64G": CardType(65536 * _MIB, 3072 * _MIB, 4.0, 2048),
}
