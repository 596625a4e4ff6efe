"""When a slot's processes have failed too often, and what of that a request is to blame for."""

from orchestrator.runtime.cards.history import History, Verdict
from orchestrator.runtime.options import RestartRules

RULES = RestartRules(most_failures=3, most_unfit=1, unfit_within=100.0)


def failed(history: History, now: float = 0.0, *, unfit: bool = False, was_stable: bool = False):
    return history.failed(RULES, now, unfit=unfit, was_stable=was_stable)


def test_failures_in_a_row_have_a_slot_given_up() -> None:
    history = failed(failed(History()))
    assert history.verdict(RULES, "killed") is None
    history = failed(history)
    assert history.verdict(RULES, "killed") == Verdict(
        False, "failed 3 times in a row, last: killed"
    )
    assert failed(history, was_stable=True).failures == 1


def test_unfit_processes_have_it_quarantined_if_they_come_close_to_each_other() -> None:
    once = failed(History(), now=0.0, unfit=True)
    assert once.verdict(RULES, "it hangs") is None
    assert failed(once, now=99.0, unfit=True).verdict(RULES, "it hangs") == Verdict(
        True, "was unfit 2 times, last: it hangs"
    )
    assert failed(once, now=101.0, unfit=True).verdict(RULES, "it hangs") is None


def test_deaths_that_a_request_is_to_blame_for_do_not_count() -> None:
    history = History(restarts=7)
    for now in range(3):
        history = failed(history, float(now), unfit=now > 0)
    assert history.verdict(RULES, "it hangs") is not None
    assert history.pardoned(2) == History(failures=1, restarts=7)
    assert history.pardoned(9) == History(restarts=7)
    assert history.forgiven() == History(restarts=7)
