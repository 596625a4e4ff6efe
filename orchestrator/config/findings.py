"""What a check found wrong, where in the deployment, and how close the nearest right word is."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.errors import DeploymentError

#: A place in a deployment: ("models", 0, "batching", "max_batch").
Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Finding:
    """One problem: where, and a sentence.

    ``names_field``: the sentence itself names the last part of the place. ``meant``: the place of
    the field that a misspelt one was probably meant for.
    """

    loc: Loc
    text: str
    names_field: bool = False
    meant: Loc | None = None

    def place(self, data: object) -> str:
        """The place for people, with the name that ``data`` gives a model."""
        return where(self.loc[:-1] if self.names_field else self.loc, data)

    def below(self, parent: Loc) -> "Finding":
        """The same finding seen from the section that holds ``parent``."""
        return replace(self, loc=(*parent, *self.loc))


class Findings(ValueError):
    """What a validator raises when it has found several problems at once."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        super().__init__()
        self.findings = tuple(findings)

    def __str__(self) -> str:
        return "; ".join(finding.text for finding in self.findings)


def require(findings: Iterable[Finding]) -> None:
    """Raise Findings when there are any."""
    found = tuple(findings)
    if found:
        raise Findings(found)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant; empty when none is close."""
    words = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return words[close[0]] if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``, did you mean 'replicas'?`` or nothing when no known word is close."""
    meant = nearest(word, known)
    return f", did you mean {meant!r}?" if meant else ""


def where(loc: Loc, data: object) -> str:
    """``models[0] (det): batching.max_batch`` for people; the name is read from ``data``."""
    head, rest = "", loc
    if len(loc) > 1 and loc[0] == "models" and isinstance(loc[1], int):
        name = _model_name(data, loc[1])
        head = f"models[{loc[1]}]" + (f" ({name})" if name else "")
        rest = loc[2:]
    tail = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
    return ": ".join(part for part in (head, tail.removeprefix(".")) if part)


def error_of(
    source: str, findings: Sequence[Finding], data: object, lines: "LineNumbers | None" = None
) -> DeploymentError:
    """All findings as one error, in the order of the file."""
    placed = [(lines.of(finding.loc) if lines else None, finding) for finding in findings]
    placed.sort(key=lambda item: item[0] or 0)
    return DeploymentError(source, tuple(dict.fromkeys(_line(*item, data) for item in placed)))


class LineNumbers:
    """Where each field of a file stands. ``lines`` maps a place to its line, counted from 1."""

    def __init__(self, lines: dict[Loc, int]) -> None:
        self._lines = lines

    def of(self, loc: Loc) -> int | None:
        """The line of the field, or of the nearest section around it that the file has."""
        for end in range(len(loc), -1, -1):
            if loc[:end] in self._lines:
                return self._lines[loc[:end]]
        return None


def _line(line: int | None, finding: Finding, data: object) -> str:
    parts = (str(line) if line else "", finding.place(data), finding.text)
    return ": ".join(part for part in parts if part)


def _model_name(data: object, index: int) -> str:
    """The name as written; a wrong file may hold anything at all here."""
    models = data.get("models") if isinstance(data, dict) else None
    if not isinstance(models, list | tuple) or index >= len(models):
        return ""
    model = models[index]
    name = model.get("name") if isinstance(model, dict) else getattr(model, "name", "")
    return name if isinstance(name, str) else ""
