"""The manifest of a job's output: what the job is, and which parts are finished. Pure.

One line of JSON each, with a checksum of its own: first the job's facts, then a line for each
part that is finished, or that a run began before it was stopped. Lines are only ever added. A line
that was cut by a crash is the last one and counts for nothing; damage anywhere else is an error.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_FORMAT = 1


@dataclass(frozen=True)
class Listed:
    """A file that is whole, with size and SHA-256."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Begun:
    """How much of a part is done: its first ``batches``, of ``rows`` records each."""

    batches: int
    rows: int


@dataclass(frozen=True)
class PartEntry:
    """A part: its file with size and checksum, and that of the records that it sets aside.

    ``input`` is the digest of its records, see Job; ``facts`` that of the facts under which it was
    made. ``file`` is None when there was no record in it, or all were set aside. ``rejected``:
    how many were, by stage. All of it says what is done of the part: the whole, unless ``begun``.
    """

    index: int
    input: str
    file: str | None
    records: int
    rows: int
    bytes: int
    sha256: str
    rejects: Listed | None = None
    rejected: Mapping[str, int] = field(default_factory=dict)
    facts: str = ""
    begun: Begun | None = None

    @property
    def set_aside(self) -> int:
        """How many records were."""
        return sum(self.rejected.values())

    @property
    def files(self) -> tuple[Listed, ...]:
        """All files of it."""
        rows = () if self.file is None else (Listed(self.file, self.bytes, self.sha256),)
        return rows if self.rejects is None else (*rows, self.rejects)

    def line(self) -> str:
        """The line of the manifest."""
        return _line(asdict(self))


@dataclass(frozen=True)
class Manifest:
    """What a manifest says: the job's facts, and the parts by number."""

    facts: Mapping[str, str]
    entries: Mapping[int, PartEntry]


def header_line(facts: Mapping[str, str], owner: str = "") -> str:
    """The first line: what must not change between the runs of one job, by name; and whose it is.

    ``owner`` is what no other run has.
    """
    return _line({"format": _FORMAT, "facts": dict(facts), "owner": owner})


def read_manifest(text: str) -> Manifest:
    """The facts and the parts; of two lines about one part the later counts.

    Raises:
        ValueError: a line other than the last is damaged, or it is not a manifest.
    """
    lines = [line for line in text.split("\n") if line]
    documents = []
    for number, line in enumerate(lines, 1):
        document = _checked(line)
        if document is None:
            if number == len(lines) and number > 1:
                break  # cut by a crash: that part is not there
            raise ValueError(f"line {number} is damaged")
        documents.append(document)
    if not documents or documents[0].get("format") != _FORMAT:
        raise ValueError("its first line names no format that is known here")
    facts = {str(name): str(value) for name, value in documents[0]["facts"].items()}
    return Manifest(facts, {entry.index: entry for entry in map(_entry, documents[1:])})


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of the facts that differ, in the order in which they are stated now."""
    names = [*now, *(name for name in before if name not in now)]
    return [name for name in names if before.get(name) != now.get(name)]


def manifest_text(facts: Mapping[str, str], entries: Iterable[PartEntry], owner: str = "") -> str:
    """A whole manifest; see ``header_line``."""
    return header_line(facts, owner) + "".join(entry.line() for entry in entries)


def _line(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True)  # ASCII: a line is a line everywhere
    return json.dumps({"check": _check(text), "entry": text}) + "\n"


def _checked(line: str) -> dict[str, Any] | None:
    try:
        outer = json.loads(line)
        if _check(outer["entry"]) != outer["check"]:
            return None
        document: dict[str, Any] = json.loads(outer["entry"])
    except (ValueError, TypeError, KeyError):
        return None
    return document


def _check(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _entry(document: Mapping[str, Any]) -> PartEntry:
    rejects, begun = document["rejects"], document["begun"]
    found = {
        "rejects": None if rejects is None else Listed(**rejects),
        "begun": None if begun is None else Begun(**begun),
    }
    return PartEntry(**{**document, **found})
