"""What a job is: the parts of its input, and the facts that its output depends on. Pure."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.jobs.parts import Part, cut

#: What suits pages of text: records between source and sink at once, and records in a part.
IN_FLIGHT = 8
PART_SIZE = 8


@dataclass(frozen=True)
class Job:
    """``inputs`` are the digests of the parts' records; ``facts`` digests of all else, by name."""

    parts: tuple[Part, ...]
    inputs: tuple[str, ...]
    facts: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(
        names: Sequence[str],
        stamp: Callable[[str], str],
        part_size: int = PART_SIZE,
        facts: Mapping[str, str] | None = None,
    ) -> "Job":
        """The job over these records; ``stamp`` says of each what changes when its bytes do.

        Raises:
            ValueError: see ``cut``.
        """
        parts = cut(names, part_size)
        inputs = tuple(
            _digest("\n".join(f"{name}\0{stamp(name)}" for name in part.records)) for part in parts
        )
        known = {
            "the input": f"{len(names)} records, {_digest(*inputs)}",
            "the part size": str(part_size),
            **(facts or {}),
        }
        return Job(parts, inputs, known)

    @property
    def total(self) -> int:
        """Records over all parts."""
        return sum(len(part.records) for part in self.parts)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n\n".join(texts).encode()).hexdigest()[:32]
