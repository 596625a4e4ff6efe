"""Whole jobs in this process: pages in, one Parquet data set and a summary out."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestrator.errors import (
    CardLostError,
    CardsUnavailableError,
    ClusterError,
    DeadlineError,
    JobError,
    NoSuchDeploymentError,
    NotServingError,
    OrchestratorError,
    OverloadedError,
    RequestFailedError,
)
from orchestrator.jobs import Job, Outcome, Tolerance
from orchestrator.runtime.io.inputs import open_source
from orchestrator.runtime.io.output import OutputFolder
from orchestrator.runtime.jobs.runner import Here, JobHooks, run_job
from orchestrator.runtime.jobs.work import Task
from tests.rejected import rejected

PAGES = 20


async def shades(batch, models):
    """Rows as many as the page's shade says, so that pages differ in rows; the last has none."""
    (image,) = batch["image"]
    rows = int(image[0, 0, 0])
    await asyncio.sleep(0)
    return {
        "page": np.array([str(batch["path"][0])] * rows, dtype=np.str_),
        "box": np.full((rows, 4, 2), rows, np.float32),
        "score": np.linspace(0, 1, rows, dtype=np.float32),
    }


@pytest.fixture
def pages(tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    for index in range(PAGES):
        Image.new("L", (8, 8), PAGES - 1 - index).save(folder / f"{index:02d}.png")
    return folder


def run(  # noqa: PLR0913 - what the tests vary
    pages,
    out,
    pipeline=shades,
    *,
    part_size=None,
    unserved=lambda model: "",
    prepared=None,
    in_flight=8,
    tolerance=None,
    output_format="parquet",
    kind=None,
    hooks=None,
):
    source, sink = open_source(pages, kind), OutputFolder(out, output_format)
    hands = Here(Task(source, pipeline, source.batch_size, in_flight), None, unserved)
    part_size = part_size or source.part_size
    with contextlib.closing(sink):
        job = Job.of(source.pieces(part_size), source.stamp, part_size)
        sink.prepare(job, **(prepared or {}))
        return run_job(hands, sink, hooks or JobHooks(), tolerance or Tolerance())


def test_a_job_writes_one_data_set_and_a_summary(pages, tmp_path):
    out = tmp_path / "deep" / "out"
    summary = run(pages, out, part_size=6)
    assert (summary.outcome, summary.read, summary.total) == (Outcome.COMPLETE, PAGES, PAGES)
    table = pq.read_table(out)  # the folder is the data set, as any reader takes it
    expected = [f"{i:02d}.png" for i in range(PAGES) for _ in range(PAGES - 1 - i)]
    assert table["page"].to_pylist() == expected
    assert table["box"].to_pylist()[0] == [[19.0, 19.0]] * 4
    assert sorted(p.name for p in out.iterdir()) == [
        "_SUCCESS",
        "_lock",
        "_manifest.jsonl",
        "_summary.json",
        *(f"part-{i:05d}.parquet" for i in range(4)),
    ]
    document = json.loads((out / "_summary.json").read_text())
    assert document["outcome"] == "complete"
    assert document["rows"] == len(expected)
    assert [part["records"] for part in document["parts"]] == [6, 6, 6, 2]
    assert sum(part["rows"] for part in document["parts"]) == len(expected)


def test_the_result_does_not_depend_on_what_is_in_flight(pages, tmp_path):
    for number, in_flight in enumerate((1, 3, 50)):
        run(pages, tmp_path / str(number), in_flight=in_flight)
    first, *others = (pq.read_table(tmp_path / str(number)) for number in range(3))
    assert all(other.equals(first) for other in others)


def test_no_more_than_the_window_is_in_memory(pages, tmp_path):
    seen = []

    full = asyncio.Event()

    async def watch(batch, models):
        seen.append(+1)
        if sum(seen) == 3:
            full.set()
        await full.wait()
        answer = await shades(batch, models)
        seen.append(-1)
        return answer

    run(pages, tmp_path / "out", watch, in_flight=3)
    assert np.cumsum(seen).max() == 3


def test_broken_pages_are_named_and_the_rest_is_done(pages, tmp_path):
    (pages / "03.png").write_bytes(b"no picture")
    (pages / "07.png").write_bytes((pages / "07.png").read_bytes()[:45])
    out = tmp_path / "out"
    summary = run(pages, out)
    assert summary.outcome is Outcome.COMPLETE
    assert {reject.record for reject in summary.rejects} == {"03.png", "07.png"}
    lines = rejected(out)
    assert {line["record"] for line in lines} == {"03.png", "07.png"}
    assert all(line["stage"] == "read" and "cannot be read" in line["reason"] for line in lines)
    assert set(pq.read_table(out)["page"].to_pylist()) == {
        f"{i:02d}.png" for i in range(PAGES - 1) if i not in (3, 7)
    }


def test_a_page_on_which_the_pipeline_fails_is_set_aside(pages, tmp_path):
    async def picky(batch, models):
        if batch["path"][0] == "05.png":
            raise ZeroDivisionError("no lines here")
        return await shades(batch, models)

    summary = run(pages, tmp_path / "out", picky)
    (reject,) = summary.rejects
    assert (reject.record, reject.stage.value) == ("05.png", "pipeline")
    assert reject.reason == "ZeroDivisionError: no lines here"
    assert summary.read == PAGES - 1


def test_a_broken_pipeline_stops_the_job_early(pages, tmp_path):
    async def broken(batch, models):
        return models.det

    with pytest.raises(JobError) as caught:
        run(pages, tmp_path / "out", broken, in_flight=1)
    assert str(caught.value) == (
        "all of the first 10 records: failed to pass the pipeline, the last with: "
        "AttributeError: 'NoneType' object has no attribute 'det'; "
        "a limit of bad records goes on all the same (max_errors)"
    )
    document = json.loads((tmp_path / "out" / "_summary.json").read_text())
    assert document["outcome"] == "failed"
    assert "AttributeError" in document["problem"]


def test_bad_records_before_good_ones_of_the_same_batches_are_no_broken_pipeline(tmp_path):
    """Each batch of 64 begins with two bad rows: with 8 in flight, 16 fail before one is done."""
    (tmp_path / "rows.jsonl").write_text(
        "".join(f'{{"x": {-1 if row % 64 < 2 else row}}}\n' for row in range(640))
    )
    summary = run(tmp_path / "rows.jsonl", tmp_path / "out", doubled_if_positive)
    assert (summary.outcome, summary.read, len(summary.rejects)) == (Outcome.COMPLETE, 620, 20)


def test_with_a_limit_of_bad_records_no_other_rule_stops_a_job(pages, tmp_path):
    async def broken(batch, models):
        if batch["path"][0] < "15.png":
            raise ValueError
        return await shades(batch, models)

    tolerance = Tolerance.of("skip", "90%")
    summary = run(pages, tmp_path / "out", broken, in_flight=1, tolerance=tolerance)
    assert (summary.outcome, len(summary.rejects)) == (Outcome.COMPLETE, 15)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([1], "a pipeline returns a dict of arrays, not list"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, r"differ in rows: {'a': 2, 'b': 3}"),
        ({"a": np.float32(1)}, "differ in rows"),
        ({"a": np.array([{1}, b"x"], dtype=object)}, "no Parquet column"),
    ],
)
def test_a_result_that_is_no_table(pages, tmp_path, result, message):
    async def odd(batch, models):
        return result

    with pytest.raises(JobError, match=message):
        run(pages, tmp_path / "out", odd)


