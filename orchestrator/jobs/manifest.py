"""The manifest of a job's output: what the job is, and which parts are finished. Pure.

One line of JSON each, with a checksum of its own: first the job's facts, then the files of its
input, then a line for each part that is finished, or that a run began before it was stopped. Lines
are only ever added. A line that was cut by a crash is the last one and counts for nothing; damage
anywhere else is an error.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_FORMAT = 1
#: Files of each sort that a message names.
_NAMED = 3


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
    """What a manifest says: the job's facts, the parts by number, and ``files``: see Job."""

    facts: Mapping[str, str]
    entries: Mapping[int, PartEntry]
    files: Mapping[str, str] = field(default_factory=dict)


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
    files: Mapping[str, str] = {}
    if len(documents) > 1 and "files" in documents[1]:
        files = _unpacked(documents.pop(1)["files"])
    return Manifest(facts, {entry.index: entry for entry in map(_entry, documents[1:])}, files)


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of the facts that differ, in the order in which they are stated now."""
    names = [*now, *(name for name in before if name not in now)]
    return [name for name in names if before.get(name) != now.get(name)]


def file_changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Which files differ: ``2 changed: a.png, b.png; 1 missing: c.png``; empty if none does."""
    sorts = {
        "changed": [name for name in now if name in before and before[name] != now[name]],
        "missing": [name for name in before if name not in now],
        "new": [name for name in now if name not in before],
    }
    return "; ".join(
        f"{len(names)} {sort}: {_few(names)}" for sort, names in sorts.items() if names
    )


def manifest_text(
    facts: Mapping[str, str],
    entries: Iterable[PartEntry] = (),
    owner: str = "",
    files: Mapping[str, str] | None = None,
) -> str:
    """A whole manifest.

    ``facts``: what must not change between the runs of one job, by name. ``owner`` is what no other
    run has; it stands in the first line, which is short. ``files``: see Job.
    """
    first = _line({"format": _FORMAT, "facts": dict(facts), "owner": owner})
    second = _line({"files": _packed(files)}) if files else ""
    return first + second + "".join(entry.line() for entry in entries)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _packed(files: Mapping[str, str]) -> str:
    """Ten bytes a file, more or less: an input may have a million."""
    return base64.b64encode(zlib.compress(json.dumps(dict(files)).encode(), 1)).decode()


def _unpacked(text: str) -> dict[str, str]:
    files: dict[str, str] = json.loads(zlib.decompress(base64.b64decode(text)))
    return files


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
