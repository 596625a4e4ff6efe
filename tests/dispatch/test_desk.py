"""The desk's rules, one by one."""

import gc
from collections import Counter
from dataclasses import replace

import pytest

from actors.errors import CardBrokenError, InvalidRequestError, NotServingError, PredictError
from orchestrator.dispatch import Bundle, Desk, RetryRules, Route, Ticket, TransportRules
from orchestrator.errors import CallFailedError, NoRoomError, RequestFailedError

DET = [Route("det", "n/0"), Route("det", "n/1")]


def desk_of(routes=DET, serving=("n/0", "n/1"), **transport) -> Desk:
    desk = Desk(routes, RetryRules(), TransportRules(**transport))
    for slot in serving:
        desk.serving(slot, 1)
    return desk


def put(desk: Desk, *ids: int, model: str = "det", now: float = 0.0, nbytes: int = 8):
    return [f for i in ids for f in desk.submit(Ticket(i, model, 1, nbytes, now))]


def ids(bundle: Bundle) -> list[int]:
    return [ticket.id for ticket in bundle.tickets]


def test_requests_are_answered_once() -> None:
    desk = desk_of()
    put(desk, 1, 2)
    bundles = desk.dispatch(0.0)
    assert sorted(i for b in bundles for i in ids(b)) == [1, 2]
    for bundle in bundles:
        done, failed = desk.answered(bundle, dict.fromkeys(ids(bundle)), 0.1)
        assert (done, failed) == (ids(bundle), [])
        assert desk.answered(bundle, dict.fromkeys(ids(bundle)), 0.2) == ([], [])
    assert len(desk) == 0


def test_calls_in_flight_are_bounded_per_replica_and_the_rest_waits() -> None:
    desk = desk_of([Route("det", "n/0", row_seconds=1.0)], ["n/0"], calls=2)
    put(desk, *range(10))
    assert [ids(b) for b in desk.dispatch(0.0)] == [[0], [1]]
    assert desk.dispatch(0.0) == []
    assert desk.view().waiting == {"det": 8}


def test_a_bundle_is_bounded_in_bytes_but_takes_at_least_one() -> None:
    desk = desk_of([Route("det", "n/0")], ["n/0"], calls=1, max_bytes=100)
    put(desk, 1, 2, nbytes=80)
    assert [ids(b) for b in desk.dispatch(0.0)] == [[1]]


def test_an_overdue_request_is_given_up_once_and_says_where_it_was() -> None:
    desk = desk_of([Route("det", "n/0", row_seconds=1.0)], ["n/0"], calls=1)
    put(desk, 1, 2, 3)
    [bundle] = desk.dispatch(0.0)
    on_card, waiting = desk.overdue(1, 0.5), desk.overdue(3, 0.5)
    assert str(on_card.error) == "model det: no answer within the 0.5 s allowed: it was on n/0"
    assert str(waiting.error).endswith("it was among 2 that waited for a card")
    assert desk.overdue(1, 0.5) is None
    assert desk.answered(bundle, {1: None}, 0.6) == ([], [])
    assert [ids(b) for b in desk.dispatch(0.6)] == [[2]]
    desk.down("n/0", 1, "was killed", 0.7)
    put(desk, 4)
    assert "model det is not served now: n/0 was killed" in str(desk.overdue(4, 0.5).error)


def test_a_death_sends_requests_elsewhere_at_once() -> None:
    desk = desk_of(calls=1)
    put(desk, 1, 2, 3, 4)
    first, second = desk.dispatch(0.0)
    assert desk.died(first, "killed", 0.1) == []
    assert desk.dispatch(0.1) == []  # the other card has its call
    desk.answered(second, dict.fromkeys(ids(second)), 0.001)
    moved = desk.dispatch(0.2)
    assert {b.slot for b in moved} == {second.slot}
    assert [i for b in moved for i in ids(b)] == ids(first)


