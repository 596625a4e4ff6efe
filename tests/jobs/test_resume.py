"""A job that was stopped by anything goes on where it was, and ends as if nothing had happened."""

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import JobError, NotServingError
from orchestrator.jobs import (
    Begun,
    Job,
    Listed,
    Outcome,
    PartEntry,
    Reject,
    manifest_text,
    read_manifest,
)
from orchestrator.runtime.io.formats import format_of
from orchestrator.runtime.io.inputs import open_source
from orchestrator.runtime.io.output import OutputFolder
from orchestrator.runtime.jobs.runner import Here, run_job
from orchestrator.runtime.jobs.work import Task
from tests.jobs.test_runner import PAGES, interrupting, pages, run, shades  # noqa: F401 - a fixture
from tests.rejected import rejected

text = st.text(max_size=5)
numbers = st.integers(0, 9)
entries = st.builds(
    PartEntry,
    index=st.integers(0, 9),
    input=st.text("0123456789abcdef", max_size=4),
    file=st.none() | st.text(max_size=5),
    records=st.integers(0, 9),
    rows=st.integers(0, 9),
    bytes=st.integers(0, 9),
    sha256=st.text("0123456789abcdef", max_size=4),
    rejects=st.none() | st.builds(Listed, text, numbers, text),
    rejected=st.dictionaries(text, numbers, max_size=2),
    begun=st.none() | st.builds(Begun, numbers, numbers),
)
RESUME = {"resume": True}
FACTS = {"the input": "3 records", "model det": "äöü\n"}


@given(st.lists(entries, max_size=4))
def test_a_manifest_says_what_was_written(written):
    files = {"a.png": "1", "b\n.png": "2"}
    found = read_manifest(manifest_text(FACTS, written, "a run", files))
    assert (found.facts, found.files) == (FACTS, files)
    assert found.entries == {entry.index: entry for entry in written}


@given(st.lists(entries, min_size=1, max_size=3), st.data())
def test_a_last_line_that_was_cut_counts_for_nothing_and_other_damage_is_seen(written, data):
    whole = manifest_text(FACTS, written)
    start = whole.rindex("\n", 0, -1) + 1
    cut = data.draw(st.integers(start, len(whole) - 2))
    found = read_manifest(whole[:cut])
    assert found.entries == {entry.index: entry for entry in written[:-1]}
    at = data.draw(st.integers(0, start - 2))
    damaged = whole[:at] + ("x" if whole[at] != "x" else "y") + whole[at + 1 :]
    with pytest.raises(ValueError, match="damaged"):
        read_manifest(damaged)


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.jobs.test_runner import run, shades

async def fatal(batch, models):
    if batch["path"][0] == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
    if batch["path"][0] > sys.argv[3]:
        await asyncio.Event().wait()  # however long the fatal one takes to come
    return await shades(batch, models)

