"""Random schedules of work, deaths and restarts with two drivers: every request ends once."""

from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.errors import (
    CardBrokenError,
    InvalidRequestError,
    NotServingError,
    NotWantedError,
    OrchestratorError,
    PredictError,
)
from actors.queue import PRIORITIES
from orchestrator.dispatch import Bundle, Desk, Failure, Route, Ticket, TransportRules
from orchestrator.errors import CallFailedError, NoRoomError, RequestFailedError

ROUTES = [
    Route("det", "n/0"),
    Route("det", "n/1", share=0.5),
    Route("rec", "n/1", row_seconds=0.02),
    Route("cls", "n/2"),
]
SLOTS = ["n/0", "n/1", "n/2"]
MODELS = ["det", "rec", "cls"]
DRIVERS = st.integers(0, 1)
TRANSPORT = TransportRules(calls=2, max_requests=4)
#: What may become of a request of a call that returned.
OUTCOMES = st.sampled_from(["answer", "answer", "fails", "wrong", "no room", "mistake"])
#: What its card may have become meanwhile.
CARDS = st.sampled_from(["serves", "serves", "broke", "stopped"])


def outcome(kind: str, bundle: Bundle) -> OrchestratorError | None:
    errors = {
        "fails": PredictError(bundle.slot, bundle.model, "boom"),
        "wrong": InvalidRequestError(bundle.model, "no"),
        "no room": NoRoomError(bundle.slot, "full"),
        "mistake": CallFailedError(bundle.slot, bundle.model, "oh"),
        "broke": CardBrokenError(bundle.slot, bundle.model, "boom"),
        "stopped": NotServingError(f"card {bundle.slot}", "it is stopped"),
        "unwanted": NotWantedError(bundle.slot, bundle.model),
    }
    return errors.get(kind)


