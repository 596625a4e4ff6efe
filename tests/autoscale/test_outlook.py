"""What is known of the work to come: what callers wait for, and what a job is still to send."""

from orchestrator.autoscale import Waiting
from orchestrator.runtime.calls.outlook import Outlook, Sent


def test_what_a_job_is_still_to_send_follows_from_what_it_has_sent() -> None:
    here = [Sent({"det": 2}, {"det": 100})]  # before the job, others had 100 rows answered
    outlook = Outlook(lambda: here[0])
    outlook.expect(0, 50)
    assert outlook.waiting() == {"det": Waiting(2, 0.0)}
    here[0] = Sent({"det": 3}, {"det": 120, "rec": 60})
    outlook.expect(10, 50)  # 10 records took 20 rows of det and 60 of rec
    assert outlook.waiting() == {"det": Waiting(3, 80.0), "rec": Waiting(0, 240.0)}
    outlook.expect(0, None)
    assert outlook.waiting() == {"det": Waiting(3, 0.0)}


def test_workers_of_the_job_count_until_it_is_over() -> None:
    outlook = Outlook(Sent)
    outlook.expect(0, 20)
    outlook.hear("first", Sent({"det": 4}, {"det": 6}))
    outlook.hear("second", Sent({"det": 1}, {"det": 4}))
    outlook.expect(5, 20)
    assert outlook.waiting() == {"det": Waiting(5, 30.0)}
    outlook.hear("second", Sent())  # it died; what it had is done again by others
    assert outlook.waiting() == {"det": Waiting(4, 18.0)}
    outlook.expect(0, None)
    assert outlook.waiting() == {}
