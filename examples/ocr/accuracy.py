"""How well known pages were read.

Character accuracy = 1 - (edits + strays) / characters, over all rows of all pages. Every found line
belongs to the row of the truth whose box its centre lies nearest to; a row's found lines are joined
with a space from left to right, runs of white space become one space (as in the truth), and the
edits are the Levenshtein distance to the row's text. Case, spaces and punctuation count. Found
lines further from every row than its height are strays: each of their characters is an error.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein

Truth = Mapping[str, Sequence[Mapping[str, Any]]]
Array = npt.NDArray[Any]


class Score(NamedTuple):
    """Characters of the truth, characters wrong (edits and strays), and the rows misread."""

    characters: int
    wrong: int
    misread: tuple[tuple[str, str, str], ...]
    """(page, truth, what was read)."""

    @property
    def accuracy(self) -> float:
        """The share of characters read right, 0 to 1."""
        return max(0.0, 1 - self.wrong / self.characters) if self.characters else 1.0


def score_pages(truth: Truth, found: Mapping[str, Array]) -> Score:
    """Score the columns that ``read_pages`` returns; pages without a truth are left out."""
    lines: dict[str, list[tuple[Array, str]]] = defaultdict(list)
    for page, box, text in zip(found["page"], found["box"], found["text"], strict=True):
        lines[str(page)].append((np.asarray(box, float).mean(axis=0), str(text)))
    characters = wrong = 0
    misread = []
    for page, rows in truth.items():
        per_row, strays = _assign(rows, lines[page])
        wrong += sum(len(text) for text in strays)
        misread += [(page, "", text) for text in strays]
        for row, read in zip(rows, per_row, strict=True):
            edits = Levenshtein.distance(row["text"], read)
            characters += len(row["text"])
            wrong += edits
            if edits:
                misread.append((page, row["text"], read))
    return Score(characters, wrong, tuple(misread))


def _assign(
    rows: Sequence[Mapping[str, Any]], lines: Sequence[tuple[Array, str]]
) -> tuple[list[str], list[str]]:
    """The text read in each row, and the lines that lie in none."""
    parts: list[list[tuple[float, str]]] = [[] for _ in rows]
    strays = []
    for centre, text in lines:
        distances = [_offset(np.asarray(row["box"], float), centre) for row in rows]
        nearest = int(np.argmin(distances))
        if distances[nearest] > 1:
            strays.append(text)
        else:
            parts[nearest].append((float(centre[0]), text))
    return [" ".join(" ".join(text for _, text in sorted(part)).split()) for part in parts], strays


def _offset(box: Array, point: Array) -> float:
    """How far a point is from a row's middle line, in heights of the row."""
    along, down = box[1] - box[0], box[3] - box[0]
    middle = box[0] + down / 2
    distance = abs(along[0] * (point - middle)[1] - along[1] * (point - middle)[0])
    return float(distance / np.hypot(*along) / np.hypot(*down))
