"""Memory of a job: results beyond a limit lie on disk, and large batches are few at once."""

import asyncio
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import JobError
from orchestrator.runtime.io.columns import to_table
from orchestrator.runtime.io.held import Held
from orchestrator.runtime.jobs import feed, work
from tests.jobs.test_runner import run

MB = 1 << 20
FILES, SIZE = 32, 4 * MB


def anonymous() -> int:
    """Bytes of this process that are in no file."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


@pytest.mark.parametrize("output_format", ["parquet", "numpy"])
def test_a_part_of_large_records_is_never_whole_in_memory(tmp_path, monkeypatch, output_format):
    """Nothing is written before all of it is answered: no writer could be slower."""
    monkeypatch.setattr(work, "IN_MEMORY", 8 * MB)
    monkeypatch.setattr(feed, "_IN_FLIGHT_BYTES", 8 * MB)
    (tmp_path / "in").mkdir()
    for number in range(FILES):
        np.full(SIZE // 4, number, np.float32).tofile(tmp_path / "in" / f"{number:02d}")
    seen = []

    async def numbers(batch, models):
        (data,) = batch["bytes"]
        seen.append(anonymous())
        return {"id": batch["record_id"], "x": np.frombuffer(data, np.float32)[None]}

    before = anonymous()
    options = {"part_size": FILES, "in_flight": 8, "output_format": output_format}
    summary = run(tmp_path / "in", tmp_path / "out", numbers, kind="binary", **options)
    assert summary.read == FILES
    assert max(seen) - before < FILES * SIZE / 2
    if output_format == "parquet":
        file = pq.ParquetFile(tmp_path / "out" / "part-00000.parquet")
        assert file.num_row_groups == 3  # of at most 64 MiB
        values = [row["x"][0] for row in pq.read_table(tmp_path / "out").slice(5, 3).to_pylist()]
    else:
        values = np.load(tmp_path / "out" / "part-00000.npz")["x"][5:8, 0].tolist()
    assert values == [5, 6, 7]


def test_of_large_batches_fewer_are_in_flight_and_of_small_ones_more_again(monkeypatch):
    monkeypatch.setattr(feed, "_IN_FLIGHT_BYTES", 8 * MB)

    async def entered(room: feed.Room, nbytes: int) -> int:
        """How many get in while nobody leaves."""
        inside, leave = [], asyncio.Event()
        turn = asyncio.Lock()

        async def one() -> None:
            async with turn:
                await room.wait()
            with room.inside():
                inside.append(1)
                room.measured(nbytes)
                await leave.wait()

        tasks = [asyncio.ensure_future(one()) for _ in range(6)]
        for _ in range(100):
            await asyncio.sleep(0)
        found = len(inside)
        leave.set()
        await asyncio.gather(*tasks)
        return found

    async def all_of_them() -> list[int]:
        room = feed.Room(4)
        return [await entered(room, size) for size in (3 * MB, 20 * MB, MB, MB)]

    assert asyncio.run(all_of_them()) == [2, 1, 1, 4]


def test_tables_come_back_from_disk_as_they_were_and_in_order():
    held = Held(1000)
    made = {
        (part, batch): (
            to_table({"x": np.full((100, 2), part * 10 + batch, np.int64)}),
            pa.table({"text": ["a", None, str(batch)], "list": [[1], [], None]}),
        )
        for part in range(2)
        for batch in range(3)
    }
    for (part, batch), tables in reversed(made.items()):
        if held.put(part, batch, tables):
            held.spill()
    assert pa.total_allocated_bytes() < 10 * MB
    for part in range(2):
        expected = [one for batch in range(3) for one in made[part, batch]]
        found = held.of(part)
        assert all(one.equals(other) for one, other in zip(found, expected, strict=True))
    held.drop(0)
    assert len(held.of(1)) == 6


def test_no_room_for_results_says_where_and_what_helps(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    held = Held(10)
    assert held.put(0, 0, (to_table({"x": np.zeros(100)}),))
    with pytest.raises(JobError, match=r"gone.*no room for results.*TMPDIR.*part_size"):
        held.spill()