def test_an_answer_that_arrives_after_a_second_sending_is_dropped() -> None:
    desk = desk_of()
    put(desk, 1)
    (first,) = desk.dispatch(0.0)
    desk.died(first, "killed", 0.1)
    (again,) = desk.dispatch(0.1)
    assert again.slot != first.slot
    assert desk.answered(first, {1: None}, 0.2)[0] == [1]
    assert desk.answered(again, {1: None}, 0.3)[0] == []


def test_the_only_replica_is_waited_for() -> None:
    desk = desk_of([Route("det", "n/0")], ["n/0"])
    put(desk, 1)
    (bundle,) = desk.dispatch(0.0)
    assert desk.died(bundle, "killed", 0.1) == []
    assert desk.dispatch(0.2) == []
    desk.serving("n/0", 2)
    (again,) = desk.dispatch(5.0)
    assert (ids(again), again.life) == ([1], 2)


def test_patience_ends_with_the_story() -> None:
    desk = desk_of([Route("det", "n/0")], ["n/0"])
    put(desk, 1)
    (bundle,) = desk.dispatch(0.0)
    desk.died(bundle, "killed", 10.0)
    assert desk.expire(129.9) == []
    (failure,) = desk.expire(130.0)
    assert isinstance(failure.error, RequestFailedError)
    assert str(failure.error) == (
        "model det: request failed: n/0 died (killed; no other request of this driver was on the "
        "card); "
        "no replica served within 120 s: model det is not served now: n/0 killed"
    )
    assert not failure.error.blamed
    assert len(desk) == 0


def test_two_deaths_of_cards_that_it_had_to_itself_set_a_request_aside() -> None:
    desk = desk_of()
    put(desk, 1)
    (bundle,) = desk.dispatch(0.0)
    assert not bundle.alone  # whoever else sends to this card, nobody here knows
    assert desk.died(bundle, "SIGSEGV", 0.1) == []
    (again,) = desk.dispatch(0.1)
    assert again.alone
    assert desk.died(again, "SIGSEGV", 0.2) == []
    desk.serving("n/0", 2)
    (last,) = desk.dispatch(0.3)
    (failure,) = desk.died(last, "SIGSEGV", 0.4)
    assert "set aside: 2 cards died while it was the only request on them" in str(failure.error)
    assert desk.view().set_aside == (str(failure.error),)
    assert failure.error.blamed
    assert len(desk) == 0


def test_a_suspect_runs_alone_and_the_innocent_go_free() -> None:
    desk = desk_of([Route("det", "n/0")], ["n/0"], calls=1)
    put(desk, 1, 2, 3)
    for life in (1, 2):
        (bundle,) = desk.dispatch(0.0)
        assert len(bundle.tickets) == 3
        assert desk.died(bundle, "killed", 0.0) == []
        desk.serving("n/0", life + 1)
    order = []
    for _ in range(3):
        (alone,) = desk.dispatch(1.0)
        order += ids(alone)
        desk.answered(alone, {alone.tickets[0].id: None}, 1.0)
    assert sorted(order) == [1, 2, 3]


def test_the_guilty_are_found_one_after_the_other_and_their_deaths_told() -> None:
    desk = desk_of([Route("det", "n/0")], ["n/0"], calls=1)
    put(desk, 1, 2)
    deaths, failed = 0, []
    while len(desk):
        (bundle,) = desk.dispatch(1.0)
        deaths += 1
        failed += [(deaths, failure.died_on) for failure in desk.died(bundle, "killed", 1.0)]
        desk.serving("n/0", deaths + 1)
    assert failed == [(4, ("n/0",) * 4), (6, ("n/0",) * 4)]