def test_columns_that_change_stop_the_job_and_keep_what_is_written(pages, tmp_path):
    async def fickle(batch, models):
        answer = await shades(batch, models)
        return answer if batch["path"][0] < "10.png" else {"other": np.zeros(1)}

    with pytest.raises(JobError, match="has other columns than before"):
        run(pages, tmp_path / "out", fickle, part_size=5, in_flight=1)
    assert len(set(pq.read_table(tmp_path / "out")["page"].to_pylist())) == 10


def test_when_no_card_is_left_the_job_stops_and_saves(pages, tmp_path):
    async def deserted(batch, models):
        if batch["path"][0] >= "07.png":
            raise CardsUnavailableError(2, 0, "NPU", "restart them")
        return await shades(batch, models)

    out = tmp_path / "out"
    with pytest.raises(CardsUnavailableError, match="restart them"):
        run(pages, out, deserted, part_size=5, in_flight=1)
    assert len(set(pq.read_table(out)["page"].to_pylist())) == 5, "the part that is whole"
    assert json.loads((out / "_summary.json").read_text())["records"]["read"] == 7


def test_when_a_model_has_no_card_left_the_job_stops_and_else_the_page_is_set_aside(
    pages, tmp_path
):
    async def failing(batch, models):
        if batch["path"][0] == "05.png":
            story = ("died on local/0", "died on local/1")
            raise RequestFailedError("det", story, ("local/0", "local/1"), blamed=blamed)
        return await shades(batch, models)

    blamed = True
    summary = run(pages, tmp_path / "one", failing)
    assert summary.rejects[0].reason == (
        "model det: request failed: died on local/0; died on local/1"
    )
    assert summary.rejects[0].card == "local/0, local/1"
    blamed = False
    with pytest.raises(JobError, match=r"05\.png: no card is left for it: det given up"):
        run(
            pages,
            tmp_path / "two",
            failing,
            part_size=5,
            unserved=lambda model: f"{model} given up",
        )


