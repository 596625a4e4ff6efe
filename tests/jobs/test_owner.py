"""Whose an output folder is, and what is left of those that stopped half-way."""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.errors import JobError
from orchestrator.jobs import Finished, Job, Outcome, Piece
from orchestrator.runtime.io.inputs import open_source
from orchestrator.runtime.io.output import OutputFolder
from orchestrator.runtime.io.store import LOCK, MANIFEST, SUCCESS, SUMMARY
from tests.jobs.test_runner import pages, run  # noqa: F401 - a fixture

RESUME = {"resume": True}
TAKEN = "another run has taken the folder"


def a_job(records=3):
    return Job.of([Piece(f"{number}.png") for number in range(records)], lambda file: "", 1)


def begun(out, **options):
    sink = OutputFolder(out)
    sink.prepare(a_job(), **options)
    return sink


def refused(out, **options):
    with pytest.raises(JobError) as told:
        begun(out, **options)
    return told.value.problem


def done(sink, index=0):
    """A part without records."""
    sink.accept(Finished(sink.job.parts[index], 0), None)


_HOLDS = """
import sys
from tests.jobs.test_owner import begun, done
sink = begun(sys.argv[1])
done(sink)
print("begun", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def another(out):
    """Another process that has begun a job and goes on with it."""
    command = [sys.executable, "-c", _HOLDS, str(out)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("scheme", ["", "local://"])
def test_of_two_processes_the_second_is_refused_until_the_first_is_killed(tmp_path, scheme):
    """In a folder, by a lock; in an object store, by a lease whose process is dead."""
    out = f"{scheme}{tmp_path}"
    with another(out) as process:
        for options in ({}, RESUME):
            told = refused(out, **options)
            assert told.startswith(f"a run that has not ended writes to it: process {process.pid}")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert refused(out) == "holds a job that is not complete: resume=True goes on with it"
    with contextlib.closing(begun(out, **RESUME)) as sink:
        assert list(sink.done) == [0]


def test_who_waits_for_the_lock_sees_what_the_one_before_did(tmp_path, monkeypatch):
    """The first run begins and ends between the second one's look at the folder and its lock."""
    lock = fcntl.flock

    def late(file, how):
        monkeypatch.setattr(fcntl, "flock", lock)
        with another(tmp_path):
            pass
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert refused(tmp_path) == "holds a job that is not complete: resume=True goes on with it"
    with contextlib.closing(begun(tmp_path, **RESUME)) as sink:
        assert list(sink.done) == [0]


def test_a_file_system_without_locks_is_told_as_such(tmp_path, monkeypatch):
    def none(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    assert refused(tmp_path).startswith("_lock cannot be locked (No locks available), so nothing")


@pytest.mark.parametrize("how", ["no locks", "lock removed", "lock removed and manifest cut"])
def test_a_run_whose_folder_was_taken_ends_and_spoils_nothing(tmp_path, monkeypatch, how):
    first = begun(tmp_path)
    done(first)
    if how == "no locks":
        monkeypatch.setattr(fcntl, "flock", lambda file, how: None)
    else:
        (tmp_path / LOCK).unlink()
    with contextlib.closing(begun(tmp_path, **RESUME)) as second:
        if how == "lock removed and manifest cut":
            (tmp_path / LOCK).unlink()
        for write in (
            lambda: done(first, 1),
            lambda: first.write_summary("{}", complete=True),
        ):
            with pytest.raises(JobError, match=TAKEN):
                write()
        first.close()
        done(second, 2)
        assert not (tmp_path / SUCCESS).exists()
    with contextlib.closing(begun(tmp_path, **RESUME)) as third:
        assert list(third.done) == [0, 2]


def test_a_folder_of_somebody_else_stays_as_it_is(tmp_path):
    (tmp_path / "notes.txt").touch()
    for options in ({}, RESUME):
        refused(tmp_path, **options)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("resume", [False, True])
def test_what_a_crash_left_at_the_very_beginning_is_in_nobodys_way(tmp_path, resume):
    for name in (LOCK, f".{MANIFEST}.x1", ".part-00000.parquet.x2", f".{SUMMARY}.x3"):
        (tmp_path / name).write_text("{")
    begun(tmp_path, resume=resume).close()
    assert {path.name for path in tmp_path.iterdir()} == {LOCK, MANIFEST}


_FULL = """
import resource, sys
from orchestrator.errors import JobError
from tests.jobs.test_owner import MANIFEST, begun, done
from pathlib import Path
sink = begun(sys.argv[1])
done(sink)
size = Path(sys.argv[1], MANIFEST).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
try:
    done(sink, 1)
except JobError as error:
    print(error.problem)
sink.close()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
begun(sys.argv[1], resume=True).close()
print(Path(sys.argv[1], MANIFEST).read_text().count(chr(10)))
"""


def test_a_disk_that_is_full_for_the_manifest_is_told_and_leaves_no_half_line(tmp_path):
    command = [sys.executable, "-c", _FULL, str(tmp_path / "out")]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.stdout == "cannot be written to (the manifest): File too large\n3\n", told.stderr


def test_a_line_after_one_that_did_not_fit_is_whole(tmp_path, monkeypatch):
    sink = begun(tmp_path)
    done(sink)
    write, before = os.pwrite, (tmp_path / MANIFEST).read_bytes()

    def half(file, data, at):
        write(file, data[: len(data) // 2], at)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(JobError, match=r"the manifest\): No space left on device"):
        done(sink, 1)
    assert (tmp_path / MANIFEST).read_bytes() == before
    monkeypatch.setattr(os, "pwrite", write)
    done(sink, 2)
    sink.close()
    with contextlib.closing(begun(tmp_path, **RESUME)) as again:
        assert list(again.done) == [0, 2]


def test_a_manifest_that_was_cut_in_a_line_costs_that_part_alone(pages, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    run(pages, out, part_size=5)
    whole = pq.read_table(out)
    data = (out / MANIFEST).read_bytes()
    (out / MANIFEST).write_bytes(data[: data.rindex(b"\n", 0, -1) + 30])
    summary = run(pages, out, part_size=5, prepared=RESUME)
    assert (summary.outcome, summary.resumed) == (Outcome.COMPLETE, 15)
    assert pq.read_table(out).equals(whole)


def test_an_input_that_shrank_leaves_no_mark_of_the_larger_job(pages, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    run(pages, out, part_size=5)
    for page in sorted(pages.iterdir())[15:]:
        page.unlink()
    source, sink = open_source(pages), OutputFolder(out)
    job = Job.of(source.pieces(5), source.stamp, 5)
    with contextlib.closing(sink):
        sink.prepare(job, resume=True, accept_changes=True)
        assert sink.complete
        assert not sink.closed
    names = {path.name for path in out.iterdir()}
    assert names == {LOCK, MANIFEST, *(f"part-{index:05d}.parquet" for index in range(3))}


def test_threads_list_parts_at_once(tmp_path):
    out = OutputFolder(tmp_path)
    out.prepare(a_job(40))
    threads = [threading.Thread(target=done, args=(out, index)) for index in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(out.done) == 40
    assert (Path(tmp_path) / MANIFEST).read_text().count("\n") == 42
    out.close()
