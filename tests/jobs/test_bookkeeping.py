"""Parts, ledger and summary: which results make which file, whatever order they come in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.jobs import JobSummary, Ledger, Outcome, Reject, Stage, WrittenPart, cut

NAMES = [f"page-{index}" for index in range(10)]


def test_parts_are_runs_of_records_and_the_last_may_be_short():
    parts = cut(NAMES, 4)
    assert [len(part.records) for part in parts] == [4, 4, 2]
    assert [part.file for part in parts][:2] == ["part-00000.parquet", "part-00001.parquet"]
    assert [name for part in parts for name in part.records] == NAMES


@pytest.mark.parametrize(
    ("names", "size", "message"),
    [(NAMES, 0, "at least 1 record, not 0"), (["a", "b", "a"], 2, "two records are named 'a'")],
)
def test_parts_refuse_what_cannot_be_kept_apart(names, size, message):
    with pytest.raises(ValueError, match=message):
        cut(names, size)


@given(
    st.permutations(NAMES),
    st.integers(1, 12),
    st.sets(st.sampled_from(NAMES)),
)
def test_any_order_gives_the_same_parts(order, size, broken):
    ledger: Ledger[str] = Ledger(cut(NAMES, size))
    finished = []
    for name in order:
        if name in broken:
            part = ledger.reject(Reject(name, Stage.READ, "broken"))
        else:
            part = ledger.done(name, f"text of {name}")
        finished += [part] if part else []
    assert ledger.settled == ledger.total == 10
    assert ledger.leftovers() == sorted(
        (f for f in finished if f.results), key=lambda f: f.part.index
    )
    for one in finished:
        ledger.saved(one.part)
    assert ledger.leftovers() == []
    in_order = sorted(finished, key=lambda f: f.part.index)
    assert [f.part for f in in_order] == list(cut(NAMES, size))
    results = [result for f in in_order for result in f.results]
    assert results == [f"text of {name}" for name in NAMES if name not in broken]


def test_a_record_is_settled_once():
    ledger: Ledger[int] = Ledger(cut(NAMES, 2))
    ledger.done("page-0", 1)
    with pytest.raises(ValueError, match="'page-0' was settled before"):
        ledger.done("page-0", 1)
    finished = ledger.done("page-1", 1)
    ledger.saved(finished.part)
    with pytest.raises(ValueError, match="'page-1' was settled before"):
        ledger.reject(Reject("page-1", Stage.READ, ""))


def test_a_stopped_job_can_save_what_its_open_parts_have():
    ledger: Ledger[int] = Ledger(cut(NAMES, 4))
    ledger.done("page-2", 2)
    ledger.done("page-0", 0)
    ledger.reject(Reject("page-5", Stage.READ, "broken"))
    (left,) = ledger.leftovers()
    assert (left.part.index, left.results) == (0, (0, 2))


def test_ten_failures_without_a_success_are_hopeless_and_one_success_ends_that():
    ledger: Ledger[int] = Ledger(cut([str(i) for i in range(20)], 5))
    for index in range(9):
        ledger.reject(Reject(str(index), Stage.PIPELINE, "TypeError"))
        assert ledger.hopeless() is None
    ledger.reject(Reject("9", Stage.PIPELINE, "the tenth"))
    last = ledger.hopeless()
    assert last is not None
    assert last.reason == "the tenth"
    ledger.done("10", 1)
    assert ledger.hopeless() is None


def test_unreadable_records_are_hopeless_only_when_there_is_nothing_else():
    ledger: Ledger[int] = Ledger(cut([str(i) for i in range(12)], 5))
    for index in range(11):
        ledger.reject(Reject(str(index), Stage.READ, "broken"))
        assert ledger.hopeless() is None
    ledger.reject(Reject("11", Stage.READ, "broken"))
    assert ledger.hopeless() is not None


def test_the_summary_counts_and_names():
    rejects = tuple(Reject(f"p{i}.png", Stage.READ, "truncated") for i in range(150))
    parts = (WrittenPart("part-00000.parquet", 8, 90, 1234),)
    summary = JobSummary(
        Outcome.COMPLETE, 158, 8, rejects, 2, parts, 4.0, deployment={"plan": ["a"]}
    )
    document = json.loads(summary.to_json())
    assert document["records"] == {"total": 158, "read": 8, "rejected": 150, "resumed": 0}
    assert document["records_per_second"] == 39.5
    assert document["rows"] == 90
    assert len(document["rejects"]) == 100
    assert document["rejects"][0] == {"record": "p0.png", "stage": "read", "reason": "truncated"}
    assert document["plan"] == ["a"]


def test_a_reject_is_one_line_of_json():
    line = Reject("a\nb.png", Stage.PIPELINE, "says é").line()
    assert line.count("\n") == 1
    assert json.loads(line) == {"record": "a\nb.png", "stage": "pipeline", "reason": "says é"}
