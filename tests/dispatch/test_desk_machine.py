"""Random schedules of work, deaths and restarts: every request ends exactly once."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.errors import PredictError
from orchestrator.dispatch import Desk, Route, Ticket, TransportRules

ROUTES = [
    Route("det", "n/0"),
    Route("det", "n/1", share=0.5),
    Route("rec", "n/1", row_seconds=0.02),
    Route("cls", "n/2"),
]
SLOTS = ["n/0", "n/1", "n/2"]


class DeskMachine(RuleBasedStateMachine):
    """A model of the cards: who lives, and which calls they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(ROUTES, transport=TransportRules(calls=2, max_requests=4))
        self.life = dict.fromkeys(SLOTS, 0)
        self.up: set[str] = set()
        self.gone: set[str] = set()
        self.planned = {(route.model, route.slot) for route in ROUTES}
        self.flying: list = []
        self.ended: list[int] = []
        self.submitted = 0
        self.now = 0.0

    def fail(self, failures) -> None:
        self.ended += [failure.id for failure in failures]

    @rule(model=st.sampled_from(["det", "rec", "cls"]), count=st.integers(1, 9))
    def submit(self, model, count) -> None:
        for _ in range(count):
            self.submitted += 1
            self.fail(self.desk.submit(Ticket(self.submitted, model, 1, 8, self.now)))

    @rule(slot=st.sampled_from(SLOTS))
    def start(self, slot) -> None:
        if slot not in self.up | self.gone:
            self.life[slot] += 1
            self.up.add(slot)
            self.desk.serving(slot, self.life[slot])

    @rule(slot=st.sampled_from(SLOTS), told=st.booleans())
    def kill(self, slot, told) -> None:
        if slot in self.up:
            self.up.discard(slot)
            if told:
                self.desk.down(slot, self.life[slot], "killed", self.now)
            for bundle in [b for b in self.flying if b.slot == slot]:
                self.flying.remove(bundle)
                self.fail(self.desk.died(bundle, "killed", self.now))
            self.desk.down(slot, self.life[slot], "killed", self.now)

    @rule(slot=st.sampled_from(SLOTS[:2]))
    def give_up(self, slot) -> None:
        if slot not in self.up | self.gone:
            self.gone.add(slot)
            self.fail(self.desk.give_up(slot, "failed too often"))

    @rule(kept=st.sets(st.sampled_from(ROUTES), min_size=1))
    def change_the_plan(self, kept) -> None:
        self.fail(self.desk.adopt(kept))
        self.planned = {(route.model, route.slot) for route in kept}

    @rule()
    def dispatch(self) -> None:
        for bundle in self.desk.dispatch(self.now):
            assert bundle.slot in self.up
            assert (bundle.model, bundle.slot) in self.planned
            assert bundle.life == self.life[bundle.slot]
            self.flying.append(bundle)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), error=st.booleans())
    def answer(self, data, error) -> None:
        bundle = data.draw(st.sampled_from(self.flying))
        self.flying.remove(bundle)
        problem = PredictError(bundle.slot, bundle.model, "boom") if error else None
        outcomes = {ticket.id: problem for ticket in bundle.tickets}
        done, failed = self.desk.answered(bundle, outcomes, self.now)
        self.ended += done
        self.fail(failed)

    @rule(seconds=st.floats(0, 200))
    def wait(self, seconds) -> None:
        self.now += seconds
        self.fail(self.desk.expire(self.now))

    @invariant()
    def nothing_ends_twice_or_is_lost(self) -> None:
        assert len(self.ended) == len(set(self.ended))
        assert len(self.ended) + len(self.desk) == self.submitted

    @invariant()
    def calls_are_bounded(self) -> None:
        for slot in SLOTS:
            for model in ("det", "rec", "cls"):
                here = [b for b in self.flying if (b.slot, b.model) == (slot, model)]
                assert len(here) <= 2

    def teardown(self) -> None:
        for slot in SLOTS:
            self.start(slot)
        while len(self.desk):
            before = len(self.desk), len(self.flying)
            self.dispatch()
            for bundle in list(self.flying):
                self.flying.remove(bundle)
                done, _ = self.desk.answered(
                    bundle, dict.fromkeys(t.id for t in bundle.tickets), self.now
                )
                self.ended += done
            assert (len(self.desk), len(self.flying)) != before, "the desk is stuck"
        self.nothing_ends_twice_or_is_lost()


DeskMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestDesk = DeskMachine.TestCase
