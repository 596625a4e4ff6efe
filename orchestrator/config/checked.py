"""Finds everything that is wrong with plain data, not only what a first pass meets."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from orchestrator.config.deployment import Deployment
from orchestrator.config.findings import Finding, Loc
from orchestrator.config.messages import findings_of
from orchestrator.config.section import Reading

#: What takes the place of required fields that are wrong; models[i].path has one of its own.
_STAND_INS: Mapping[Loc, str] = {("name",): "deployment", ("cards", "kind"): "ascend"}
_STAND_IN_PATH = "model.mindir"


class Checked:
    """The findings about some plain data, in ``found``.

    Rules between fields can only be checked when the fields themselves are right. So the wrong ones
    are taken out, which gives them their defaults, and the rest is checked again.
    """

    def __init__(self, data: Mapping[str, Any], findings: Iterable[Finding] = ()) -> None:
        self._rest = copy.deepcopy(dict(data))
        self.found = dict.fromkeys(findings)
        self._removed = {finding.loc for finding in self.found}

    def run(self, reading: Reading) -> Deployment | None:
        """What is left without the wrong fields; None when that is no deployment."""
        while True:
            try:
                return Deployment.model_validate(self._rest, context=reading)
            except ValidationError as error:
                findings = findings_of(error, Deployment)
            self.add(findings)
            removed = {_take_out(self._rest, finding.loc) for finding in findings} - {None}
            if not removed:
                return None
            self._removed.update(loc for loc in removed if loc)
            self._removed.update(finding.meant for finding in findings if finding.meant)

    def stands(self, loc: Loc) -> bool:
        """Whether a field was not taken out, and so says what its file says."""
        return loc not in self._removed

    def add(self, findings: Iterable[Finding]) -> None:
        """Note what was found, but for what only follows from a field that was taken out."""
        for finding in findings:
            ends = range(1, len(finding.loc) + 1)
            if not any(finding.loc[:end] in self._removed for end in ends):
                self.found[finding] = None


def _take_out(data: dict[str, Any], loc: Loc) -> Loc | None:
    """Remove the field at ``loc``, or what is around one that is missing; say what was removed."""
    place = _whole_field(loc)
    stand_in = _STAND_IN_PATH if _field_of_model(place) == ("path",) else _STAND_INS.get(place)
    if stand_in is not None and _holds(data, place[:-1]):
        section = _at(data, place[:-1])
        if not isinstance(section, dict) or section.get(place[-1]) == stand_in:
            return None
        section[place[-1]] = stand_in
        return place
    while place and not _holds(data, place):
        place = place[:-1]
    if not place or (place[0] == "models" and _field_of_model(place) in ((), ("name",))):
        return None
    del _at(data, place[:-1])[place[-1]]
    return place


def _field_of_model(place: Loc) -> Loc:
    return place[2:] if place[:1] == ("models",) else ()


def _whole_field(loc: Loc) -> Loc:
    """The part of ``loc`` that can go without making anything else wrong.

    Up to the first list on the way, for taking out an item would renumber the others; and shapes as
    a whole, for it holds exactly one of several fields.
    """
    start = 2 if loc[:1] == ("models",) else 0
    if _field_of_model(loc)[:1] == ("shapes",):
        return loc[:3]
    for end in range(start, len(loc)):
        if isinstance(loc[end], int):
            return loc[:end]
    return loc


def _at(data: Any, loc: Loc) -> Any:  # noqa: ANN401 - whatever the file holds
    for part in loc:
        data = data[part]
    return data


def _holds(data: Any, loc: Loc) -> bool:  # noqa: ANN401 - whatever the file holds
    for part in loc:
        known = range(len(data)) if isinstance(data, list) else data
        if not isinstance(known, dict | range) or part not in known:
            return False
        data = data[part]
    return True