def test_a_suspect_gets_a_card_that_empties_for_it() -> None:
    desk = desk_of([Route("det", "n/0")], ["n/0"], calls=2)
    put(desk, 1, 2)
    for life in (1, 2):
        for bundle in desk.dispatch(0.0):
            desk.died(bundle, "killed", 0.0)
        desk.serving("n/0", life + 1)
    put(desk, 3)
    (alone,) = desk.dispatch(1.0)
    assert len(alone.tickets) == 1
    assert desk.dispatch(1.0) == []  # held: neither the other suspect nor the new request joins it
    desk.answered(alone, dict.fromkeys(ids(alone)), 1.0)
    (second,) = desk.dispatch(1.0)
    assert len(second.tickets) == 1
    desk.answered(second, dict.fromkeys(ids(second)), 1.0)
    assert [ids(b) for b in desk.dispatch(1.0)] == [[3]]


def test_a_card_that_was_kept_free_takes_work_again_when_the_suspect_has_to_go_elsewhere() -> None:
    desk = desk_of((*DET, Route("rec", "n/0")), calls=1)
    put(desk, 1, 2)
    busy = {bundle.slot: bundle for bundle in desk.dispatch(0.0)}
    desk.submit(Ticket(3, "det", 1, 8, 0.0, suspect=1))
    assert desk.dispatch(0.1) == []  # one of the two is kept free for it
    kept = next(slot for slot in busy if desk._board.slots[slot].held_for == 3)
    left = "n/1" if kept == "n/0" else "n/0"
    desk.adopt([Route("det", left), Route("rec", kept)])
    for bundle in busy.values():
        desk.answered(bundle, {ticket.id: None for ticket in bundle.tickets}, 0.2)
    [alone] = desk.dispatch(0.3)
    assert (alone.slot, ids(alone)) == (left, [3])
    desk.answered(alone, {3: None}, 0.4)
    put(desk, 4, model="rec")
    assert [(one.slot, ids(one)) for one in desk.dispatch(0.5)] == [(kept, [4])]


def test_a_card_that_dies_with_company_does_not_count_as_alone() -> None:
    desk = desk_of([Route("det", "n/0"), Route("cls", "n/0")], ["n/0"])
    put(desk, 1)
    put(desk, 2, model="cls")
    one, two = desk.dispatch(0.0)
    desk.died(one, "killed", 0.1)
    desk.died(two, "killed", 0.1)
    assert all("2 requests were on the card" in b.tickets[0].story[0] for b in (one, two))


def test_a_request_that_met_too_many_deaths_in_company_is_not_blamed() -> None:
    desk = Desk([Route("det", "n/0")], RetryRules(deaths_before_alone=9, max_deaths=2))
    put(desk, 1, 2)
    failed = []
    for life in (1, 2):
        desk.serving("n/0", life)
        for bundle in desk.dispatch(0.0):
            failed += desk.died(bundle, "killed", 0.0)
    assert [failure.error.blamed for failure in failed] == [False, False]
    assert "gave up after 2 deaths" in str(failed[0].error)
    assert desk.view().set_aside == ()


def test_an_invalid_request_fails_alone_and_at_once() -> None:
    desk = desk_of([Route("det", "n/0")], ["n/0"], calls=1)
    put(desk, 1, 2)
    (bundle,) = desk.dispatch(0.0)
    error = InvalidRequestError("det", "input x has dtype int8")
    done, failed = desk.answered(bundle, {1: error, 2: None}, 0.1)
    assert (done, failed[0].id, failed[0].error) == ([2], 1, error)


def test_a_library_failure_is_tried_on_another_card_once() -> None:
    desk = desk_of()
    put(desk, 1)
    (first,) = desk.dispatch(0.0)
    assert desk.answered(first, {1: PredictError(first.slot, "det", "boom")}, 0.1) == ([], [])
    (second,) = desk.dispatch(0.1)
    assert second.slot != first.slot
    _, (failure,) = desk.answered(second, {1: PredictError(second.slot, "det", "boom")}, 0.2)
    assert str(failure.error).count("boom") == 2
    assert failure.error.blamed


def test_a_card_that_does_not_serve_gets_nothing_until_it_does() -> None:
    desk = desk_of()
    put(desk, 1)
    (first,) = desk.dispatch(0.0)
    desk.answered(first, {1: NotServingError(f"card {first.slot}", "it is draining")}, 0.1)
    (second,) = desk.dispatch(0.1)
    assert second.slot != first.slot
    desk.answered(second, {1: None}, 0.2)
    put(desk, 2, 3, 4)
    assert {b.slot for b in desk.dispatch(0.3)} == {second.slot}


