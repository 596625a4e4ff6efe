"""Outputs behind URLs: a job there is resumed, owned and finished as in a folder."""

import contextlib
import json
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from orchestrator.errors import CardsUnavailableError, JobError
from orchestrator.jobs import Outcome
from orchestrator.runtime.io import remote
from orchestrator.runtime.io.lease import ObjectLease, Pace, read_lease
from orchestrator.runtime.io.output import OutputFolder, store_at
from orchestrator.runtime.io.remote import RemoteStore
from orchestrator.runtime.io.store import BEGUN, LOCK, MANIFESTS, REJECTS, SUCCESS, SUMMARY
from orchestrator.runtime.jobs.jobspec import JobSpec, keep_apart
from tests.jobs.test_owner import RESUME, TAKEN, begun, done, refused
from tests.jobs.test_resume import _KILLED
from tests.jobs.test_runner import PAGES, pages, run, shades  # noqa: F401 - a fixture
from tests.rejected import rejected

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def no_rivals(monkeypatch):
    """Nobody takes a store at the same moment, so that nothing needs to settle."""
    monkeypatch.setattr(remote, "_PACE", Pace(settle=0.0))


@pytest.fixture
def url(tmp_path):
    """A store of fsspec that other processes see too; the folder is ``tmp_path / "out"``."""
    return f"local://{tmp_path}/out"


def rows(out):
    """The records of every part, in the order of the parts."""
    return pq.read_table(out).to_pylist()


