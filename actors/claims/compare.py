"""Whether answers are the same: to the bit, or as close as unshared runs are to each other."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from actors.claims.trial import Answer
from actors.messages import Array


def compare_answers(private: Sequence[Answer], shared: Sequence[Answer]) -> str:
    """What is wrong with the shared answers; nothing if each is as good as a private one.

    Both hold answers that differ in a bit. Where there is one private answer, it is the only one
    allowed; else a shared one may be as far from the nearest private one as those are apart.
    """
    spread = max((distance(a, b) for a, b in combinations(private, 2)), default=0.0)
    worst = max(min(distance(one, other) for other in private) for one in shared)
    if worst <= spread:
        return ""
    if len(private) == 1:
        return f"differs from the unshared answer by up to {worst:.3g}, which is always the same"
    return f"differs from unshared answers by up to {worst:.3g}; those differ by {spread:.3g}"


def distance(one: Answer, other: Answer) -> float:
    """The largest difference of any element; infinite for other shapes, types or NaNs.

    Zeros of unlike sign are the same number, and so are two NaNs of unlike bits.
    """
    return max((_apart(a, b) for a, b in zip(one, other, strict=True)), default=0.0)


def _apart(a: Array, b: Array) -> float:
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if a.dtype.kind != "f":
        return 0.0 if np.array_equal(a, b) else float("inf")
    with np.errstate(invalid="ignore"):  # of equal infinities, whose difference is not a number
        gaps = np.abs(a.astype(np.float64) - b.astype(np.float64))
    gaps[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return float(np.nan_to_num(gaps, nan=np.inf).max(initial=0.0))
