"""The rows of a dataset's blocks: known again by what they hold, in whatever blocks they come."""

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.errors import JobError
from orchestrator.jobs import Job, PartEntry
from orchestrator.runtime.io.dataset import Block, DatasetRows

SIZE = 10


def table(keys, shift=0.0):
    values = [[float(key), key + shift] for key in keys]
    return pa.table({"key": list(keys), "x": values, "text": [f"é{key}" for key in keys]})


def source(*tables):
    return DatasetRows([(one, Block.of(one, "key")) for one in tables], "key")


def job_of(rows):
    return Job.of(rows.pieces(SIZE), rows.stamp, SIZE, {}, rows.input_of)


def entries(job, *indexes):
    """Those parts as a manifest has them."""
    known = {part.index: text for part, text in zip(job.parts, job.inputs, strict=True)}
    return [PartEntry(index, known[index], "f", SIZE, SIZE, 1, "") for index in indexes]


def keys(rows, part, tables):
    """The keys that a part reads, with blocks that lie here."""
    found = []
    for piece in part.pieces:
        block, left = tables[int(piece.file.removeprefix("block-"))], rows._left.get(piece.file)
        chosen = block if left is None else block.take(left)
        found += chosen["key"].to_pylist()[piece.start : piece.stop]
    return found


FIRST = (table(range(25)), table(range(25, 40)))


def test_only_rows_that_are_not_done_are_done_whatever_their_order():
    job = job_of(source(*FIRST))
    assert [part.records for part in job.parts] == [10, 10, 5, 10, 5]
    order = np.random.default_rng(0).permutation(40)
    shuffled = tuple(table(order[at : at + 8].tolist()) for at in range(0, 40, 8))
    rows = source(*shuffled)
    assert rows.digest == source(*FIRST).digest
    again = rows.rejoined(job_of(rows), entries(job, 0, 3), SIZE)
    done = {0: range(10), 3: range(25, 35)}
    assert {part.index for part in again.parts} >= set(done)
    assert again.total == 40
    left = [
        key for part in again.parts if part.index not in done for key in keys(rows, part, shuffled)
    ]
    assert sorted(left) == [*range(10, 25), *range(35, 40)]
    third = source(*FIRST)
    last = third.rejoined(job_of(third), entries(again, *range(len(again.parts))), SIZE)
    assert {part.index: part.records for part in last.parts} == {
        part.index: part.records for part in again.parts
    }
    assert not any(len(left) for left in third._left.values())


@pytest.mark.parametrize("change", ["gone", "changed", "another type of entry"])
def test_a_part_with_a_row_that_is_not_as_it_was_is_done_anew(change):
    job = job_of(source(*FIRST))
    there = entries(job, 0, 1)
    if change == "gone":
        rows = source(table(range(1, 40)))
    elif change == "changed":
        rows = source(table([0], shift=1.0), table(range(1, 40)))
    else:
        rows = source(*FIRST)
        there[0] = PartEntry(0, "0123", "f", SIZE, SIZE, 1, "")
    assert (rows.digest == source(*FIRST).digest) == (change == "another type of entry")
    again = rows.rejoined(job_of(rows), there, SIZE)
    kept = {
        part.index
        for part, text in zip(again.parts, again.inputs, strict=True)
        if text == there[1].input
    }
    assert kept == {1}
    assert there[0].input not in again.inputs
    assert again.total == (39 if change == "gone" else 40)


def test_long_values_and_missing_ones_count():
    def digest(value):
        return source(pa.table({"key": [1], "x": pa.array([value])})).digest

    long = [[float(n)] * (n % 3) for n in range(3000)]
    other = [*long[:1500], [9.0], *long[1501:]]
    assert len({digest(long), digest(other)}) == 2
    assert len({digest(1.0), digest(None), digest(float("inf"))}) == 3


def test_blocks_that_hold_nothing():
    with pytest.raises(JobError, match="the dataset: holds no rows"):
        source(table([]))
