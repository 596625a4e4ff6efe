"""By how much serving cards exceeded their plans: kept by card type, left free in later plans."""

import json
import logging
import re
from pathlib import Path

from actors.machine.kept import keep, kept_folder
from actors.messages import CardKind, MemoryReport

_log = logging.getLogger(__name__)


class Residuals:
    """The largest excess of each card kind and type, in one small file each."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or kept_folder("residuals")

    def note(self, kind: CardKind, card_type: str | None, report: MemoryReport) -> None:
        """Remember a card that took more than planned; less, or not measured, changes nothing.

        Where that cannot be written down, the log says so.

        Emulated cards are left out: theirs differ only where a deployment declares wrong sizes.
        """
        excess = report.residual_bytes or 0
        if kind == "emulated" or excess <= self.largest(kind, card_type):
            return
        record = {"bytes": excess, "slot": report.slot, "source": report.source}
        try:
            keep(self._file(kind, card_type), record)
        except OSError as error:  # no reason for a card that serves not to be used
            _log.warning(
                "%s took %d bytes beyond its plan, which cannot be kept for later ones: %s: %s",
                report.slot,
                excess,
                error.filename,
                error.strerror,
            )

    def largest(self, kind: CardKind, card_type: str | None) -> int:
        """Bytes that a plan for such cards should leave free; 0 where none took too much."""
        try:
            return max(int(json.loads(self._file(kind, card_type).read_text())["bytes"]), 0)
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def _file(self, kind: CardKind, card_type: str | None) -> Path:
        plain = re.sub(r"[^A-Za-z0-9.-]", "_", card_type or "unknown")
        return self.folder / f"{kind}-{plain}.json"
