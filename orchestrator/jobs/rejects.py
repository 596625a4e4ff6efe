"""Records that a job set aside instead of reading, and how many it may. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

#: Records after which a share says something although nobody knows the total.
ENOUGH = 1000
#: Most characters of a reason.
_REASON = 1000


class Stage(str, Enum):
    """Where a record failed."""

    READ = "read"
    """It could not be opened or decoded."""
    PIPELINE = "pipeline"
    """The pipeline function, or a model that it called, failed on it."""


@dataclass(frozen=True)
class Reject:
    """One record that was set aside, and why.

    ``card`` names the cards that failed on it, with commas; empty when it never reached one. Of a
    very long reason the beginning is kept: a job may set many records aside.
    """

    record: str
    stage: Stage
    reason: str
    card: str = ""

    def __post_init__(self) -> None:
        if len(self.reason) > _REASON:
            object.__setattr__(self, "reason", f"{self.reason[: _REASON - 1]}…")


def by_stage(rejects: Iterable[Reject]) -> Counter[str]:
    """How many there are of each stage."""
    return Counter(reject.stage.value for reject in rejects)


class OnError(str, Enum):
    """What a record that cannot be read or passed through does to its job."""

    FAIL = "fail"
    """The first one stops the job; what is done is saved."""
    SKIP = "skip"
    """It is set aside and named in the rejects."""


@dataclass(frozen=True)
class Tolerance:
    """How many records a job may set aside: none, so many, a share of all, or any number."""

    on_error: OnError = OnError.SKIP
    most: int | None = None
    share: Fraction | None = None

    @staticmethod
    def of(on_error: OnError | str, max_errors: str | int | None = None) -> "Tolerance":
        """Read ``10`` or ``1%``; None sets no limit.

        Raises:
            ValueError: neither; or a limit although the first error stops the job.
        """
        known = [one.value for one in OnError]
        if on_error not in known:
            raise ValueError(f"on error {on_error!r} is none of {', '.join(known)}")
        on_error = OnError(on_error)
        if max_errors is None:
            return Tolerance(on_error)
        if on_error is OnError.FAIL:
            raise ValueError("with fail the first error stops the job: a limit goes with skip")
        text = str(max_errors).strip()
        try:
            if text.endswith("%"):
                share = Fraction(text[:-1].strip()) / 100
                if 0 <= share <= 1:
                    return Tolerance(on_error, share=share)
            elif int(text) >= 0:
                return Tolerance(on_error, most=int(text))
        except (ValueError, ZeroDivisionError):
            pass
        raise ValueError(f"max errors {text!r}: expected a count such as 10 or a share such as 1%")

    @property
    def limited(self) -> bool:
        """Whether somebody has said how many are too many."""
        return self.most is not None or self.share is not None

    def problem(self, rejects: int, settled: int, total: int | None) -> str:
        """Why a job that set so many aside must stop; empty when it may go on.

        While nobody knows the total, a share is that of the records settled so far, as soon as
        they are ``ENOUGH`` to tell.
        """
        of = total if total is not None else settled if settled >= ENOUGH else None
        most, among = self.most, ""
        if self.share is not None and of is not None:
            most, among = int(self.share * of), f", {float(self.share * 100):g} % of {of}"
        if most is None or rejects <= most:
            return ""
        return f"{rejects} records were set aside, and at most {most} may be{among}"
