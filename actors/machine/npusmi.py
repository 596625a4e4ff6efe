"""What ``npu-smi info`` says of this machine's cards: memory, and which processes hold it.

The only way to look at a card without making a context, and so using memory, on it. The ids are
the tool's own (``actors.device``): it does not honour ``ASCEND_RT_VISIBLE_DEVICES``. Every layout
of the table seen in public has two rows for each chip and a second table with the processes; the
chips' own columns differ by product (910: HBM; 310P: only "Memory-Usage"; A3: two chips for each
NPU, "Phy-ID").
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

_MIB = 1 << 20
_USAGE = re.compile(r"(\d+)\s*/\s*(\d+)")


class SmiError(Exception):
    """``npu-smi`` is not there, failed, or printed what cannot be read."""


@dataclass(frozen=True)
class Holder:
    """A process with memory on a card, as the host numbers it."""

    pid: int
    name: str
    nbytes: int


@dataclass(frozen=True)
class SmiCard:
    """One chip: what Ray and CANN take for a card. ``npu_id`` is the N of ``/dev/davinciN``.

    ``chip`` is the name that the converter's SoC is made from: Ascend310P3, Ascend910B4.
    ``total_bytes`` is 0 where the tool does not tell, as it does of a card that is broken.
    """

    npu_id: int
    chip: str
    health: str
    used_bytes: int
    total_bytes: int
    holders: tuple[Holder, ...] = ()

    @property
    def free_bytes(self) -> int:
        """What nobody holds."""
        return self.total_bytes - self.used_bytes


def read_cards(timeout_seconds: float = 30.0) -> tuple[SmiCard, ...]:
    """This machine's cards by ``npu_id``; none where the tool says that there are none.

    Raises:
        SmiError: the tool is missing, fails, hangs, or prints what cannot be read.
    """
    try:
        done = subprocess.run(
            ["npu-smi", "info"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError:
        raise SmiError("npu-smi is not on the PATH") from None
    except OSError as error:
        raise SmiError(f"npu-smi cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise SmiError(f"npu-smi info gave no answer in {timeout_seconds:g} s") from None
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip() or "no message").splitlines()[-1]
        raise SmiError(f"npu-smi info failed with status {done.returncode}: {said}")
    return parse_cards(done.stdout)


def find_card(cards: Sequence[SmiCard], npu_id: str) -> SmiCard | None:
    """The card of that id; where there is one alone, that, since containers may renumber it."""
    same = (card for card in cards if str(card.npu_id) == npu_id)
    return next(same, cards[0] if len(cards) == 1 else None)


def read_card(npu_id: str) -> SmiCard | None:
    """One card as the tool shows it now; None where it shows none, or does not work."""
    try:
        return find_card(read_cards(), npu_id)
    except SmiError:
        return None


def parse_cards(text: str) -> tuple[SmiCard, ...]:
    """The cards of ``npu-smi info``.

    Raises:
        SmiError: the text is no such table.
    """
    tables = text.partition("Process id")
    rows = list(_rows(tables[0]))
    if not any(row[0].startswith("NPU") for row in rows):
        raise SmiError("npu-smi info printed no table of cards")
    chips: dict[tuple[int, int], SmiCard] = {}
    has_id = any(re.fullmatch(r"Chip\s+\S+", row[0]) for row in rows)
    data = [row for row in rows if re.match(r"\d", row[0])]
    for upper, lower in zip(data[::2], data[1::2], strict=False):
        npu, chip, card = _card(upper, lower, has_id)
        chips[npu, chip] = card
    for key, holder in _holders(tables[2]):
        if key in chips:
            chips[key] = replace(chips[key], holders=(*chips[key].holders, holder))
    return tuple(sorted(chips.values(), key=lambda card: card.npu_id))


def _rows(table: str) -> Iterator[list[str]]:
    """The cells of each line between bars; other lines are borders."""
    for line in table.splitlines():
        if line.strip().startswith("|"):
            yield [cell.strip() for cell in line.strip().strip("|").split("|")]


def _card(upper: list[str], lower: list[str], has_id: bool) -> tuple[int, int, SmiCard]:
    """``NPU Name | Health | ...`` over ``Chip [Phy-ID] | Bus-Id | ... used / total``."""
    try:
        npu_text, name = upper[0].split(maxsplit=1)
        numbers = [int(word) for word in lower[0].split()]
        usages = [(int(used), int(total)) for used, total in _USAGE.findall(lower[2])]
        npu, chip = int(npu_text), numbers[0]
        used, total = next((usage for usage in reversed(usages) if usage[1]), (0, 0))
        npu_id = numbers[1] if has_id else npu
        card = SmiCard(npu_id, name, upper[1], used * _MIB, total * _MIB)
    except (ValueError, IndexError):
        raise SmiError(f"npu-smi info: cannot read {upper[0]!r} and {lower[0]!r}") from None
    return npu, chip, card


def _holders(table: str) -> Iterator[tuple[tuple[int, int], Holder]]:
    """``NPU Chip | Process id | Process name | Process memory(MB)``; a name may be blank."""
    for row in _rows(table):
        ids = re.fullmatch(r"(\d+)\s+(\d+)", row[0])
        if ids and len(row) >= 4 and row[1].isdigit() and row[3].isdigit():
            holder = Holder(int(row[1]), row[2] or "unnamed", int(row[3]) * _MIB)
            yield (int(ids[1]), int(ids[2])), holder