def test_killed_again_and_again_a_store_holds_what_a_folder_would(pages, tmp_path, url):  # noqa: F811
    (pages / "04.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    run(pages, tmp_path / "undisturbed", part_size=3)
    for page in ("05.png", "14.png"):
        script = _KILLED.replace("map(Path, sys.argv[1:3])", "Path(sys.argv[1]), sys.argv[2]")
        killed = subprocess.run([sys.executable, "-c", script, pages, url, page], check=False)
        assert killed.returncode == -signal.SIGKILL
    (out / "part-00006-of-a-dead-worker.parquet").write_bytes(b"half")
    summary = run(pages, url, part_size=3, in_flight=2, prepared=RESUME)
    assert (summary.outcome, summary.read) == (Outcome.COMPLETE, PAGES - 1)
    assert summary.resumed >= 9
    assert rows(out) == rows(tmp_path / "undisturbed")
    assert {path.name for path in out.iterdir() if not path.name.startswith(REJECTS)} == {
        *(MANIFESTS, SUCCESS, SUMMARY),
        *(part.file for part in summary.parts),
    }
    assert rejected(out) == rejected(tmp_path / "undisturbed") != []
    sink = OutputFolder(url)
    with (
        contextlib.closing(begun("memory://none")) as other,
        pytest.raises(JobError, match="holds a job that is complete: name a new folder"),
    ):
        sink.prepare(other.job)


def test_a_job_stops_and_goes_on_in_a_store_without_folders(pages):  # noqa: F811
    url = "memory://stops/out"

    async def deserted(batch, models):
        if batch["path"][0] >= "07.png":
            raise CardsUnavailableError(2, 0, "NPU", "restart them")
        return await shades(batch, models)

    with pytest.raises(CardsUnavailableError):
        run(pages, url, deserted, part_size=5, in_flight=1)
    summary = run(pages, url, part_size=5, prepared=RESUME)
    assert (summary.outcome, summary.resumed) == (Outcome.COMPLETE, 7)
    assert not [name for name in store_at(url).names() if name.startswith(BEGUN)]
    with store_at(url).open(summary.parts[0].file) as file:
        assert set(pq.read_table(file)["page"].to_pylist()) == {f"{n:02d}.png" for n in range(5)}


def test_a_run_whose_store_was_taken_ends_and_what_it_adds_counts_for_nothing(tmp_path, url):
    first = begun(url)
    done(first)
    (tmp_path / "out" / LOCK).unlink()
    with contextlib.closing(begun(url, **RESUME)) as second:
        for write in (lambda: done(first, 1), lambda: first.write_summary("{}", complete=True)):
            with pytest.raises(JobError, match=TAKEN):
                write()
        first._record._journal.add("it did not look\n")
        (tmp_path / "out" / LOCK).unlink()
        with pytest.raises(JobError, match=TAKEN):
            first.write_summary("{}", complete=True)
        first.close()
        done(second, 2)
    with contextlib.closing(begun(url, **RESUME)) as third:
        assert list(third.done) == [0, 2]


@pytest.mark.parametrize("cut", [0, 1])
def test_a_manifest_of_which_an_object_is_cut_costs_that_part_alone(tmp_path, url, cut):
    with contextlib.closing(begun(url)) as sink:
        done(sink)
        done(sink, 1)
    line = sorted((tmp_path / "out" / MANIFESTS).glob("*.json"))[cut]
    line.write_text(line.read_text()[:40])
    with contextlib.closing(begun(url, **RESUME)) as sink:
        assert list(sink.done) == [1 - cut]
    base = max((tmp_path / "out" / MANIFESTS).glob("*.jsonl"))
    (base.parent / "000009-abc.jsonl").write_text("cut")
    with contextlib.closing(begun(url, **RESUME)) as sink:
        assert list(sink.done) == [1 - cut], "a run that did not come to begin is none"


class Clock:
    """A time that passes when somebody sleeps; ``meanwhile`` is what others do then."""

    def __init__(self):
        self.time, self.meanwhile = 1000.0, lambda: None

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds
        self.meanwhile()


def elsewhere(store, time):
    """The lease of a run on another machine."""
    document = {"nonce": "other", "owner": "run other", "time": time, "machine": "x", "process": 1}
    store.put(LOCK, json.dumps(document).encode())


def test_a_lease_of_another_machine_is_taken_when_it_is_old_and_refused_before(url):
    store, clock = RemoteStore(url), Clock()
    store.make()
    pace = Pace(now=clock.now, sleep=clock.sleep)
    elsewhere(store, time=clock.time - 59)
    with pytest.raises(JobError) as told:
        ObjectLease(store, pace)
    assert told.value.problem == (
        "a run that has not ended writes to it: run other, seen 59 s ago; if it is dead, the "
        "folder is free in 1 s"
    )
    clock.time += 2
    lease = ObjectLease(store, pace)
    assert read_lease(store)["nonce"] == lease.nonce
    lease.check()
    lease.close()
    assert read_lease(store) is None


def test_of_two_that_take_a_lease_at_once_the_later_one_has_it(url):
    store, clock = RemoteStore(url), Clock()
    store.make()
    clock.meanwhile = lambda: elsewhere(store, clock.time)
    with pytest.raises(JobError, match=TAKEN):
        ObjectLease(store, Pace(now=clock.now, sleep=clock.sleep))
    assert read_lease(store)["nonce"] == "other"


def test_a_lease_is_refreshed_while_its_owner_lives(url):
    store, clock = RemoteStore(url), Clock()
    store.make()
    lease = ObjectLease(store, Pace(refresh=0.01, now=clock.now, sleep=clock.sleep))
    clock.time += 500
    while (read_lease(store) or {"time": 0})["time"] < clock.time:
        pass
    lease.close()


def test_what_is_no_store_and_what_is_somebody_elses(tmp_path, url):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    assert refused(url).startswith("is not empty")
    assert refused(url, **RESUME).startswith("has no _manifest, so there is no job in it")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
    assert refused(f"{url}/notes.txt") == "is a file; the output is a folder"
    assert "is read through fsspec" in refused("nosuch://x") or "cannot be" in refused("nosuch://x")


def test_a_file_url_is_the_folder_that_it_names(pages, tmp_path):  # noqa: F811
    run(pages, f"file://{tmp_path}/my%20out", part_size=5)
    assert len(list((tmp_path / "my out").glob("part-0000?.parquet"))) == 4


@pytest.mark.parametrize(
    ("source", "output", "inside"),
    [
        ("s3://bucket/data", "s3://bucket/data/out", True),
        ("s3://bucket/data/", "s3://bucket/data", True),
        ("s3://bucket/data?region=x", "s3://bucket/data/out", True),
        ("s3://bucket/data", "gs://bucket/data/out", False),
        ("s3://bucket/data", "s3://bucket/database", False),
        ("file:///data", "/data/out", True),
        ("/my data", "file:///my%20data/out", True),
        ("/data", "s3://data/out", False),
    ],
)
def test_an_output_inside_its_input(source, output, inside):
    spec = JobSpec(source, output, model="m")
    if inside:
        with pytest.raises(JobError, match="lies inside the input"):
            keep_apart(spec)
    else:
        keep_apart(spec)


def test_whatever_a_stores_library_raises_is_told(monkeypatch):
    class Refused(Exception):
        pass

    def refuse(self, path, *arguments, **options):
        raise Refused("no credentials")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "_open", refuse)
    assert refused("memory://refused/out") == "cannot be written to: no credentials"
