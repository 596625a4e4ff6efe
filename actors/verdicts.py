"""What cards of this node were found to do or not to do, kept on the node.

A verdict holds for one combination of card type, driver, CANN and mindspore_lite, and is found
anew on another.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from actors import device, environment, kept, npusmi

#: Models that share one workspace, as large as the largest needs, answer as unshared ones.
MAX_RULE = "one workspace as large as the largest"
#: GE models and ACL models in one process disturb neither memory nor answers.
MIXTURE = "GE beside ACL"
#: What was found about the environment that a verdict depends on.
_SUBJECTS = ("driver", "CANN", "mindspore_lite")
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


def failed_here(claim: str) -> tuple[Verdict, ...]:
    """The bad verdicts on a claim that hold for cards of this machine as it is now."""
    bad = [verdict for verdict in stored() if not verdict.holds and verdict.claim == claim]
    if not bad:
        return ()
    try:
        here = {combination(str(card.npu_id)) for card in npusmi.read_cards()}
    except npusmi.SmiError:
        here = {combination("")}
    return tuple(verdict for verdict in bad if verdict.where in here)


def combination(npu_id: str) -> str:
    """What a verdict is for: ``910B4, driver 24.1.rc2, CANN 8.0.RC2, mindspore_lite 2.7.0``."""
    try:
        chips = {str(card.npu_id): card.chip for card in npusmi.read_cards()}
    except npusmi.SmiError:
        chips = {}
    found = {f.subject: f.found for f in environment.inspect(os.environ, kind="ascend")}
    parts = [f"{subject} {found.get(subject, 'unknown')}" for subject in _SUBJECTS]
    return ", ".join([chips.get(npu_id, "card of unknown type"), *parts])


def npu_id_of(device_id: int) -> str:
    """What npu-smi calls a card of this process: it does not heed the list of visible ones."""
    listed = device.visible(os.environ)
    return str(device_id if listed is None else listed[device_id])


def _file(claim: str, where: str) -> Path:
    digest = hashlib.sha256(f"{claim}: {where}".encode()).hexdigest()
    return folder() / f"{digest[:20]}.json"


def _read(file: Path) -> Verdict | None:
    try:
        data = json.loads(file.read_text())
        claim = str(data["claim"])
        return Verdict(str(data["where"]), bool(data["holds"]), str(data["says"]), claim)
    except (OSError, ValueError, KeyError, TypeError):
        return None