def test_a_model_without_cards_fails_with_the_reasons() -> None:
    desk = desk_of([Route("det", "n/0"), Route("rec", "n/1")])
    desk.down("n/0", 1, "killed", 0.0)
    put(desk, 1)
    (failure,) = desk.give_up("n/0", "failed 5 times: killed")
    assert "model det is not served now: n/0 failed 5 times: killed" in str(failure.error)
    assert not failure.error.blamed
    (at_once,) = put(desk, 2)
    assert "failed 5 times" in str(at_once.error)
    assert list(desk.view().unserved) == ["det"]
    assert put(desk, 3, model="rec") == []


def test_a_late_death_of_an_old_process_does_not_stop_the_new_one() -> None:
    desk = desk_of([Route("det", "n/0")], ["n/0"], calls=1)
    put(desk, 1)
    (old,) = desk.dispatch(0.0)
    desk.down("n/0", 1, "killed", 0.1)
    desk.serving("n/0", 2)
    desk.died(old, "killed", 0.2)
    assert [b.life for b in desk.dispatch(0.3)] == [2]


@pytest.mark.parametrize("closed_before_dispatch", [True, False])
def test_a_cancelled_request_is_forgotten(closed_before_dispatch) -> None:
    desk = desk_of()
    put(desk, 1)
    bundles = [] if closed_before_dispatch else desk.dispatch(0.0)
    desk.close(1)
    assert desk.dispatch(0.0) == []
    for bundle in bundles:
        assert desk.answered(bundle, {1: None}, 0.1) == ([], [])
    assert len(desk) == 0


def test_a_changed_plan_moves_what_waits_and_fails_what_it_drops() -> None:
    desk = desk_of([Route("det", "n/0"), Route("rec", "n/0")], ["n/0"], calls=1, max_requests=1)
    put(desk, 1, 2)
    (old,) = desk.dispatch(0.0)
    put(desk, 3, model="rec")
    (dropped,) = desk.adopt([Route("det", "n/1")])
    assert (dropped.id, str(dropped.error)) == (
        3,
        "model rec: request failed: model rec is not served now: "
        "it is no longer part of the deployment",
    )
    assert desk.answered(old, dict.fromkeys(ids(old)), 0.1) == (ids(old), [])
    desk.serving("n/1", 1)
    assert [(b.slot, ids(b)) for b in desk.dispatch(0.2)] == [("n/1", [2])]
    assert put(desk, 4, model="rec")


def test_a_card_gets_only_what_its_process_holds() -> None:
    desk = desk_of([Route("det", "n/0"), Route("rec", "n/0")], [])
    put(desk, 1)
    put(desk, 2, model="rec")
    desk.serving("n/0", 1, {"rec"})  # det is planned there, for its next process
    assert [ids(b) for b in desk.dispatch(0.0)] == [[2]]
    desk.down("n/0", 1, "replaced", 0.1)
    desk.serving("n/0", 2, {"rec", "det"})
    assert [ids(b) for b in desk.dispatch(0.2)] == [[1]]


def test_the_first_story_of_a_death_is_the_one_that_is_told() -> None:
    desk = desk_of(serving=("n/0",))
    put(desk, 1)
    [bundle] = desk.dispatch(0.0)
    desk.down("n/0", 1, "it hangs", 1.0)
    assert desk.died(bundle, "its process died", 1.0) == []
    desk.serving("n/0", 2)
    [again] = desk.dispatch(1.0)
    told = "n/0 died (it hangs; no other request of this driver was on the card)"
    assert again.tickets[0].story == (told,)