class DeskMachine(RuleBasedStateMachine):
    """A model of the cards: who lives, and which calls of which driver they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.desks = [Desk(ROUTES, transport=TRANSPORT) for _ in range(2)]
        self.life = dict.fromkeys(SLOTS, 0)
        self.up: set[str] = set()
        self.gone: set[str] = set()
        self.planned = {(route.model, route.slot) for route in ROUTES}
        self.flying: list[tuple[int, Bundle]] = []
        self.open: dict[int, int] = {}
        self.ended: list[int] = []
        self.alone: Counter[int] = Counter()
        self.submitted = 0
        self.now = 0.0

    def fail(self, failures: list[Failure]) -> None:
        for failure in failures:
            self.ended.append(failure.id)
            self.open.pop(failure.id, None)
            if failure.set_aside:
                assert isinstance(failure.error, RequestFailedError)
                assert failure.error.blamed
                assert self.alone[failure.id] >= 2, "only what was alone on two cards is set aside"

    def all_fail(self, failures: list[list[Failure]]) -> None:
        for one in failures:
            self.fail(one)

    @rule(
        driver=DRIVERS,
        model=st.sampled_from(MODELS),
        count=st.integers(1, 9),
        priority=st.sampled_from(list(PRIORITIES)),
    )
    def submit(self, driver, model, count, priority) -> None:
        for _ in range(count):
            self.submitted += 1
            self.open[self.submitted] = driver
            ticket = Ticket(self.submitted, model, 1, 8, self.now, priority)
            self.fail(self.desks[driver].submit(ticket))

    @rule(slot=st.sampled_from(SLOTS))
    def start(self, slot) -> None:
        if slot not in self.up | self.gone:
            self.life[slot] += 1
            self.up.add(slot)
            for desk in self.desks:
                desk.serving(slot, self.life[slot])

    @rule(slot=st.sampled_from(SLOTS), told=st.booleans())
    def kill(self, slot, told) -> None:
        if slot not in self.up:
            return
        self.up.discard(slot)
        if told:
            for desk in self.desks:
                desk.down(slot, self.life[slot], "killed", self.now)
        running = ""  # of those that are to be alone, only one has begun
        for driver, bundle in [one for one in self.flying if one[1].slot == slot]:
            self.flying.remove((driver, bundle))
            begun = bundle.alone and not running
            running = running or ("one" if begun else "")
            self.alone.update(ticket.id for ticket in bundle.tickets if begun)
            met = replace(bundle, alone=begun)
            self.fail(self.desks[driver].died(met, "killed", self.now))
        for desk in self.desks:
            desk.down(slot, self.life[slot], "killed", self.now)

    @rule(slot=st.sampled_from(SLOTS[:2]))
    def give_up(self, slot) -> None:
        if slot not in self.up | self.gone:
            self.gone.add(slot)
            self.all_fail([desk.give_up(slot, "failed too often") for desk in self.desks])

    @rule(kept=st.sets(st.sampled_from(ROUTES), min_size=1))
    def change_the_plan(self, kept) -> None:
        self.all_fail([desk.adopt(kept) for desk in self.desks])
        self.planned = {(route.model, route.slot) for route in kept}

    @rule(driver=DRIVERS)
    def dispatch(self, driver) -> None:
        for bundle in self.desks[driver].dispatch(self.now):
            assert bundle.slot in self.up
            assert (bundle.model, bundle.slot) in self.planned
            assert bundle.life == self.life[bundle.slot]
            assert len({ticket.priority for ticket in bundle.tickets}) == 1
            assert all(ticket.open for ticket in bundle.tickets)
            assert not bundle.alone or len(bundle.tickets) == 1
            self.flying.append((driver, bundle))

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), card=CARDS)
    def answer(self, data, card) -> None:
        driver, bundle = data.draw(st.sampled_from(self.flying))
        self.flying.remove((driver, bundle))
        here = bundle.slot in self.up and bundle.life == self.life[bundle.slot]
        if card != "serves" and here:
            self.up.discard(bundle.slot)
        if card == "broke" and bundle.alone:
            self.alone[bundle.tickets[0].id] += 1
        outcomes = {}
        for ticket in bundle.tickets:
            kind = data.draw(OUTCOMES) if card == "serves" else card
            outcomes[ticket.id] = outcome(kind if ticket.open else "unwanted", bundle)
        done, failed = self.desks[driver].answered(bundle, outcomes, self.now)
        for number in done:
            self.ended.append(number)
            del self.open[number]
        self.fail(failed)
        if card != "serves" and here:  # the other driver hears of it from the controller
            for desk in self.desks:
                desk.down(bundle.slot, bundle.life, card, self.now)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), overdue=st.booleans())
    def give_a_request_up(self, data, overdue) -> None:
        number = data.draw(st.sampled_from(sorted(self.open)))
        desk = self.desks[self.open[number]]
        if overdue:
            failure = desk.overdue(number, 1.0)
            assert failure is not None
            self.fail([failure])
            assert desk.overdue(number, 1.0) is None
        else:
            process = desk.close(number)
            carrying = [bundle.slot for bundle in desk.carrying([number])]
            assert process is None or process[0] in carrying
            del self.open[number]
            self.ended.append(number)
        assert desk.close(number) is None

    @rule(seconds=st.floats(0, 200))
    def wait(self, seconds) -> None:
        self.now += seconds
        self.all_fail([desk.expire(self.now) for desk in self.desks])

    @invariant()
    def nothing_ends_twice_or_is_lost(self) -> None:
        assert len(self.ended) == len(set(self.ended))
        assert sum(map(len, self.desks)) == len(self.open)
        assert len(self.ended) + len(self.open) == self.submitted

    @invariant()
    def calls_are_bounded(self) -> None:
        calls = Counter((driver, bundle.slot, bundle.model) for driver, bundle in self.flying)
        assert max(calls.values(), default=0) <= TRANSPORT.most_calls

    @invariant()
    def nothing_that_was_given_up_waits(self) -> None:
        for driver, desk in enumerate(self.desks):
            waiting = sum(desk.view().waiting.values())
            assert waiting <= sum(owner == driver for owner in self.open.values())

    def teardown(self) -> None:
        for slot in SLOTS:
            self.start(slot)
        while self.open:
            before = len(self.open), len(self.flying)
            self.now += 1000  # what found no memory is tried again
            self.dispatch(0)
            self.dispatch(1)
            for driver, bundle in list(self.flying):
                self.flying.remove((driver, bundle))
                outcomes = dict.fromkeys(t.id for t in bundle.tickets)
                for number in self.desks[driver].answered(bundle, outcomes, self.now)[0]:
                    self.ended.append(number)
                    del self.open[number]
            assert (len(self.open), len(self.flying)) != before, "a desk is stuck"
        self.nothing_ends_twice_or_is_lost()


DeskMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestDesk = DeskMachine.TestCase