class _Wrapped(Exception):
    """As Python 3.11 groups what the tasks of a group raise."""

    def __init__(self, *exceptions):
        super().__init__(*exceptions)
        self.exceptions = exceptions


def _from(cause):
    error = RuntimeError("det failed")
    error.__cause__ = cause
    return error


DOWN = RequestFailedError("det", ("the deployment was taken down",))


@pytest.mark.parametrize(
    "error",
    [
        NoSuchDeploymentError("ocr"),
        NotServingError("deployment tiny", "it was closed"),
        OverloadedError("det", 8, 64, 2, 8, 1 << 20),
        ClusterError("auto", "it is gone", "look"),
        CardLostError("local/0", "its node is gone"),
        DeadlineError("det", ("it was on local/0",), seconds=0.1),
        DOWN,
        _Wrapped(ValueError("one task"), DOWN),
        _from(NoSuchDeploymentError("ocr")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_a_records_fault_stops_the_job_and_is_done_on_resume(pages, tmp_path, error):
    async def failing(batch, models):
        if batch["path"][0] == "05.png":
            raise error
        return await shades(batch, models)

    out = tmp_path / "out"
    with pytest.raises(OrchestratorError):
        run(pages, out, failing, part_size=2)
    assert not (out / "_SUCCESS").exists()
    assert not rejected(out)
    summary = run(pages, out, part_size=2, prepared={"resume": True})
    assert (summary.outcome, summary.read, summary.rejects) == (Outcome.COMPLETE, PAGES, ())


def test_records_that_waited_in_vain_for_a_card_are_tried_again(rows, tmp_path):
    """As they were: a pipeline may have changed what it got before it failed."""
    asked = 0

    async def late(batch, models):
        nonlocal asked
        asked += 1
        batch["x"] *= 2
        if asked == 1:
            await asyncio.sleep(0.3)
            raise RequestFailedError("det", ("no replica served within 0.3 s",))
        if (batch["x"] < 0).any():
            raise ValueError("a negative row")
        return {"y": batch["x"]}

    summary = run(rows, tmp_path / "out", late)
    assert (summary.outcome, len(summary.rejects)) == (Outcome.COMPLETE, 2)
    table = pq.read_table(tmp_path / "out")
    assert table["y"].to_pylist() == [2 * row for row in range(91) if row not in (13, 50)]


def test_outputs_that_cannot_be_used(pages, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match="is a file; the output is a folder"):
        run(pages, tmp_path / "file")
    with pytest.raises(JobError, match="cannot be written to: Not a directory"):
        run(pages, tmp_path / "file" / "below")
    with pytest.raises(JobError, match="is not empty, and finished work is never written over"):
        run(pages, pages)


def test_a_read_only_output_is_refused_before_anything_is_read(pages, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    out = Path("/proc/sys/out") if os.geteuid() == 0 else locked / "out"
    with pytest.raises(JobError, match=f"{out}: cannot be written to: "):
        run(pages, out)


_LIMITED = """
import resource, sys
from pathlib import Path
from tests.jobs.test_runner import run, shades

async def late(batch, models):
    if batch["path"][0] == "12.png":  # from here on no file may have more than 100 bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    return await shades(batch, models)

run(Path(sys.argv[1]), Path(sys.argv[2]), late, part_size=5, in_flight=1)
"""


def test_an_output_that_fills_up_keeps_the_finished_parts(pages, tmp_path):
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, pages, out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.endswith(f"{out}: cannot be written to (part-00002.parquet): File too large")
    assert sorted(p.name for p in out.glob("part-*")) == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert len(set(pq.read_table(out)["page"].to_pylist())) == 10


def interrupting(times=1):
    """A pipeline whose page 07 is Ctrl-C, once or twice; and what it was asked, page by page.

    Those behind it wait for it: they may be read sooner. After the second it is never done.
    """
    asked, interrupted = [], asyncio.Event()

    async def pipeline(batch, models):
        (page,) = batch["path"]
        asked.append(str(page))
        if page == "07.png":
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(0)
            if times > 1:
                await asyncio.Event().wait()
            interrupted.set()
        if page > "07.png":
            await interrupted.wait()
        return await shades(batch, models)

    return pipeline, asked


_INTERRUPTED = """
import sys
from pathlib import Path
from tests.jobs.test_runner import interrupting, run

pipeline, asked = interrupting(int(sys.argv[3]))
summary = run(Path(sys.argv[1]), Path(sys.argv[2]), pipeline, part_size=5, in_flight=2)
print(summary.outcome.value, len(asked))
"""


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_saves_what_is_read(pages, tmp_path, times):
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, pages, out, str(times)],
        capture_output=True,
        text=True,
        check=False,
    )
    document = json.loads((out / "_summary.json").read_text())
    read = set(pq.read_table(out)["page"].to_pylist())
    assert document["outcome"] == "interrupted"
    assert len(read) < PAGES
    if times == 1:
        told = f"interrupted {document['records']['read']}\n"
        assert (done.returncode, done.stdout) == (0, told), "what was in flight beside it is done"
        assert document["records"]["read"] in (8, 9)
    else:
        assert done.returncode in (-signal.SIGINT, 130)
    assert read == {f"{i:02d}.png" for i in range(5)}, "the part that is whole, and no other"


_COMPUTING = """
import asyncio, signal, sys, threading, time
from pathlib import Path
from orchestrator.runtime.jobs.runner import JobHooks
from tests.jobs.test_runner import run, shades

noticed = threading.Event()

def interrupt():  # this thread gets the signal, which wakes no other
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

def interrupts():
    interrupt()
    noticed.wait()  # signals of one kind that come together are one
    interrupt()

def compute():
    while True:
        time.sleep(0.01)

async def computing(batch, models):
    if batch["path"][0] == "07.png":
        threading.Thread(target=interrupts).start()
        compute() if sys.argv[3] == "loop" else await asyncio.to_thread(compute)
    return await shades(batch, models)

hooks = JobHooks(on_interrupt=noticed.set)
run(Path(sys.argv[1]), Path(sys.argv[2]), computing, part_size=5, in_flight=1, hooks=hooks)
"""


@pytest.mark.parametrize("where", ["loop", "thread"])
def test_the_second_ctrl_c_does_not_wait_for_what_a_pipeline_computes(pages, tmp_path, where):
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", _COMPUTING, pages, out, where],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (-signal.SIGINT, 130)
    assert "KeyboardInterrupt: interrupted twice" in done.stderr
    assert json.loads((out / "_summary.json").read_text())["outcome"] == "interrupted"
    summary = run(pages, out, part_size=5, prepared={"resume": True})
    assert (summary.outcome, summary.read, summary.resumed) == (Outcome.COMPLETE, PAGES, 5)


async def doubled_if_positive(batch, models):
    if (batch["x"] < 0).any():
        raise ValueError("a negative row")
    return {"y": batch["x"] * 2}


async def doubled(batch, models):
    """Fails on a whole batch when one row of it is negative or larger than 90."""
    if (batch["x"] < 0).any():
        raise ValueError("a negative row")
    if (batch["x"] > 90).any():
        raise RequestFailedError("det", ("local/0 died",), ("local/0",), blamed=True)
    return {"record_id": batch["record_id"], "y": batch["x"] * 2}


@pytest.fixture
def rows(tmp_path):
    """91 rows of x in lines; 13 is negative, 50 is no JSON."""
    folder = tmp_path / "rows"
    folder.mkdir()
    lines = [f'{{"x": {-1 if row == 13 else row}}}' for row in range(91)]
    lines[50] = "fifty"
    (folder / "a.jsonl").write_text("\n".join(lines))
    return folder


def test_one_bad_record_costs_one_record_of_its_batch(rows, tmp_path):
    summary = run(rows, tmp_path / "out", doubled, part_size=400)
    table = pq.read_table(tmp_path / "out")
    assert table["y"].to_pylist() == [2 * row for row in range(91) if row not in (13, 50)]
    assert (summary.total, summary.read, len(summary.parts)) == (91, 89, 3)
    found = {line["record"]: line for line in rejected(tmp_path / "out")}
    negative, broken = sorted(found, key=lambda record: int(record.partition("@")[2]))
    assert found[negative]["reason"] == "ValueError: a negative row"
    assert found[broken]["reason"].startswith("cannot be read: JSON parse error")


def test_a_record_that_kills_cards_is_found_and_named_with_them(rows, tmp_path):
    with (rows / "a.jsonl").open("a") as file:
        file.write('\n{"x": 91}\n')
    run(rows, tmp_path / "out", doubled)
    assert [line["card"] for line in rejected(tmp_path / "out")].count("local/0") == 1


def test_on_error_fail_stops_at_the_first_and_resumes_where_it_was(rows, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(JobError) as told:
        run(rows, out, doubled, part_size=90, in_flight=1, tolerance=Tolerance.of("fail"))
    assert str(told.value) == (
        "a.jsonl@120: ValueError: a negative row; on_error='skip' sets such records aside"
    )
    assert json.loads((out / "_summary.json").read_text())["records"] == {
        "total": None,
        "read": 10,
        "rejected": 0,
        "resumed": 0,
    }
    summary = run(rows, out, doubled, part_size=90, prepared={"resume": True})
    assert (summary.read, summary.resumed, len(summary.rejects)) == (89, 10, 2)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (1, "2 records were set aside, and at most 1 may be: see _summary.json"),
        ("1%", "2 records were set aside, and at most 0 may be, 1 % of 91: see _summary.json"),
        (2, None),
        ("3%", None),
    ],
)
def test_a_limit_of_bad_records(rows, tmp_path, limit, message):
    out, tolerance = tmp_path / "out", Tolerance.of("skip", limit)
    if message is None:
        assert run(rows, out, doubled, tolerance=tolerance).outcome is Outcome.COMPLETE
        return
    with pytest.raises(JobError) as told:
        run(rows, out, doubled, tolerance=tolerance)
    assert str(told.value).endswith(message)
    assert not (out / "_SUCCESS").exists()
    summary = run(rows, out, doubled, prepared={"resume": True})
    assert (summary.outcome, summary.read) == (Outcome.COMPLETE, 89)


def test_a_limit_of_records_that_were_counted_binds_at_once(pages, tmp_path):
    for name in ("00.png", "01.png", "02.png"):
        (pages / name).write_bytes(b"")
    with pytest.raises(JobError, match="2 records were set aside, and at most 1 may be, 5 % of 20"):
        run(pages, tmp_path / "out", in_flight=1, tolerance=Tolerance.of("skip", "5%"))


def test_an_input_that_vanishes_stops_the_job_and_loses_nothing(rows, tmp_path):
    out, path = tmp_path / "out", rows / "a.jsonl"
    data, known = path.read_bytes(), path.stat()

    async def vanishing(batch, models):
        path.unlink(missing_ok=True)
        return await doubled(batch, models)

    with pytest.raises(JobError, match=r"^a\.jsonl: cannot be read: No such file or directory$"):
        run(rows, out, vanishing, part_size=400, in_flight=1)
    assert (out / "part-00000.parquet").exists()
    path.write_bytes(data)
    os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))
    summary = run(rows, out, doubled, part_size=400, prepared={"resume": True})
    assert (summary.outcome, summary.read) == (Outcome.COMPLETE, 89)
    assert summary.resumed > 0


def test_a_job_that_ended_before_its_mark_needs_no_pipeline(rows, tmp_path):
    out = tmp_path / "out"
    run(rows, out, doubled)
    (out / "_SUCCESS").unlink()
    (out / "_summary.json").unlink()

    async def never(batch, models):
        raise AssertionError

    summary = run(rows, out, never, prepared={"resume": True})
    assert (summary.outcome, summary.resumed) == (Outcome.COMPLETE, 91)
    assert (out / "_SUCCESS").exists()


def test_a_job_of_numbers_imports_no_pandas(tmp_path):
    """Arrow does so at any value that could be one of its, and that takes a second."""
    np.save(tmp_path / "rows.npy", np.ones((10, 4), np.float32))
    script = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from tests.jobs.test_runner import run

        async def doubled(batch, models):
            return {{"id": batch["record_id"], "y": batch["data"] * 2}}

        folder = Path({str(tmp_path)!r})
        assert run(folder / "rows.npy", folder / "out", doubled).read == 10
        assert "pandas" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