def test_what_breaks_a_card_counts_as_its_death_and_what_waited_behind_does_not() -> None:
    desk = desk_of(serving=("n/0",))
    put(desk, 1, 2)
    bundles = desk.dispatch(0.0)
    broken, back = (
        CardBrokenError("n/0", "det", "boom"),
        NotServingError("card n/0", "it is failed"),
    )
    outcomes = {1: broken, 2: back}
    for bundle in bundles:
        assert desk.answered(bundle, {i: outcomes[i] for i in ids(bundle)}, 1.0) == ([], [])
    desk.serving("n/1", 1)
    tickets = {t.id: t for b in desk.dispatch(1.0) for t in b.tickets}
    assert (tickets[1].deaths, tickets[1].deaths_alone, tickets[2].deaths) == (1, 0, 0)
    assert tickets[1].story == (
        "n/0 died (model det fails on what it has answered before: boom; "
        "2 requests were on the card)",
    )


def test_a_request_that_breaks_two_cards_alone_is_set_aside() -> None:
    desk = desk_of(serving=("n/0", "n/1"))
    put(desk, 1)
    for life in (2, 3, 4):
        [bundle] = desk.dispatch(0.0)
        broken = CardBrokenError(bundle.slot, "det", "boom")
        _, failed = desk.answered(bundle, {1: broken}, 1.0)
        desk.serving(bundle.slot, life)
    [failure] = failed
    assert "set aside: 2 cards died while it was the only request on them" in str(failure.error)
    assert len(desk.view().set_aside) == 1


def test_online_requests_pass_those_of_priority_batch_and_have_a_call_more() -> None:
    desk = desk_of([Route("det", "n/0", row_seconds=1.0)], ["n/0"], calls=2)
    for number in range(1, 5):
        desk.submit(Ticket(number, "det", 1, 8, 0.0, "batch"))
    assert [ids(b) for b in desk.dispatch(0.0)] == [[1], [2]]
    put(desk, 5, 6)
    [online] = desk.dispatch(0.0)
    assert (ids(online), online.priority) == ([5], "online")
    desk.answered(online, {5: None}, 0.1)
    assert [ids(b) for b in desk.dispatch(0.1)] == [[6]]


def test_priority_batch_is_not_starved_by_this_driver_either() -> None:
    desk = desk_of([Route("det", "n/0", row_seconds=1.0)], ["n/0"], calls=1)
    for number in range(200):
        desk.submit(Ticket(number, "det", 1, 8, 0.0, "batch" if number < 100 else "online"))
    sent = []
    while len(sent) < 100:
        for bundle in desk.dispatch(0.0):
            sent.append(bundle.priority)
            desk.answered(bundle, dict.fromkeys(ids(bundle)), 0.1)
    assert sent[:100].count("batch") == 10


def test_what_found_no_memory_on_its_way_pauses_longer_each_time_and_is_not_to_blame() -> None:
    desk = Desk([Route("det", "n/0")], RetryRules(pause=1.0, most_without_room=3))
    desk.serving("n/0", 1)
    put(desk, 1)
    now, sent = 0.0, []
    while len(desk):
        [bundle] = desk.dispatch(now)
        sent.append(now)
        _, failed = desk.answered(bundle, {1: NoRoomError("n/0", "the store is full")}, now)
        assert desk.dispatch(now) == []
        now = desk.due or now
    assert sent == [0.0, 1.0, 3.0]
    [failure] = failed
    assert not failure.error.blamed
    told = "card n/0: no room for a call on its way: the store is full"
    assert failure.error.story == (f"{told} (its call had 8 bytes of inputs)",) * 3


def test_a_mistake_on_the_way_is_tried_elsewhere_and_blames_nobody() -> None:
    desk = desk_of()
    put(desk, 1)
    slots = []
    for _ in range(2):
        [bundle] = desk.dispatch(0.0)
        slots.append(bundle.slot)
        _, failed = desk.answered(bundle, {1: CallFailedError(bundle.slot, "det", "oh")}, 0.1)
    assert sorted(slots) == ["n/0", "n/1"]
    assert [failure.error.blamed for failure in failed] == [False]


