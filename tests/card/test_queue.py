"""Joining, waiting and order, with time as a number."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.queue import AHEAD, Batch, CardQueue, Entry, Priority, Terms

A, B = ((8,),), ((9,),)


def entry(item: str, at: float, rows: int = 1, bucket: tuple[tuple[int]] = A, limit: int = 4):
    return Entry("m", bucket, rows, limit, at, item)


def items(batch: Batch[str] | None) -> list[str]:
    return [e.item for e in batch.entries] if batch else []


def queue(max_wait: float = 0.0, busy: bool = False) -> CardQueue[str]:
    apart = Terms(max_wait, in_turns=False)
    made: CardQueue[str] = CardQueue({"m": apart, "other": Terms()})
    if busy:
        made.put(Entry("other", A, 1, 1, 0.0, "busy"))
        assert made.take("other", 0.0)
    return made


def test_nothing_waits_for_nothing() -> None:
    q = queue(max_wait=10.0)
    assert q.take("m", 0.0) is None
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
    assert q.take("m", 2.9) is None
    assert q.next_due("m") == 3.0
    assert items(q.take("m", 3.0)) == ["a", "b"]


def test_a_full_batch_does_not_wait() -> None:
    q = queue(max_wait=9.0, busy=True)
    for name in "abcde":
        q.put(entry(name, 0.0))
    assert items(q.take("m", 0.0)) == list("abcd")
    assert q.take("m", 0.0) is None
    assert q.queued("m") == 1


def test_the_card_falling_idle_ends_the_wait() -> None:
    q: CardQueue[str] = CardQueue({"m": Terms(9.0, in_turns=False), "other": Terms()})
    q.put(Entry("other", A, 1, 1, 0.0, "busy"))
    busy = q.take("other", 0.0)
    assert busy is not None
    q.put(entry("a", 0.0))
    assert q.take("m", 0.0) is None
    q.finished(busy, 1.0)
    assert items(q.take("m", 0.0)) == ["a"]


def test_buckets_are_not_mixed_and_the_oldest_goes_first() -> None:
    q = queue()
    q.put(entry("a", 1.0, bucket=B))
    q.put(entry("b", 2.0, bucket=A))
    q.put(entry("c", 3.0, bucket=B))
    assert items(q.take("m", 3.0)) == ["a", "c"]
    assert items(q.take("m", 3.0)) == ["b"]


def test_clear_gives_back_what_waits() -> None:
    q = queue()
    q.put(Entry("other", A, 1, 1, 0.0, "busy"))
    busy = q.take("other", 0.0)
    assert busy is not None
    q.put(entry("b", 2.0, bucket=B))
    q.put(entry("a", 1.0))
    assert [e.item for e in q.clear()] == ["a", "b"]
    assert q.queued("m") == 0
    assert not q.empty, "the other model's batch still runs"
    q.finished(busy, 1.0)
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
        assert len({e.bucket for e in batch.entries}) == 1
        assert sum(e.rows for e in batch.entries) <= 4
        left.extend(batch.entries)
    for bucket in (A, B):
        order = [int(e.item) for e in left if e.bucket == bucket]
        assert order == [n for n, (_, b) in enumerate(arrivals) if b == bucket]


class BusyCard:
    """A card that executes one batch after the other, each taken while the one before runs.

    ``seconds`` of a batch of each model. Every flow always has requests: (model, priority, sender).
    """

    def __init__(
        self, terms: dict[str, Terms], seconds: dict[str, float], flows: list[tuple]
    ) -> None:
        self.queue: CardQueue[tuple] = CardQueue(terms)
        self.seconds, self.flows = seconds, flows
        self.now = 0.0
        self.got = dict.fromkeys(flows, 0.0)
        self.order: list[str] = []
        self._taken: list[Batch[tuple]] = []

    def put(self, model: str, priority: Priority = "online", sender: int = 0) -> None:
        flow = model, priority, sender
        self.queue.put(Entry(model, A, 1, 1, self.now, flow, priority, sender))

    def run(self, batches: int) -> None:
        waiting = dict.fromkeys(self.flows, 0)
        for _ in range(batches):
            for flow in self.flows:
                while waiting[flow] < 2:
                    self.put(*flow)
                    waiting[flow] += 1
            self._take(self.now, waiting)
            ends = self.now + self.seconds[self._taken[0].model]
            opens = min(self.queue.next_due(model) for model in self.seconds)
            if self.now < opens < ends:
                self._take(opens, waiting)
            done = self._taken.pop(0)
            self.now += self.seconds[done.model]
            self.queue.finished(done, self.now)
            self.got[done.entries[0].item] += self.seconds[done.model]
            self.order.append(done.model)

    def _take(self, now: float, waiting: dict[tuple, int]) -> None:
        while turn := self.queue.next(now):
            batch = self.queue.take(turn[0], now)
            assert batch is not None
            self._taken.append(batch)
            waiting[batch.entries[0].item] -= 1


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.tuples(st.floats(0.05, 1.0), st.floats(0.001, 0.3)),
        min_size=2,
    )
)
def test_models_that_want_all_of_a_card_get_their_shares_of_its_time(
    models: dict[str, tuple[float, float]],
) -> None:
    terms = {name: Terms(share=share) for name, (share, _) in models.items()}
    seconds = {name: one for name, (_, one) in models.items()}
    flows = [(name, "online", 0) for name in models]
    card = BusyCard(terms, seconds, flows)
    card.run(batches=200)
    total = sum(share for share, _ in models.values())
    slack = 3 * max(seconds.values()) / min(term.share / total for term in terms.values())
    for name, (share, _) in models.items():
        assert abs(card.got[name, "online", 0] - card.now * share / total) <= slack


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 3), st.floats(0.001, 0.2), st.floats(0.001, 0.2))
def test_priority_batch_gets_a_tenth_while_online_wants_everything(
    online: int, batch: int, long: float, short: float
) -> None:
    flows = [("a", "online", n) for n in range(online)] + [("b", "batch", n) for n in range(batch)]
    card = BusyCard({"a": Terms(), "b": Terms()}, {"a": long, "b": short}, flows)
    card.run(batches=200)
    got = sum(seconds for (_, priority, _), seconds in card.got.items() if priority == "batch")
    assert abs(got - card.now / 10) <= 3 * max(long, short)


def test_what_online_leaves_is_for_priority_batch() -> None:
    card = BusyCard({"a": Terms(), "b": Terms()}, {"a": 1.0, "b": 1.0}, [("b", "batch", 0)])
    card.run(batches=20)
    assert card.got["b", "batch", 0] == card.now
    card.flows.append(("a", "online", 0))
    card.got["a", "online", 0] = 0.0
    card.run(batches=AHEAD)
    assert card.order[-AHEAD:] == ["b", "a"], "behind the one that was taken, and no other"


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4))
def test_drivers_of_a_model_share_it_whatever_they_have_sent(floods: list[int]) -> None:
    q: CardQueue[int] = CardQueue({"m": Terms()})
    for sender, flood in enumerate(floods):
        for _ in range(flood):
            q.put(Entry("m", A, 1, 4, float(sender), sender, "online", sender))
    got = dict.fromkeys(range(len(floods)), 0)
    now = 0.0
    while q.queued("m"):
        batch = q.take("m", now)
        assert batch is not None
        for one in batch.entries:
            got[one.item] += 1
        now += 1.0
        q.finished(batch, now)
        wanting = [got[n] for n, flood in enumerate(floods) if got[n] < flood]
        assert not wanting or max(wanting) - min(wanting) <= 1
    assert list(got.values()) == floods


def test_requests_of_priority_batch_fill_what_online_ones_leave_of_a_batch() -> None:
    q: CardQueue[str] = CardQueue({"m": Terms()})
    for name in "abcd":
        q.put(Entry("m", A, 1, 4, 0.0, name, "batch"))
    q.put(Entry("m", A, 1, 4, 1.0, "e"))
    assert items(q.take("m", 1.0)) == ["e", "a", "b", "c"]


def test_while_one_batch_runs_one_more_is_taken_and_no_third() -> None:
    q: CardQueue[str] = CardQueue({"m": Terms(), "other": Terms(), "apart": Terms(in_turns=False)})
    for model in ("m", "m", "other", "apart"):
        q.put(Entry(model, A, 1, 1, 0.0, model))
    assert q.next(0.0) == ["m", "apart"]
    first = q.take("m", 0.0)
    assert first is not None
    assert q.take("other", 0.0) is None, "nothing is known of a batch of m yet: its turn again"
    assert items(q.take("m", 0.0)) == ["m"]
    assert q.take("other", 0.0) is None
    assert items(q.take("apart", 0.0)) == ["apart"], "it shares nothing and waits for nobody"
    q.finished(first, 5.0)
    assert items(q.take("other", 5.0)) == ["other"]


def test_the_next_batch_is_taken_when_half_of_a_long_one_is_over() -> None:
    """Who comes before that is in time for the next turn; half of it is enough to prepare."""
    q: CardQueue[str] = CardQueue({"long": Terms(), "short": Terms()})
    for _ in range(4):
        q.put(Entry("long", A, 1, 1, 0.0, "long"))
    first = q.take("long", 0.0)
    assert first is not None
    q.finished(first, 10.0)
    second = q.take("long", 10.0)
    assert second is not None
    assert q.next(14.9) == []
    assert q.next_due("long") == 15.0
    q.put(Entry("short", A, 1, 1, 14.9, "short"))
    assert q.next_due("short") == 15.0
    assert items(q.take("short", 15.0)) == ["short"]
    q.finished(second, 19.0)
    assert items(q.take("long", 19.0)) == ["long"], "nothing is known of a batch of short yet"


def test_the_next_batch_of_long_copies_is_taken_in_time_for_them() -> None:
    """Nearly as long as execution; once that is known, it does not wait for them any more."""
    q: CardQueue[str] = CardQueue({"m": Terms()})
    for _ in range(40):
        q.put(Entry("m", A, 1, 1, 0.0, "m"))
    copies, execution, idle, now = 30.0, 35.0, [], 0.0
    batch, ends = q.take("m", now), copies + execution
    for _ in range(30):
        opens = max(now, q.next_due("m"))
        following = q.take("m", opens) if opens < ends else None
        assert batch is not None
        q.finished(batch, ends)
        now = ends
        if following is None:
            following, opens = q.take("m", now), now
        begins = max(opens + copies, ends)
        idle.append(begins - ends)
        batch, ends = following, begins + execution
    assert idle[-20:] == [0.0] * 20


def test_the_next_batch_of_short_ones_is_taken_at_once() -> None:
    q: CardQueue[str] = CardQueue({"m": Terms()})
    for _ in range(3):
        q.put(Entry("m", A, 1, 1, 0.0, "m"))
    first = q.take("m", 0.0)
    assert first is not None
    q.finished(first, 0.02)
    assert items(q.take("m", 0.02)) == ["m"]
    assert items(q.take("m", 0.02)) == ["m"]


def test_a_batch_that_was_overtaken_is_not_overtaken_again() -> None:
    """The card's lock may go to the one that asks last; then nothing more is taken."""
    q: CardQueue[str] = CardQueue({"long": Terms(), "short": Terms()})
    for name, count in (("long", 4), ("short", 1)):
        for _ in range(count):
            q.put(Entry(name, A, 1, 1, 0.0, name))
    overtaken = q.take("long", 0.0)
    first = q.take("long", 0.0)
    assert overtaken is not None
    assert first is not None
    q.finished(first, 1.0)
    assert q.next(1.0) == []
    q.finished(overtaken, 2.0)
    assert items(q.take("short", 2.0)) == ["short"]
    assert items(q.take("long", 2.0)) == ["long"], "it counts no more"


def test_a_model_whose_threads_are_all_at_work_keeps_its_turn() -> None:
    """Else a short model with one thread would wait for a long one after each of its batches."""
    q: CardQueue[str] = CardQueue({"long": Terms(), "short": Terms()})
    for name, seconds in (("long", 100.0), ("short", 1.0)):
        for _ in range(5):
            q.put(Entry(name, A, 1, 1, 0.0, name))
        batch = q.take(name, 0.0)
        assert batch is not None
        q.finished(batch, seconds)
    assert q.next(101.0) == ["short"]
    running = q.take("short", 101.0)
    assert running is not None
    assert q.next(101.0) == ["short"]
    assert q.take("long", 101.0) is None
