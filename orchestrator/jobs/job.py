"""What a job is: the parts of its input, and the facts that its output depends on. Pure."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.jobs.parts import Part, Piece, cut

#: Batches between source and sink at once.
IN_FLIGHT = 8
#: The fact that says what the input is.
INPUT = "the input"


@dataclass(frozen=True)
class Job:
    """``inputs`` are the digests of the parts' records; ``facts`` digests of all else, by name.

    ``files``: for each file of the input, what is another when its bytes are.
    """

    parts: tuple[Part, ...]
    inputs: tuple[str, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(
        pieces: Sequence[Piece],
        stamp: Callable[[str], str],
        part_size: int,
        facts: Mapping[str, str] | None = None,
        input_of: Callable[[Part], str] | None = None,
    ) -> "Job":
        """The job over this input; ``stamp`` says of each file what changes when its bytes do.

        ``input_of``, where given, says of each part what tells its records from others.

        Raises:
            ValueError: see ``cut``.
        """
        parts = cut(pieces, part_size)
        stamps = {piece.file: "" for piece in pieces}
        stamps = {file: stamp(file) for file in stamps}

        def stamped(part: Part) -> str:
            return _digest("\n".join(f"{piece}\0{stamps[piece.file]}" for piece in part.pieces))

        inputs = tuple(map(input_of or stamped, parts))
        known = {
            INPUT: f"{len(stamps)} files, {_digest(*inputs)}",
            "the part size": str(part_size),
            **(facts or {}),
        }
        files = {} if input_of else {file: _short(text) for file, text in stamps.items()}
        return Job(parts, inputs, known, files)

    @property
    def facts_digest(self) -> str:
        """What tells these facts from any others."""
        return _digest(*(f"{name}\0{value}" for name, value in sorted(self.facts.items())))

    @property
    def total(self) -> int | None:
        """Records over all parts; None while nobody has counted those of every part."""
        counts = [part.records for part in self.parts]
        return None if None in counts else sum(count for count in counts if count is not None)


def _short(text: str) -> str:
    """Enough to tell two states of one file apart in a message."""
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n\n".join(texts).encode()).hexdigest()[:32]
