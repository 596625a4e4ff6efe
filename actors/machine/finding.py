"""One line of an inspection: what is there, what is needed, and how to get it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of an inspection.

    ``wanted`` is empty where anything will do. ``ok``: nothing needs fixing; a ``fix`` is then for
    what may well be meant as it is, and ``warns``. ``stops``: as it is, the library cannot be
    imported or find a card, so that it is better not to try.
    """

    subject: str
    found: str
    wanted: str
    fix: str
    ok: bool
    stops: bool = False

    @property
    def warns(self) -> bool:
        """Worth a look, though nothing has to be done."""
        return self.ok and bool(self.fix)

    def __str__(self) -> str:
        if not self.wanted:
            return f"{self.subject}: {self.found}"
        cure = f": {self.fix}" if self.fix else ""
        return f"{self.subject}: found {self.found}, wanted {self.wanted}{cure}"
