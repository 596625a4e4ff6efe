"""What became of a slot's processes so far, and whether another one is worth a try. Pure."""

from dataclasses import dataclass, replace

from orchestrator.runtime.options import RestartRules


@dataclass(frozen=True)
class Verdict:
    """No process is to follow by itself, and why."""

    quarantined: bool
    why: str


@dataclass(frozen=True)
class History:
    """What counts for the next process of a slot, whichever controller starts it.

    ``failures`` are those in a row, ``restarts`` all; ``unfit`` is when processes were found to be
    that of late, in seconds since the epoch.
    """

    failures: int = 0
    restarts: int = 0
    unfit: tuple[float, ...] = ()

    def failed(
        self, rules: RestartRules, now: float, *, unfit: bool, was_stable: bool
    ) -> "History":
        """One more process is of no further use."""
        recent = tuple(at for at in self.unfit if now - at < rules.unfit_within)
        return replace(
            self,
            failures=1 if was_stable else self.failures + 1,
            unfit=(*recent, now) if unfit else recent,
        )

    def pardoned(self, deaths: int) -> "History":
        """So many of the latest were the doing of a request, not of the card."""
        return replace(
            self,
            failures=max(self.failures - deaths, 0),
            unfit=self.unfit[: max(len(self.unfit) - deaths, 0)],
        )

    def forgiven(self) -> "History":
        """Somebody wants it to be tried again."""
        return History(restarts=self.restarts)

    def verdict(self, rules: RestartRules, reason: str) -> Verdict | None:
        """What comes of the last failure, whose ``reason`` is known; None: the next process."""
        if len(self.unfit) > rules.most_unfit:
            return Verdict(True, f"was unfit {len(self.unfit)} times, last: {reason}")
        if self.failures >= rules.most_failures:
            return Verdict(False, f"failed {self.failures} times in a row, last: {reason}")
        return None
