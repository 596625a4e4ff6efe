"""Copies of outputs have memory of their own for as long as anybody has any part of them."""

import gc
import pickle
import threading

import numpy as np
import pytest

from actors.recycled import Recycled

FEW = 1 << 10


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@pytest.fixture
def recycled() -> Recycled:
    return Recycled(least=FEW, most=4 * FEW)


def test_a_copy_is_equal_and_contiguous_in_any_layout(recycled: Recycled) -> None:
    for dtype in ("f4", "f2", "i8", "?"):
        x = np.arange(FEW).reshape(32, 32).astype(dtype)
        for source in (x, x.T, x[::-1, ::2], x[None]):
            copy = recycled.copy(source)
            np.testing.assert_array_equal(copy, source, strict=True)
            assert copy.flags.c_contiguous
            assert not np.shares_memory(copy, x)


def test_memory_that_nobody_has_is_used_again(recycled: Recycled) -> None:
    copy = recycled.copy(np.zeros(FEW, np.uint8))
    where = address(copy)
    assert recycled.nbytes == 0
    del copy
    assert recycled.nbytes == FEW
    again = recycled.copy(np.ones((FEW // 8, 2), np.float32))
    assert address(again) == where
    assert again.tolist() == np.ones((FEW // 8, 2)).tolist()
    assert recycled.nbytes == 0


@pytest.mark.parametrize(
    "part",
    [
        lambda copy: copy[3:5],
        lambda copy: copy.view(np.uint8).reshape(2, -1)[1:][:, 4:],
        memoryview,
        lambda copy: np.frombuffer(pickle.PickleBuffer(copy), np.uint8),
        np.ascontiguousarray,
    ],
    ids=["rows", "view of a view", "memory", "pickle buffer", "itself"],
)
def test_memory_of_which_somebody_has_a_part_is_left_alone(recycled: Recycled, part) -> None:
    copy = recycled.copy(np.full(FEW, 7, np.float32))
    kept = part(copy)
    before = bytes(kept)
    del copy
    gc.collect()
    other = recycled.copy(np.zeros(FEW, np.float32))
    assert bytes(kept) == before
    assert not np.shares_memory(np.frombuffer(kept, np.uint8), other)
    del kept
    gc.collect()
    assert recycled.nbytes == 4 * FEW


def test_small_copies_are_left_to_the_system(recycled: Recycled) -> None:
    assert recycled.copy(np.zeros(FEW - 1, np.uint8)).flags.owndata
    assert recycled.nbytes == 0


def test_no_more_is_kept_than_allowed_but_for_the_last_one(recycled: Recycled) -> None:
    sizes = [FEW, 2 * FEW, FEW, 2 * FEW]
    many = [recycled.copy(np.zeros(size, np.uint8)) for size in sizes]
    where = [address(copy) for copy in many]
    kept = []
    while many:
        many.pop(0)
        kept.append(recycled.nbytes // FEW)
    assert kept == [1, 3, 4, 3]  # the last one took the place of the first two
    assert address(recycled.copy(np.zeros(2 * FEW, np.uint8))) == where[3]
    big = recycled.copy(np.zeros(5 * FEW, np.uint8))
    del big
    assert recycled.nbytes == 5 * FEW


def test_threads_never_share_a_copy() -> None:
    recycled = Recycled(least=FEW, most=16 * FEW)
    wrong: list[int] = []

    def work(number: int) -> None:
        source = np.full(FEW, number, np.uint8)
        for _ in range(500):
            one, two = recycled.copy(source), recycled.copy(source)
            if not ((one == number).all() and (two == number).all()):
                wrong.append(number)
            del one, two

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert recycled.nbytes <= 12 * FEW
