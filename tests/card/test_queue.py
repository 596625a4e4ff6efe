"""Joining, waiting and order, with time as a number."""

import math

from hypothesis import given
from hypothesis import strategies as st

from actors.queue import CardQueue, Entry

A, B = ((8,),), ((9,),)


def entry(item: str, at: float, rows: int = 1, bucket: tuple[tuple[int]] = A, limit: int = 4):
    return Entry("m", bucket, rows, limit, at, item)


def items(batch: list[Entry[str]]) -> list[str]:
    return [e.item for e in batch]


def queue(max_wait: float = 0.0, busy: bool = False) -> CardQueue[str]:
    made: CardQueue[str] = CardQueue({"m": max_wait, "other": 0.0})
    if busy:
        made.put(Entry("other", A, 1, 1, 0.0, "busy"))
        assert made.take("other", 0.0)
    return made


def test_nothing_waits_for_nothing() -> None:
    q = queue(max_wait=10.0)
    assert q.take("m", 0.0) == []
    assert q.next_due("m") == math.inf
    q.put(entry("a", 1.0))
    assert items(q.take("m", 1.0)) == ["a"], "an idle card takes what there is, at once"


def test_without_max_wait_a_busy_card_takes_at_once_too() -> None:
    q = queue(busy=True)
    q.put(entry("a", 1.0))
    assert items(q.take("m", 1.0)) == ["a"]


def test_a_busy_card_waits_for_company_and_no_longer_than_allowed() -> None:
    q = queue(max_wait=2.0, busy=True)
    q.put(entry("a", 1.0))
    q.put(entry("b", 2.0))
    assert q.take("m", 2.9) == []
    assert q.next_due("m") == 3.0
    assert items(q.take("m", 3.0)) == ["a", "b"]


def test_a_full_batch_does_not_wait() -> None:
    q = queue(max_wait=9.0, busy=True)
    for name in "abcde":
        q.put(entry(name, 0.0))
    assert items(q.take("m", 0.0)) == list("abcd")
    assert q.take("m", 0.0) == []
    assert q.queued("m") == 1


def test_the_card_falling_idle_ends_the_wait() -> None:
    q = queue(max_wait=9.0, busy=True)
    q.put(entry("a", 0.0))
    assert q.take("m", 0.0) == []
    q.finished()
    assert items(q.take("m", 0.0)) == ["a"]


def test_buckets_are_not_mixed_and_the_oldest_goes_first() -> None:
    q = queue()
    q.put(entry("a", 1.0, bucket=B))
    q.put(entry("b", 2.0, bucket=A))
    q.put(entry("c", 3.0, bucket=B))
    assert items(q.take("m", 3.0)) == ["a", "c"]
    assert items(q.take("m", 3.0)) == ["b"]


def test_clear_gives_back_what_waits() -> None:
    q = queue(busy=True)
    q.put(entry("b", 2.0, bucket=B))
    q.put(entry("a", 1.0))
    assert items(q.clear()) == ["a", "b"]
    assert q.queued("m") == 0
    assert not q.empty, "the other model's batch still runs"
    q.finished()
    assert q.empty


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([A, B])), max_size=40),
    st.sampled_from([0.0, 3.0]),
)
def test_every_entry_leaves_once_in_order_within_its_bucket(
    arrivals: list[tuple[int, tuple[tuple[int]]]], max_wait: float
) -> None:
    q = queue(max_wait, busy=True)
    for number, (rows, bucket) in enumerate(arrivals):
        q.put(Entry("m", bucket, rows, 4, float(number), str(number)))
    left: list[Entry[str]] = []
    now = float(len(arrivals))
    while q.queued("m"):
        now = max(now, q.next_due("m"))
        batch = q.take("m", now)
        assert batch, "what is due is given"
        assert len({e.bucket for e in batch}) == 1
        assert sum(e.rows for e in batch) <= 4
        left.extend(batch)
    for bucket in (A, B):
        order = [int(e.item) for e in left if e.bucket == bucket]
        assert order == [n for n, (_, b) in enumerate(arrivals) if b == bucket]
