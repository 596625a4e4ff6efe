"""What cards of this node were found to do or not to do, kept on the node.

A verdict holds for one combination of card type, driver, CANN and mindspore_lite, and is found
anew on another.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from actors.machine import environment, kept, npusmi

#: Models that share one workspace, as large as the largest needs, answer as unshared ones.
MAX_RULE = "one workspace as large as the largest"
#: GE models and ACL models in one process disturb neither memory nor answers.
MIXTURE = "GE beside ACL"
#: What was found about the environment that a verdict depends on.
_SUBJECTS = ("driver", "CANN", "mindspore_lite")
_UNKNOWN = "card of unknown type"
#: What follows from a verdict that is bad.
_THEN = {
    MAX_RULE: "does not hold, so workspaces are summed",
    MIXTURE: "does not hold, so cards run models of one provider",
}


@dataclass(frozen=True)
class Verdict:
    """Whether ``claim`` holds ``where`` (card type, driver, CANN, mindspore_lite), and why."""

    where: str
    holds: bool
    says: str
    claim: str = MAX_RULE

    def __str__(self) -> str:
        what = "holds" if self.holds else _THEN[self.claim]
        return f"{self.claim} {what} ({self.where}): {self.says}"


def folder() -> Path:
    """Where this node keeps its verdicts."""
    return kept.kept_folder("verdicts")


def keep(verdict: Verdict) -> None:
    """Write it down, in place of one on the same; readers see the old one or the new one."""
    kept.keep(_file(verdict.claim, verdict.where), asdict(verdict))


def find(claim: str, where: str) -> Verdict | None:
    """What was found there; None: nothing yet."""
    return _read(_file(claim, where))


def stored() -> tuple[Verdict, ...]:
    """Every verdict of this node."""
    found = (_read(file) for file in sorted(folder().glob("*.json")))
    return tuple(verdict for verdict in found if verdict is not None)


def here(cards: Iterable[npusmi.SmiCard]) -> tuple[Verdict, ...]:
    """The verdicts that are for this machine as it is now. ``cards``: as npu-smi lists them."""
    found = stored()
    if not found:
        return ()
    now = {_with(chip) for chip in {card.chip for card in cards} or {_UNKNOWN}}
    return tuple(verdict for verdict in found if verdict.where in now)


def failed_here(claim: str) -> tuple[Verdict, ...]:
    """The bad verdicts on a claim that are for this machine as it is now."""
    bad = [verdict for verdict in stored() if not verdict.holds and verdict.claim == claim]
    if not bad:
        return ()
    try:
        cards = npusmi.read_cards()
    except npusmi.SmiError:
        cards = ()
    now = here(cards)
    return tuple(verdict for verdict in bad if verdict in now)


def combination(npu_id: str) -> str:
    """What a verdict is for: ``910B4, driver 24.1.rc2, CANN 8.0.RC2, mindspore_lite 2.7.0``."""
    card = npusmi.read_card(npu_id)
    return _with(card.chip if card else _UNKNOWN)


def _with(chip: str) -> str:
    """The combination of a kind of card and what this machine has installed."""
    found = {f.subject: f.found for f in environment.inspect(os.environ, kind="ascend")}
    parts = [f"{subject} {found.get(subject, 'unknown')}" for subject in _SUBJECTS]
    return ", ".join([chip, *parts])


def _file(claim: str, where: str) -> Path:
    digest = hashlib.sha256(f"{claim}: {where}".encode()).hexdigest()
    return folder() / f"{digest[:20]}.json"


def _read(file: Path) -> Verdict | None:
    try:
        data = json.loads(file.read_text())
        claim = str(data["claim"])
        if claim not in _THEN:
            return None  # another release's
        return Verdict(str(data["where"]), bool(data["holds"]), str(data["says"]), claim)
    except (OSError, ValueError, KeyError, TypeError):
        return None