def test_cancelled_requests_neither_stay_nor_make_calls_small() -> None:
    """Nobody takes any: what is cancelled meanwhile must go by itself."""
    desk = desk_of([Route("det", "n/0", rows_per_call=8)], serving=())
    before = tickets_alive()
    put(desk, *range(1000))
    for number in range(1000):
        desk.close(number)
    assert tickets_alive() - before < 100
    put(desk, *range(1000, 1016))
    desk.serving("n/0", 1)
    assert [len(ids(b)) for b in desk.dispatch(0.0)] == [8, 8]


def tickets_alive() -> int:
    gc.collect()
    return sum(type(one) is Ticket for one in gc.get_objects())


@pytest.mark.parametrize("calls", [1, 3])
def test_a_card_that_fails_every_call_at_once_does_not_attract_them(calls) -> None:
    """n/0 answers in a second, n/1 fails in a millisecond: it always has room."""
    desk = desk_of(calls=calls, max_requests=1)
    sent, flying, now, number = Counter(), [], 0.0, 0
    while sum(sent.values()) < 3000:
        while len(desk) < 20:
            number += 1
            put(desk, number, now=now)
        for bundle in desk.dispatch(now):
            sent[bundle.slot] += 1
            flying.append((now + (1.0 if bundle.slot == "n/0" else 0.001), bundle))
        flying.sort(key=lambda one: one[0])
        now, bundle = flying.pop(0)
        error = PredictError("n/1", "det", "boom") if bundle.slot == "n/1" else None
        _, failed = desk.answered(bundle, dict.fromkeys(ids(bundle), error), now)
        assert failed == []  # the other card answers what this one fails on
    assert sent["n/1"] < 0.02 * sent["n/0"]


def test_a_card_that_failed_once_is_trusted_again_when_it_answers() -> None:
    desk = desk_of(calls=1, max_requests=1)
    now = 0.0
    sent = Counter()
    for number in range(400):
        put(desk, 2 * number, 2 * number + 1, now=now)
        now += 1.0
        for bundle in desk.dispatch(now):
            sent[bundle.slot] += number > 100
            first = number == 0 and bundle.slot == "n/1"
            error = PredictError("n/1", "det", "boom") if first else None
            desk.answered(bundle, dict.fromkeys(ids(bundle), error), now + 0.001)
    assert sent["n/1"] > 0.8 * sent["n/0"]


def test_cards_that_all_fail_share_what_comes() -> None:
    desk = desk_of(calls=1, max_requests=1)
    sent = Counter()
    for number in range(100):
        put(desk, number)
        for _ in range(2):
            [bundle] = desk.dispatch(0.0)
            sent[bundle.slot] += 1
            desk.answered(bundle, {number: PredictError(bundle.slot, "det", "boom")}, 0.001)
    assert sent == {"n/0": 100, "n/1": 100}
    assert len(desk) == 0


def test_a_request_that_is_there_whenever_another_driver_s_kills_the_card_is_not_blamed() -> None:
    """One card, two drivers; the process dies as soon as it runs the first one's request."""
    desks = {"guilty": desk_of(DET[:1], []), "innocent": desk_of(DET[:1], [])}
    for number, desk in enumerate(desks.values()):
        put(desk, number)
    life, ends = 0, {}
    while any(len(desk) for desk in desks.values()):
        life += 1
        for desk in desks.values():
            desk.serving("n/0", life)
        calls = {name: b for name, desk in desks.items() for b in desk.dispatch(0.0)}
        if "guilty" not in calls:  # what is left runs
            desks["innocent"].answered(calls["innocent"], {1: None}, 0.0)
            break
        for name, bundle in calls.items():  # one that is to be alone waits and has not begun
            begun = name == "guilty" or not bundle.alone
            met = bundle if begun else replace(bundle, alone=False)
            for failure in desks[name].died(met, "killed", 0.0):
                ends[name] = failure.error.blamed
    assert ends == {"guilty": True}
    assert life - 1 == 3  # processes that the guilty one took with it
    assert len(desks["innocent"]) == 0
