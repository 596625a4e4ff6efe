"""Finds cards that hang: from outside, since a call that hangs may stop its whole process."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future

from actors.messages import CardStats
from orchestrator.runtime.cards.fleet import CardProcess
from orchestrator.runtime.events import Events
from orchestrator.runtime.options import WatchRules


class Watchdog:
    """Asks every process that serves, again and again, and names those that hang.

    Lives on the thread of ``events``.
    """

    def __init__(
        self,
        events: Events,
        clock: Callable[[], float],
        rules: WatchRules,
        serving: Callable[[], Iterable[CardProcess]],
        hangs: Callable[[CardProcess, str], None],
    ) -> None:
        self._events, self._clock, self._rules = events, clock, rules
        self._serving, self._hangs = serving, hangs
        self._asked: dict[int, float] = {}

    def look(self) -> None:
        """Ask all, and again after a while."""
        self._events.after(self._rules.every, self.look)
        now, processes = self._clock(), list(self._serving())
        lives = {process.life for process in processes}
        self._asked = {life: at for life, at in self._asked.items() if life in lives}
        for process in processes:
            asked = self._asked.get(process.life)
            if asked is None:
                self._asked[process.life] = now
                self._events.when_done(process.stats(), self._answered, process)
            elif now - asked > self._rules.silent:
                self._hangs(process, f"it hangs: no sign of life for {now - asked:.0f} s")

    def _answered(self, process: CardProcess, done: "Future[CardStats]") -> None:
        self._asked.pop(process.life, None)
        if done.exception() is None:  # else it is dead, which is found out elsewhere
            problem = hanging(done.result(), self._rules)
            if problem:
                self._hangs(process, problem)


def hanging(stats: CardStats, rules: WatchRules) -> str:
    """Which batch has run for far too long, if one has; the others are waited for as well."""
    expected = sum(batch.expected for batch in stats.working)
    allowed = max(rules.times * expected, rules.least)
    late = [batch for batch in stats.working if batch.seconds > allowed]
    if not late:
        return ""
    worst = max(late, key=lambda batch: batch.seconds)
    return (
        f"it hangs: a batch of {worst.model} has run for {worst.seconds:.1f} s, and "
        f"{allowed:.1f} s are allowed, since those under way took {expected:.3f} s to warm up"
    )
