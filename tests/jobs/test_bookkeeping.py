"""Parts, ledger and summary: which results make which file, whatever order they come in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.jobs import (
    Begun,
    Finished,
    JobSummary,
    Ledger,
    OnError,
    Outcome,
    Part,
    PartEntry,
    Piece,
    Reject,
    Settled,
    Stage,
    Tolerance,
    Unit,
    WrittenPart,
    cut,
    ranges,
)

FILES = [Piece(f"page-{index}") for index in range(10)]


def test_parts_are_runs_of_pieces_and_the_last_may_be_short():
    parts = cut(FILES, 4)
    assert [part.records for part in parts] == [4, 4, 2]
    assert [part.name for part in parts][:2] == ["part-00000", "part-00001"]
    assert [piece for part in parts for piece in part.pieces] == FILES


@given(st.lists(st.integers(1, 30), max_size=12), st.integers(1, 40))
def test_parts_hold_at_most_their_size_unless_one_piece_is_larger(sizes, size):
    pieces = [Piece(f"f{number}", 0, rows, Unit.ROW) for number, rows in enumerate(sizes)]
    parts = cut(pieces, size)
    assert [piece for part in parts for piece in part.pieces] == pieces
    assert all(part.records <= size or len(part.pieces) == 1 for part in parts)
    firsts = [part.pieces[0].size for part in parts]
    assert all(part.records + first > size for part, first in zip(parts, firsts[1:], strict=False))


@given(st.integers(0, 100), st.integers(1, 120))
def test_ranges_cover_a_file_once(total, size):
    pieces = ranges("a.jsonl", total, size, Unit.BYTE)
    assert [at for piece in pieces for at in range(piece.start, piece.stop)] == list(range(total))
    assert all(piece.size == size for piece in pieces[:-1])


def test_a_record_is_named_by_file_and_place():
    assert Piece("a/b.png").record(0) == "a/b.png"
    assert Piece("a.parquet", 5, 9, Unit.ROW).record(7) == "a.parquet#7"
    lines = Piece("a.jsonl", 0, 4096, Unit.BYTE)
    assert (lines.record(128), str(lines)) == ("a.jsonl@128", "a.jsonl@0-4096")
    assert (lines.records, cut([lines], 1)[0].records) == (None, None)


@pytest.mark.parametrize(
    ("pieces", "size", "message"),
    [
        (FILES, 0, "at least 1 record, not 0"),
        ([Piece("a"), Piece("b"), Piece("a")], 2, "two records are named 'a'"),
    ],
)
def test_parts_refuse_what_cannot_be_kept_apart(pieces, size, message):
    with pytest.raises(ValueError, match=message):
        cut(pieces, size)


def settled(record: str, broken=()) -> Settled:
    return Settled(0, {"read": 1}) if record in broken else Settled(1)


@given(
    st.permutations(range(10)),
    st.integers(1, 12),
    st.sets(st.sampled_from([piece.file for piece in FILES])),
    st.booleans(),
)
def test_any_order_gives_the_same_parts(order, size, broken, counted_first):
    parts = cut(FILES, size)
    places = [(part, at) for part in parts for at in range(len(part.pieces))]
    ledger: Ledger = Ledger(parts)

    def ends():
        return [ledger.end(part, len(part.pieces)) for part in parts]

    finished = ends() if counted_first else []
    for index in order:
        part, at = places[index]
        finished.append(ledger.settle(part, at, settled(FILES[index].file, broken)))
    finished += [] if counted_first else ends()
    whole = sorted((one for one in finished if one), key=lambda one: one.part.index)
    assert ledger.ended
    assert ledger.read == 10 - len(broken)
    assert ledger.leftovers() == [one for one in whole if one.records]
    for one in whole:
        ledger.saved(one.part)
    assert ledger.leftovers() == []
    assert [one.part for one in whole] == list(parts)
    assert sum(one.records for one in whole) == 10 - len(broken)
    assert sum(one.rejected.get("read", 0) for one in whole) == len(broken)


def test_a_batch_is_settled_once():
    part, other = cut(FILES, 2)[:2]
    ledger: Ledger = Ledger((part, other))
    ledger.settle(part, 0, settled("page-0"))
    with pytest.raises(ValueError, match="batch 0 of part-00000 was settled before"):
        ledger.settle(part, 0, settled("page-0"))
    ledger.settle(part, 1, settled("page-1"))
    assert ledger.end(part, 2).batches is None
    ledger.saved(part)
    with pytest.raises(ValueError, match="part-00000 was settled before"):
        ledger.settle(part, 1, settled("page-1"))


def test_a_part_without_records_is_finished_when_it_is_read():
    part = Part(0, (Piece("a.jsonl", 4, 8, Unit.BYTE),))
    finished = Ledger((part,)).end(part, 0)
    assert finished == Finished(part, 0)


def test_a_stopped_job_can_save_what_its_open_parts_have():
    parts = cut(FILES, 4)
    ledger: Ledger = Ledger(parts)
    ledger.settle(parts[0], 2, settled("page-2"))
    ledger.settle(parts[0], 0, settled("page-0"))
    ledger.settle(parts[1], 1, settled("page-5", {"page-5"}))
    ledger.settle(parts[2], 0, settled("page-8", {"page-8"}))
    assert ledger.leftovers() == [Finished(parts[0], 1, {}, 1)], "what is behind a gap is not"
    ledger.settle(parts[0], 1, settled("page-1", {"page-1"}))
    assert ledger.leftovers() == [Finished(parts[0], 2, {"read": 1}, 3)]


@given(st.integers(0, 4), st.data())
def test_a_part_that_was_begun_goes_on_behind_that_and_counts_as_a_whole(done, data):
    (part,) = cut(FILES[:5], 5)
    broken = data.draw(st.sets(st.integers(0, 4)))
    first = [number for number in range(done) if number not in broken]
    aside = done - len(first)
    entry = PartEntry(
        0, "", "f", len(first), 1, 1, "", None, {"read": aside} if aside else {}, "", Begun(done, 1)
    )
    ledger = Ledger((part,), {0: entry})
    lost = data.draw(st.lists(st.integers(done, 4), unique=True))
    for number in lost:
        ledger.settle(part, number, settled(number, broken))
    ledger.again(part)
    assert (ledger.read, ledger.set_aside, ledger.leftovers()) == (len(first), aside, [])
    if done:
        with pytest.raises(ValueError, match="settled before"):
            ledger.settle(part, done - 1, Settled(1))
    assert ledger.end(part, 5) is None
    told = [ledger.settle(part, number, settled(number, broken)) for number in range(done, 5)]
    assert told[-1].records == 5 - len(broken)
    assert sum(told[-1].rejected.values()) == len(broken)
    ledger.again(part, afresh=True)
    assert (ledger.read, ledger.set_aside) == (0, 0)


def test_what_is_lost_of_a_part_is_forgotten_and_done_again():
    parts = cut(FILES, 4)
    ledger = Ledger(parts)
    kept, lost = (
        Reject(name, stage, "broken")
        for name, stage in (("page-1", Stage.READ), ("page-5", Stage.PIPELINE))
    )
    ledger.reject(parts[0], kept)
    ledger.settle(parts[0], 0, settled("page-0"))
    ledger.again(parts[2])
    ledger.reject(parts[1], lost)
    ledger.settle(parts[1], 0, settled("page-4"))
    ledger.end(parts[1], 2)
    ledger.again(parts[1])
    assert (ledger.read, ledger.rejected) == (1, {"read": 1})
    ledger.settle(parts[1], 0, settled("page-4"))
    assert ledger.read == 2


def failed(ledger: Ledger, part: Part, number: int, stage: Stage = Stage.PIPELINE) -> Settled:
    """A batch of one record that fails, as the ledger is told."""
    ledger.reject(part, Reject(str(number), stage, f"failure {number}"))
    return Settled(0, {stage.value: 1})


def test_ten_failures_without_a_success_are_hopeless_and_one_success_ends_that():
    (part,) = cut(FILES, 10)
    ledger: Ledger = Ledger((part,), resumed=True)
    for number in range(9):
        ledger.settle(part, number, failed(ledger, part, number))
        assert ledger.hopeless() is None
    last = failed(ledger, part, 9)
    assert ledger.hopeless() is None, "what else is in its batch is not known yet"
    ledger.settle(part, 9, last)
    count, last = ledger.hopeless()
    assert (count, last.reason) == (10, "failure 9")
    ledger.settle(part, 10, Settled(1))
    assert ledger.hopeless() is None


def test_failures_of_a_part_that_is_done_again_are_forgotten():
    (part,) = cut(FILES, 10)
    ledger: Ledger = Ledger((part,))
    ledger.settle(part, 0, failed(ledger, part, 0))
    ledger.again(part)
    for number in range(9):
        ledger.settle(part, number, failed(ledger, part, number))
    assert ledger.hopeless() is None


@pytest.mark.parametrize("resumed", [False, True])
def test_unreadable_records_are_hopeless_only_when_there_is_nothing_else(resumed):
    (part,) = cut(FILES, 10)
    ledger: Ledger = Ledger((part,), resumed=resumed)
    failed(ledger, part, 0, Stage.READ)
    ledger.settle(part, 0, Settled(0, {"read": 10}))
    assert ledger.hopeless() is None
    ledger.end(part, 1)
    assert (ledger.hopeless() is None) == resumed


def test_how_many_bad_records_are_too_many():
    assert Tolerance().problem(10**9, 10**9, None) == ""
    ten = Tolerance.of("skip", 10)
    assert ten.problem(10, 10, None) == ""
    assert ten.problem(11, 11, None) == "11 records were set aside, and at most 10 may be"
    share = Tolerance.of(OnError.SKIP, "1.5%")
    assert share.problem(3, 3, 200) == ""
    assert share.problem(4, 4, 200) == (
        "4 records were set aside, and at most 3 may be, 1.5 % of 200"
    )
    assert share.problem(999, 999, None) == "", "too few to tell"
    assert share.problem(16, 1000, None).endswith("at most 15 may be, 1.5 % of 1000")


@pytest.mark.parametrize("limit", ["x", "-1", "1.5", "101%", "-1%", "%", "1/0%", ""])
def test_a_limit_that_is_none(limit):
    with pytest.raises(ValueError, match="expected a count such as 10 or a share such as 1%"):
        Tolerance.of("skip", limit)


def test_a_limit_goes_with_skip():
    with pytest.raises(ValueError, match="the first error stops the job: a limit goes with skip"):
        Tolerance.of("fail", 10)
    with pytest.raises(ValueError, match="on error 'stop' is none of fail, skip"):
        Tolerance.of("stop")


def test_the_summary_counts_and_names():
    rejects = tuple(Reject(f"p{i}.png", Stage.READ, "truncated") for i in range(100))
    parts = (WrittenPart("part-00000.parquet", 8, 90, 1234),)
    summary = JobSummary(
        Outcome.COMPLETE, 158, 8, {"read": 150}, rejects, 2, parts, 4.0, deployment={"plan": ["a"]}
    )
    document = json.loads(summary.to_json())
    assert document["records"] == {"total": 158, "read": 8, "rejected": 150, "resumed": 0}
    assert document["records_per_second"] == 39.5
    assert document["rows"] == 90
    assert len(document["rejects"]) == 100
    assert document["rejects"][0] == {
        "record": "p0.png",
        "stage": "read",
        "reason": "truncated",
        "card": "",
    }
    assert document["plan"] == ["a"]


def test_of_a_very_long_reason_the_beginning_is_kept():
    reject = Reject("a", Stage.PIPELINE, "x" * 5000)
    assert (len(reject.reason), reject.reason[-2:]) == (1000, "x…")
    assert Reject("a", Stage.PIPELINE, reject.reason) == reject
