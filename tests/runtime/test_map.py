"""What ``map`` holds between its two ends, and where it raises. Whoever answers is no card here."""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pytest

from orchestrator import DeadlineError, OrchestratorError
from orchestrator.handle import ModelHandle
from orchestrator.runtime.calls.asked import Answer

MB4 = 4 << 20


class Answering:
    """Answers each request at once with so many bytes, but for those that it refuses."""

    def __init__(self, nbytes: int, refused: dict[int, OrchestratorError] | None = None) -> None:
        self.nbytes = nbytes
        self.refused = refused or {}
        self.sent = 0

    def _traffic(self) -> "Answering":
        return self

    def send(self, name: str, inputs: Any, timeout: Any, priority: Any, answer: Answer) -> None:
        self.sent += 1
        if self.sent - 1 in self.refused:
            raise self.refused[self.sent - 1]
        answer.set_result({"y": np.zeros(self.nbytes, np.uint8)})

    def drop(self, answers: Collection[Answer]) -> None:
        """None are under way."""


def endless() -> Iterator[dict[str, np.ndarray]]:
    while True:
        yield {"x": np.zeros(1, np.float32)}


@pytest.mark.parametrize("way", ["map", "map_unordered"])
def test_answers_that_nobody_takes_count_too(way) -> None:
    """Of 4 MiB, 31 are within 128 MiB beside the one that is taken; the first are sent blindly."""
    answering = Answering(MB4)
    answers = getattr(ModelHandle(answering, "det"), way)(endless())
    held = []
    for taken in range(1, 200):
        next(answers)
        held.append(answering.sent - taken)
    assert max(held) <= 64
    assert max(held[64:]) <= 128 // 4
    answers.close()


def test_small_answers_are_bounded_by_the_window_alone() -> None:
    answering = Answering(4)
    answers = ModelHandle(answering, "det").map(endless(), window=100)
    for _ in range(10):
        next(answers)
    assert answering.sent == 109
    answers.close()


@pytest.mark.parametrize("way", ["map", "map_unordered"])
def test_an_error_before_a_request_is_sent_costs_no_answer_before_it(way) -> None:
    late = DeadlineError("det", ("it waited for room",), seconds=0.5)
    answers = getattr(ModelHandle(Answering(4, {3: late}), "det"), way)(endless(), timeout=0.5)
    for _ in range(3):
        next(answers)
    with pytest.raises(DeadlineError, match="it waited for room"):
        next(answers)
