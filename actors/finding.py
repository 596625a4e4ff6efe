"""One line of an inspection: what is there, what is needed, and how to get it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of an inspection.

    ``wanted`` is empty where anything will do. ``ok``: nothing needs fixing; ``fix`` is empty then.
    ``stops``: as it is, the library cannot be
    imported or find a card, so that it is better not to try.
    """

    subject: str
    found: str
    wanted: str
    fix: str
    ok: bool
    stops: bool = False

    def __str__(self) -> str:
        if not self.wanted:
            return f"{self.subject}: {self.found}"
        cure = "" if self.ok else f": {self.fix}"
        return f"{self.subject}: found {self.found}, wanted {self.wanted}{cure}"