pages, out = map(Path, sys.argv[1:3])
run(pages, out, fatal, part_size=3, in_flight=2, prepared={"resume": True})
"""


def test_killed_again_and_again_the_output_equals_that_of_an_undisturbed_run(pages, tmp_path):  # noqa: F811
    (pages / "04.png").write_bytes(b"no picture")
    out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    run(pages, undisturbed, part_size=3)
    for page in ("05.png", "11.png", "17.png"):
        done = subprocess.run([sys.executable, "-c", _KILLED, pages, out, page], check=False)
        assert done.returncode == -signal.SIGKILL
    listed = (out / "_manifest.jsonl").read_text()  # a part that is not is none yet
    before = {p.name: p.stat().st_mtime_ns for p in out.glob("part-*") if p.name in listed}
    summary = run(pages, out, part_size=3, in_flight=2, prepared=RESUME)
    assert (summary.outcome, summary.read, summary.total) == (Outcome.COMPLETE, PAGES - 1, PAGES)
    assert summary.resumed >= 12
    assert [reject.record for reject in summary.rejects] == ["04.png"]
    assert pq.read_table(out).equals(pq.read_table(undisturbed))
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert before.items() <= after.items(), "what was done is not done again"
    names = {path.name for path in out.iterdir()}
    assert names == {path.name for path in undisturbed.iterdir()}
    assert rejected(out) == rejected(undisturbed) != []


def test_after_ctrl_c_the_part_that_was_open_goes_on_where_it_was(pages, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    interrupts, asked = interrupting()
    summary = run(pages, out, interrupts, part_size=5, in_flight=2)
    assert (summary.outcome, summary.read) == (Outcome.INTERRUPTED, len(asked))
    assert len(asked) in (8, 9), "the page after it may have been in flight"
    summary = run(pages, out, part_size=5, prepared=RESUME)
    assert (summary.outcome, summary.resumed) == (Outcome.COMPLETE, len(asked))
    run(pages, tmp_path / "undisturbed", part_size=5)
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "undisturbed"))


LINES = 200


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """Lines of x; 30, 31 and 130 are no JSON, 50 and 111 are negative."""
    folder = tmp_path_factory.mktemp("lines")
    texts = [json.dumps({"x": -x if x in (50, 111) else x}) for x in range(LINES)]
    for broken in (30, 31, 130):
        texts[broken] = "broken"
    (folder / "a.jsonl").write_text("\n".join(texts))
    return folder / "a.jsonl"


def stopped_at(lines, out, place, *, rows=7, **options):
    """A run that is stopped when it comes to a record; what it was asked, batch by batch."""
    stop, asked = threading.Event(), []

    async def noted(batch, models):
        asked.append(batch["x"].tolist())
        if place in batch["x"]:
            stop.set()
        await asyncio.sleep(0)
        if (batch["x"] < 0).any():
            raise ValueError("a negative row")
        return {"record_id": batch["record_id"], "y": batch["x"] * 2}

    source, sink = open_source(lines), OutputFolder(out, options.pop("output_format", "parquet"))
    with contextlib.closing(sink):
        sink.prepare(Job.of(source.pieces(1 << 20), source.stamp, 1 << 20), resume=True)
        hands = Here(Task(source, noted, rows, 3), None)
        summary = run_job(hands, sink, stop=stop)
    return summary, asked


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(st.integers(0, LINES - 1), st.integers(1, 20)), max_size=4),
    st.sampled_from(["parquet", "jsonl", "numpy"]),
)
def test_stopped_anywhere_in_one_large_part_no_record_is_done_twice(
    lines, tmp_path_factory, stops, output_format
):
    """Whatever the size of batches is when it goes on."""
    folder = tmp_path_factory.mktemp("stops")
    out, undisturbed = folder / "out", folder / "undisturbed"
    stopped_at(lines, undisturbed, None, output_format=output_format)
    done, before = [], 0
    for place, rows in stops:
        summary, asked = stopped_at(lines, out, place, rows=rows, output_format=output_format)
        assert summary.resumed == before
        done += asked
        before = summary.read + summary.set_aside
        if summary.outcome is Outcome.COMPLETE:
            break
        told = sum(len(file.read_bytes().splitlines()) for file in out.glob("_rejects-*"))
        assert told == summary.set_aside
    summary, asked = stopped_at(lines, out, None, output_format=output_format)
    assert (summary.outcome, summary.read, summary.resumed) == (Outcome.COMPLETE, 195, before)
    whole = Counter(x for batch in done + asked for x in batch)
    halves = {x for batch in done + asked if min(batch) < 0 for x in batch}
    assert {x for x, times in whole.items() if times > 1} <= halves
    names = {path.name for path in out.iterdir()}
    assert names == {path.name for path in undisturbed.iterdir()}
    data = {f"part-00000{format_of(output_format).suffix}", "_rejects-00000.jsonl"}
    assert all((out / one).read_bytes() == (undisturbed / one).read_bytes() for one in data)


@pytest.mark.parametrize("how", ["_begun-00000.arrow", "_rejects-00000.jsonl", "changes"])
def test_a_beginning_that_is_damaged_or_of_another_state_of_the_job_is_done_anew(
    lines, tmp_path, how
):
    out = tmp_path / "out"
    before, _ = stopped_at(lines, out, 120)
    assert before.read > 100
    assert not list(out.glob("part-*"))
    if how == "changes":
        source, sink = open_source(lines), OutputFolder(out)
        job = Job.of(source.pieces(1 << 20), source.stamp, 1 << 20, {"model det": "2"})
        sink.prepare(job, resume=True, accept_changes=True)
        assert not sink.beginnings()
        sink.close()
        assert not list(out.glob("_begun-*"))
        return
    (out / how).write_bytes(b"cut")
    summary, asked = stopped_at(lines, out, None)
    assert (summary.outcome, summary.read, summary.resumed) == (Outcome.COMPLETE, 195, 0)
    assert asked[0][0] == 0
    assert len(rejected(out)) == 5


def test_what_is_set_aside_is_counted_by_the_driver_and_kept_where_it_was_found(tmp_path):
    """Counts and the first few are all that a driver holds of bad records."""
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n' * 5 + "bad\n" * 3_000)

    async def same(batch, models):
        return batch

    source, sink = open_source(tmp_path / "a.jsonl"), OutputFolder(tmp_path / "out")
    with contextlib.closing(sink):
        sink.prepare(Job.of(source.pieces(2_000), source.stamp, 2_000))
        summary = run_job(Here(Task(source, same, 64, 3), None), sink)
        gc.collect()  # what is only waiting to be let go does not count
        alive = [one for one in gc.get_objects() if type(one) is Reject]
    assert (summary.read, summary.set_aside, len(summary.rejects)) == (5, 3_000, 100)
    assert len(alive) == 100
    assert len(rejected(tmp_path / "out")) == 3_000
    manifest = (tmp_path / "out" / "_manifest.jsonl").stat().st_size
    assert manifest < 1000 * (1 + len(sink.done))


def prepare(folder: Path, out: Path, facts=None, **options) -> OutputFolder:
    source, sink = open_source(folder), OutputFolder(out)
    sink.prepare(Job.of(source.pieces(5), source.stamp, 5, facts), **options)
    return sink


def refusal(folder: Path, out: Path, facts=None, **options) -> str:
    with pytest.raises(JobError) as told:
        prepare(folder, out, facts, **options)
    return str(told.value).removeprefix(f"{out}: ")


def test_a_complete_job_has_nothing_left_and_is_not_written_over(pages, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    run(pages, out, part_size=5)
    sink = prepare(pages, out, resume=True)
    assert sink.complete
    assert sink.closed
    sink.close()
    assert refusal(pages, out) == "holds a job that is complete: name a new folder"


def test_a_part_that_was_damaged_or_lost_is_done_anew(pages, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    run(pages, out, part_size=5)
    whole = pq.read_table(out)
    (out / "part-00001.parquet").write_bytes(b"cut")
    (out / "part-00002.parquet").unlink()
    summary = run(pages, out, part_size=5, prepared=RESUME)
    assert (summary.outcome, summary.resumed) == (Outcome.COMPLETE, 10)
    assert pq.read_table(out).equals(whole)


def test_changes_are_named_and_accepted_on_demand(pages, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    run(pages, out, part_size=5)
    facts = {"model det": "2"}
    assert refusal(pages, out, facts, resume=True) == (
        "its job began with another state of model det: accept_changes=True goes on all the same, "
        "redoing the parts whose records differ; or name a new folder"
    )
    (pages / "07.png").write_bytes((pages / "06.png").read_bytes())
    told = refusal(pages, out, facts, resume=True)
    assert "another state of the input (1 changed: 07.png), model det: " in told
    sink = prepare(pages, out, facts, resume=True, accept_changes=True)
    assert sorted(sink.done) == [0, 2, 3]
    sink.close()
    run(pages, out, part_size=5, prepared={"resume": True, "accept_changes": True})
    (pages / "03.png").unlink()
    for name in ("a", "b", "c", "d"):
        (pages / f"z{name}.png").write_bytes((pages / "06.png").read_bytes())
    told = refusal(pages, out, resume=True)
    assert "the input (1 missing: 03.png; 4 new: za.png, zb.png, zc.png and 1 more): " in told


def test_an_input_that_was_cut_otherwise_is_the_same_input(pages, tmp_path):  # noqa: F811
    run(pages, tmp_path / "out", part_size=4)
    told = refusal(pages, tmp_path / "out", resume=True)
    assert told.startswith("its job began with another state of the part size: ")


def test_one_run_at_a_time(pages, tmp_path):  # noqa: F811
    sink = prepare(pages, tmp_path / "out")
    told = refusal(pages, tmp_path / "out", resume=True)
    assert told.startswith(f"a run that has not ended writes to it: process {os.getpid()} on ")
    sink.close()
    prepare(pages, tmp_path / "out", resume=True).close()


_RESUMING = """
import sys, time
from pathlib import Path
from tests.jobs.test_runner import run, shades

pages, out, go = map(Path, sys.argv[1:])

async def waiting(batch, models):
    (go.parent / "begun").touch()
    while not go.exists():
        time.sleep(0.01)
    return await shades(batch, models)

print(run(pages, out, waiting, part_size=5, prepared={"resume": True}).outcome.value)
"""


def test_of_two_processes_that_resume_at_once_one_is_refused(pages, tmp_path):  # noqa: F811
    async def half(batch, models):
        if batch["path"][0] >= "10.png":
            raise NotServingError("deployment tiny", "it was closed")
        return await shades(batch, models)

    out, go = tmp_path / "out", tmp_path / "go"
    with pytest.raises(NotServingError):
        run(pages, out, half, part_size=5, in_flight=1)
    words = [sys.executable, "-c", _RESUMING, pages, out, go]
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as ends:
        processes = []
        for _ in range(2):
            process = subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True)
            processes.append(ends.enter_context(process))
            ends.callback(process.kill)
        while all(process.poll() is None for process in processes):
            time.sleep(0.05)
        refused, other = sorted(processes, key=lambda process: process.poll() is None)
        told = refused.communicate()[1]
        assert refused.returncode == 1
        assert f"a run that has not ended writes to it: process {other.pid} on " in told
        go.touch()
        assert (other.communicate()[0], other.returncode) == ("complete\n", 0)
    undisturbed = tmp_path / "undisturbed"
    run(pages, undisturbed, part_size=5)
    assert pq.read_table(out).equals(pq.read_table(undisturbed))


def test_folders_that_hold_no_job_or_one_that_cannot_be_relied_on(pages, tmp_path):  # noqa: F811
    assert refusal(pages, pages, resume=True) == (
        "has no _manifest.jsonl, so there is no job in it to resume"
    )
    out = tmp_path / "out"
    run(pages, out, part_size=5)
    lines = (out / "_manifest.jsonl").read_text().splitlines(keepends=True)
    (out / "_manifest.jsonl").write_text("".join([lines[0], lines[1][:40] + "\n", *lines[2:]]))
    assert refusal(pages, out, resume=True) == (
        "_manifest.jsonl cannot be relied on: line 2 is damaged; name a new folder"
    )


def test_a_folder_where_no_part_was_finished_may_be_used_anew(pages, tmp_path):  # noqa: F811
    prepare(pages, tmp_path / "out").close()
    prepare(pages, tmp_path / "out", {"another": "job"}).close()
    first, _ = (tmp_path / "out" / "_manifest.jsonl").read_text().splitlines()
    assert json.loads(first)
